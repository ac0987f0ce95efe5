#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# strongSwan's pki, whose pkcs11 plugin is charon's too: self-signed, request, an authority on the token, a revocation list.
. "$(dirname "$0")/../support/interop.sh"
need pki openssl
[ -e /usr/lib/ipsec/plugins/libstrongswan-pkcs11.so ] || { echo "libstrongswan-extra-plugins is not installed"; exit 77; }
certificate rsa2048
certificate p256
configuration() { # [FURTHER LINE]
	cat >strongswan.conf <<-END
		libstrongswan {
		  plugins {
		    pkcs11 {
		      modules {
		        skr {
		          path = $module
		          ${1:-}
		        }
		      }
		    }
		  }
		}
	END
}
configuration
export STRONGSWAN_CONF=$SKR_RUN/strongswan.conf
# The key is chosen by its CKA_ID. strongSwan wants a PIN and passes it on; what it is does not matter.
with_pin() { "$@" <<<any; }

check_refused "the module is loaded; it asks strongSwan for the system's locks, and gets them" 'uses OS locking functions' with_pin pki --self --keyid 01 --dn CN=x
for key in rsa2048 p256; do
	released_before=$(releases)
	id=$(key_id skr $key)
	check_releases 2 # pkcs11-tool's
	# Every pki is one process and one login.
	for hash in sha256 sha384 sha512; do
		with_pin pki --self --keyid "$id" --dn 'CN=Root' --ca --digest $hash --outform pem >root.crt 2>pki.log || { cat pki.log; exit 1; }
		check_says "self-signed by $key with $hash" "root.crt: OK" openssl verify -CAfile root.crt root.crt
		check "by the token's key" cmp <(openssl x509 -in root.crt -noout -pubkey) $key.pem
		check_releases 2
	done
	with_pin pki --req --keyid "$id" --dn 'CN=token' --outform pem >token.csr 2>pki.log || { cat pki.log; exit 1; }
	check "a request by $key" openssl req -in token.csr -verify -noout
	openssl ecparam -name prime256v1 -genkey -noout -out leaf.key
	openssl pkey -in leaf.key -pubout -out leaf.pem
	with_pin pki --issue --in leaf.pem --cacert root.crt --cakeyid "$id" --dn 'CN=leaf' --outform pem >leaf.crt 2>pki.log || { cat pki.log; exit 1; }
	check "$key is the key of an authority" openssl verify -CAfile root.crt leaf.crt
	with_pin pki --signcrl --cacert root.crt --cakeyid "$id" --cert leaf.crt --reason key-compromise --outform pem >root.crl 2>pki.log || { cat pki.log; exit 1; }
	check_refused "and signs its revocation list" "certificate revoked" openssl verify -CAfile root.crt -crl_check -CRLfile root.crl leaf.crt
	check_releases 6
	check "strongSwan verifies what the token signed" pki --verify --in leaf.crt --cacert root.crt
	check_releases 0
done

id=$(key_id skr p256)
released_before=$(releases)
configuration 'os_locking = yes'
check "the same with os_locking set" with_pin pki --self --keyid "$id" --dn CN=x
check_releases 2
check_refused "a wrong identifier is no key" 'no PKCS#11 module found having a keyid 01' with_pin pki --self --keyid 01 --dn CN=x
check_refused "without any PIN strongSwan gives up" 'no PIN found for PKCS#11 key' pki --self --keyid "$id" --dn CN=x </dev/null
check_releases 0
log_seen=$(wc -l <skr-pkcs11.log)
azure_refuses
check_refused "a login that Azure refuses is refused" 'login to .*failed' with_pin pki --self --keyid "$id" --dn CN=x
check_log "the log says why" 'SKR-331 .*no permission to release the key'
azure_allows
sed -i s,/skr-pkcs11.so,/missing.so, strongswan.conf
check_refused "a missing module is named" 'missing.so' with_pin pki --self --keyid "$id" --dn CN=x
summary "strongSwan pki" "$(version_of strongswan-pki)" "self-signed, request, issue, CRL, with RSA and EC"
