#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# BIND 9.20 of Debian 13 with pkcs11-provider: a zone signed by keys of the token. (9.18 of Debian 12 cannot: see the documents.)
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/chroot.sh"
enter_chroot trixie
. "$SKR_TOP/tests/support/openssl-provider.sh"
need dnssec-keyfromlabel dnssec-signzone dnssec-verify
provider_configuration provider.cnf
export OPENSSL_CONF=$SKR_RUN/provider.cnf

# sign_zone ALGORITHM KEY : one key of the token is the zone's key-signing and zone-signing key.
sign_zone() {
	local algorithm=$1 key=$2 zone=$2.example
	mkdir "$zone"
	check "dnssec-keyfromlabel, $algorithm" dnssec-keyfromlabel -K "$zone" -a "$algorithm" -f KSK \
		-l "pkcs11:token=skr;object=$key" "$zone"
	check_fails "the key's file has no private half" grep -q PrivateExponent "$zone"/K*.private
	{
		printf '$TTL 300\n@ IN SOA ns.%s. admin.%s. 1 3600 600 86400 300\n' "$zone" "$zone"
		printf '@ IN NS ns\nns IN A 192.0.2.1\nwww IN A 192.0.2.2\n'
		cat "$zone"/K*.key
	} >"$zone/zone"
	check "dnssec-signzone" dnssec-signzone -z -K "$zone" -d "$zone" -o "$zone" -f "$zone/signed" \
		"$zone/zone" "$(basename "$zone"/K*.key .key)"
	check_says "dnssec-verify" 'Zone fully signed' dnssec-verify -z -o "$zone" "$zone/signed"
}

sign_zone RSASHA256 rsa2048
check_releases 4 # two programs with a login each, two keys
sign_zone ECDSAP256SHA256 p256
check_releases 4
check_fails "a key that is not there" dnssec-keyfromlabel -a RSASHA256 -l 'pkcs11:token=skr;object=nothing' nothing.example
summary "BIND, Debian 13" "$(version_of bind9-utils), provider $provider_version" "dnssec-keyfromlabel, dnssec-signzone, dnssec-verify; RSASHA256, ECDSAP256SHA256"
