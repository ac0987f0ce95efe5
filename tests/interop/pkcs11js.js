// SPDX-License-Identifier: Apache-2.0
// Run by pkcs11js.sh as: pkcs11js.js MODULE TOKEN
"use strict";
const assert = require("assert");
const crypto = require("crypto");
const fs = require("fs");
const p = require("pkcs11js");

const [modulePath, label] = process.argv.slice(2);
const text = Buffer.from("hello");
const pkcs11 = new p.PKCS11();

function open(flags) {
	const slot = pkcs11.C_GetSlotList(true).find((slot) => pkcs11.C_GetTokenInfo(slot).label.trim() === label);
	assert(slot, "no token " + label);
	return pkcs11.C_OpenSession(slot, p.CKF_SERIAL_SESSION | flags);
}

function find(session, kind, name) {
	pkcs11.C_FindObjectsInit(session, [{ type: p.CKA_CLASS, value: kind }, { type: p.CKA_LABEL, value: name }]);
	const found = pkcs11.C_FindObjects(session, 10);
	pkcs11.C_FindObjectsFinal(session);
	assert.strictEqual(found.length, 1, name);
	return found[0];
}

function attribute(session, object, type) {
	return pkcs11.C_GetAttributeValue(session, object, [{ type }])[0].value;
}

function sign(session, mechanism, key, data) {
	pkcs11.C_SignInit(session, mechanism, key);
	return pkcs11.C_Sign(session, data, Buffer.alloc(512));
}

function verifies(session, mechanism, key, data, signature) {
	pkcs11.C_VerifyInit(session, mechanism, key);
	return pkcs11.C_Verify(session, data, signature);
}

async function main() {
	pkcs11.load(modulePath);
	pkcs11.C_Initialize();
	const session = open(p.CKF_RW_SESSION);
	for (const name of ["rsa2048", "p256"]) {
		const certificate = new crypto.X509Certificate(attribute(session, find(session, p.CKO_CERTIFICATE, name), p.CKA_VALUE));
		assert.strictEqual(certificate.subject, "CN=localhost");
	}
	pkcs11.C_Login(session, p.CKU_USER, "any"); // a string is demanded, its value does not matter

	const rsa = find(session, p.CKO_PRIVATE_KEY, "rsa2048"), rsaPublic = find(session, p.CKO_PUBLIC_KEY, "rsa2048");
	const ec = find(session, p.CKO_PRIVATE_KEY, "p256"), ecPublic = find(session, p.CKO_PUBLIC_KEY, "p256");
	assert(attribute(session, rsa, p.CKA_ID).equals(attribute(session, rsaPublic, p.CKA_ID)));
	assert.throws(() => attribute(session, rsa, p.CKA_PRIVATE_EXPONENT), /CKR_ATTRIBUTE_SENSITIVE/);

	const pss = {
		mechanism: p.CKM_SHA256_RSA_PKCS_PSS,
		parameter: { type: p.CK_PARAMS_RSA_PSS, hashAlg: p.CKM_SHA256, mgf: p.CKG_MGF1_SHA256, saltLen: 32 },
	};
	const pkcs1 = { mechanism: p.CKM_SHA256_RSA_PKCS };
	const ecdsa = { mechanism: p.CKM_ECDSA_SHA256 };
	for (const [name, mechanism, key, publicKey, options] of [
		["rsa2048", pkcs1, rsa, rsaPublic, {}],
		["rsa2048", pss, rsa, rsaPublic, { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
		["p256", ecdsa, ec, ecPublic, { dsaEncoding: "ieee-p1363" }],
	]) {
		const signature = sign(session, mechanism, key, text);
		assert(verifies(session, mechanism, publicKey, text, signature));
		assert.throws(() => verifies(session, mechanism, publicKey, Buffer.from("other"), signature), /CKR_SIGNATURE_INVALID/);
		assert(crypto.verify("sha256", text, { key: fs.readFileSync(name + ".pem"), ...options }, signature));
	}
	pkcs11.C_SignInit(session, pkcs1, rsa);
	pkcs11.C_SignUpdate(session, Buffer.from("hel"));
	pkcs11.C_SignUpdate(session, Buffer.from("lo"));
	assert(pkcs11.C_SignFinal(session, Buffer.alloc(512)).equals(sign(session, pkcs1, rsa, text)));

	const box = crypto.publicEncrypt({ key: fs.readFileSync("rsa2048.pem"), oaepHash: "sha256" }, text);
	pkcs11.C_DecryptInit(session, {
		mechanism: p.CKM_RSA_PKCS_OAEP,
		parameter: { type: p.CK_PARAMS_RSA_OAEP, hashAlg: p.CKM_SHA256, mgf: p.CKG_MGF1_SHA256, source: 1 },
	}, rsa);
	assert(pkcs11.C_Decrypt(session, box, Buffer.alloc(512)).equals(text));

	// Asynchronous calls run in the threads of libuv.
	await Promise.all(Array.from({ length: 16 }, async () => {
		const own = open(0);
		for (let i = 0; i < 20; i++) {
			pkcs11.C_SignInit(own, ecdsa, ec);
			const signature = await pkcs11.C_SignAsync(own, text, Buffer.alloc(512));
			assert(verifies(own, ecdsa, ecPublic, text, signature));
		}
		pkcs11.C_CloseSession(own);
	}));
	pkcs11.C_Finalize();
	pkcs11.close();
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
