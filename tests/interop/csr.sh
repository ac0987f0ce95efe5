#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# skr-pkcs11 csr and cert: requests signed by keys of every kind, certificates made of them, shown beside their keys, exported.
export SKR_TEST_FEW_KEYS= # every kind of key
. "$(dirname "$0")/../support/interop.sh"
need openssl
cli() { "$build/src/skr-pkcs11" "$@" --module "$module"; }
request() { cli csr skr --key "$1" --subject "/CN=$1" "${@:2}" >"$1.csr"; }                   # KEY OPTIONS…
text() { openssl req -in "$1.csr" -noout -text -nameopt RFC2253,-esc_msb,utf8; }              # KEY
issue() { openssl x509 -req -in "$1.csr" -copy_extensions copy -out "$1.crt" "${@:2}" 2>/dev/null; } # KEY OPTIONS…

misused() { # TEXT PATTERN COMMAND… : status 2, one clear sentence, nothing printed, nothing released
	local status=0 before
	before=$(releases)
	"${@:3}" >misused.out 2>misused.err || status=$?
	[ $status = 2 ] && [ ! -s misused.out ] && grep -qE -- "$2" misused.err && [ "$(wc -l <misused.err)" -le 2 ] &&
		[ "$(releases)" = "$before" ] || { echo "FAILED: $1: status $status"; cat misused.out misused.err; exit 1; }
	echo "ok: $1"
}
fails() { # TEXT PATTERN COMMAND… : status 1, the pattern on the standard error, nothing printed
	local status=0
	"${@:3}" >failed.out 2>failed.err || status=$?
	[ $status = 1 ] && [ ! -s failed.out ] && grep -qE -- "$2" failed.err ||
		{ echo "FAILED: $1: status $status"; cat failed.out failed.err; exit 1; }
	echo "ok: $1"
}

echo "# requests"
released_before=$(releases)
check "a request by rsa2048" request rsa2048
check_releases 7 # the login's
for row in rsa2048:sha256WithRSAEncryption rsa3072:sha256WithRSAEncryption rsa4096:sha256WithRSAEncryption p256:ecdsa-with-SHA256 \
	p384:ecdsa-with-SHA384 p521:ecdsa-with-SHA512 p256k:ecdsa-with-SHA256; do
	key=${row%:*}
	check "a request by $key" request $key --san DNS:localhost
	check_says "openssl verifies it" 'verify OK' openssl req -in $key.csr -noout -verify
	check_says "it is hashed as strongly as the key" "Signature Algorithm: ${row#*:}\$" text $key
	case $key in rsa2048 | p384) ;; *) continue ;; esac
	public_key $key
	check "it is the key's" cmp $key.pem <(openssl req -in $key.csr -noout -pubkey)
done
for row in rsa2048:sha384:sha384WithRSA rsa3072:sha512:sha512WithRSA p521:sha256:ecdsa-with-SHA256; do
	IFS=: read -r key digest algorithm <<<"$row"
	check "$digest with $key" request $key --digest $digest
	check_says "it says so" "Signature Algorithm: $algorithm" text $key
	check_says "openssl verifies it" 'verify OK' openssl req -in $key.csr -noout -verify
done
for digest in sha256 sha384 sha512; do
	check "RSA-PSS with $digest" request rsa3072 --digest=$digest --pss
	check_says "it says so" "Mask Algorithm: mgf1 with $digest\$" text rsa3072
	check_says "openssl verifies it" 'verify OK' openssl req -in rsa3072.csr -noout -verify
done
check "a request with a subject of many parts, and names" cli csr skr --key p256 --output full.csr \
	--subject '/C=DE/ST=Baden-Württemberg/O=A\/B \+ C\\D/OU=one/OU=two/CN=www.example.com/emailAddress=a@example.com' \
	--san 'DNS:www.example.com,DNS:*.example.com,IP:192.0.2.1' --san 'IP:2001:db8::1,email:a@example.com,URI:spiffe://example.com/a'
check_says "the subject is as written" '^subject=emailAddress=a@example.com,CN=www.example.com,OU=two,OU=one,O=A/B \\\+ C\\\\D,ST=Baden-Württemberg,C=DE$' \
	openssl req -in full.csr -noout -subject -nameopt RFC2253,-esc_msb,utf8
check_says "the names are, too" 'DNS:www.example.com, DNS:\*.example.com, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, email:a@example.com, URI:spiffe://example.com/a' \
	text full
check "the file is as readable as others" test "$(stat -c %a full.csr)" = "$(printf %o $((0644 & ~0$(umask))))"
check_says "an EC key only signs" '^ *Digital Signature$' text p256
check_says "an RSA key that may decrypt says so" 'Digital Signature, Key Encipherment$' text rsa2048
check_fails "no private key is in any of them" grep -lE 'PRIVATE|eyJ' ./*.csr

echo "# what is not understood costs no login"
csr() { cli csr skr --key p256 "$@"; }
misused "no subject" 'subject is missing' csr
for row in 'CN=x@beginning with a /' '/@beginning with a /' '/CN@TYPE=VALUE' '/CN=@CN has no value' '/CN=a//O=b@not TYPE=VALUE' '/XX=a@XX is none of' \
	'/cn=a@cn is none of' '/C=DEU@C=DEU: ' '/CN=a+O=b@write \\\+' '/CN=a\@ends with' '/CN=a\b@stands before' "/CN=$(printf 'x%.0s' {1..65})@CN=x*: " \
	$'/CN=a\tb@control characters' "/O=$(printf 'x%.0s' {1..600})@less than 512"; do
	misused "subject ${row%%@*}" "${row#*@}" csr --subject "${row%%@*}"
done
for row in 'www.example.com@begins with none' 'dns:a@begins with none' 'DNS:@behind DNS:' 'DNS:a b@behind DNS:' 'DNS:-a@behind DNS:' 'DNS:a..b@behind DNS:' \
	'DNS:a.*.b@behind DNS:' 'DNS:a,@begins with none' 'IP:1.2.3@behind IP:' 'IP:::g@behind IP:' 'IP:1.2.3.4/24@behind IP:' 'email:a@behind email:' \
	'URI:x@behind URI:' "DNS:$(printf 'x%.0s' {1..64})@behind DNS:"; do
	misused "name ${row%%@*}" "${row#*@}" csr --subject /CN=x --san "${row%%@*}"
done
misused "an unknown digest" 'sha256, sha384 or sha512, not md5' csr --subject /CN=x --digest md5
misused "an option twice" 'too often' csr --subject /CN=x --subject /CN=y
misused "an option without a value" 'needs a value' csr --subject
misused "an unknown option" 'not understood' csr --subject /CN=x --days 3
misused "two tokens" 'one word too many' cli csr skr other --subject /CN=x
misused "no token where there are several" 'several tokens' cli csr --subject /CN=x
mkdir -p folder
misused "a folder for a file" 'not a file' csr --subject /CN=x --output folder

echo "# what fails leaves nothing behind"
echo before >kept
fails "a token that is not there" 'no token nobody' cli csr nobody --subject /CN=x --output kept
fails "a key that is not there" 'no private key nothing' cli csr skr --key nothing --subject /CN=x --output kept
fails "a folder that is not there" 'SKR-002' csr --subject /CN=x --output nowhere/x.csr
fails "a module that is not there" 'cannot load' "$build/src/skr-pkcs11" csr skr --subject /CN=x --module "$SKR_RUN/missing.so"
fails "a key that is not released here" 'SKR-332 ' cli csr other --subject /CN=x --output kept
azure_refuses
fails "a login that Azure refuses" 'SKR-331 ' csr --subject /CN=x --output kept
azure_allows
check "the file is as it was" test "$(cat kept)" = before
check_fails "no half of a file" sh -c 'ls | grep -E "csr\.|kept\."'

echo "# certificates"
test_ca
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj '/CN=Middle CA' -CA ca.pem -CAkey ca.key \
	-addext 'keyUsage=critical,keyCertSign' -keyout middle.key -out middle.pem 2>/dev/null
for key in rsa2048 p256 p384; do request $key --san DNS:$key.example.com,IP:192.0.2.1; done
issue rsa2048 -CA middle.pem -CAkey middle.key -days 365
issue p256 -CA ca.pem -CAkey ca.key -days 20
issue p384 -CA ca.pem -CAkey ca.key -days -1
cat rsa2048.crt middle.pem ca.pem >whole.pem
cat rsa2048.crt ca.pem middle.pem >jumbled.pem
cat rsa2048.crt middle.pem >short.pem
good=$SKR_PKCS11_CONF
with() { # FILE… : the configuration with these certificates
	local file lines=''
	for file in "$@"; do lines="$lines\\ncertificate = $SKR_RUN/$file"; done
	sed "s,^\[token skr\],&$lines," "$good" >with.conf
	export SKR_PKCS11_CONF=$SKR_RUN/with.conf
}
shows() { # TEXT STATUS PATTERN… : cert's output has each pattern
	local text=$1 status=0 pattern
	cli cert skr ${login:+--login} >cert.out 2>&1 || status=$?
	[ $status = "$2" ] || { echo "FAILED: $text: status $status"; cat cert.out; exit 1; }
	for pattern in "${@:3}"; do
		grep -qE -- "$pattern" cert.out || { echo "FAILED: $text: no \"$pattern\" in"; cat cert.out; exit 1; }
	done
	echo "ok: $text"
}
released_before=$(releases)
with whole.pem
shows "a certificate with its chain, without a login" 0 '^  ok +rsa2048 +CN=rsa2048$' 'key +taken for that of key rsa2048: --login compares' \
	'issuer +CN=Middle CA' 'names +DNS:rsa2048.example.com, IP Address:192.0.2.1' 'valid .*, 36[45] days left' \
	'3 certificates, in order and complete' '^  note +p256 +no certificate: skr-pkcs11 csr'
check_releases 0
login=1 shows "and with a login" 0 'key +it is that of the released key'
check_releases 7
with jumbled.pem
shows "a chain in the wrong order" 0 '^  note +rsa2048' 'certificate 2 of 3 is not the issuer of the one before it'
with short.pem
shows "a chain that ends early" 0 '^  note +rsa2048' "2 certificates, in order; the last one's issuer is neither in the file"
with p256.crt
shows "a certificate that expires soon" 0 '^  note +p256' '(19|20) days left'
with p384.crt
shows "a certificate that has expired" 1 '^  FAILED +p384' 'it has expired'
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=stranger -addext basicConstraints=CA:FALSE \
	-keyout stranger.key -out stranger.crt 2>/dev/null
cp stranger.crt rsa4096.pem
with rsa4096.pem
shows "a certificate of another key looks well" 0 'taken for that of key rsa4096'
login=1 shows "until a login shows that it is not" 1 '^  FAILED +rsa4096' 'the key that is released as rsa4096 is another one'
sed '/^\[token skr\]/,/^\[/{/^key = /{/rsa2048/!d;};}' "$good" >one.conf
good=$SKR_RUN/one.conf with whole.pem stranger.crt
shows "a certificate without a key" 0 '^  note +stranger' 'it is for no key of this token'
echo nonsense >broken.pem
with broken.pem
shows "a file that is no certificate" 1 'SKR-004' 'broken.pem'
with missing.pem
shows "a file that is not there" 1 'SKR-008' 'missing.pem'

echo "# export"
released_before=$(releases)
with jumbled.pem
check "a certificate is exported" cli cert skr --export rsa2048 --output exported.pem
check "it is the one that was issued" cmp <(openssl x509 -in rsa2048.crt) exported.pem
check "and with its chain" cli cert skr --export rsa2048 --chain --output exported.pem
check "which is put in order" cmp <(cat rsa2048.crt middle.pem ca.pem) exported.pem
with short.pem
check_says "a chain that ends early is told of" 'ends early' cli cert skr --export rsa2048 --chain
check_releases 0
fails "no certificate of that label" 'shows no certificate p521' cli cert skr --export p521
fails "a folder that is not there" 'SKR-002' cli cert skr --export rsa2048 --output nowhere/x.pem
misused "--chain alone" 'go with --export' cli cert skr --chain
misused "export from no token in particular" 'several tokens' cli cert --export rsa2048
fails "a token that is not there" 'no token nobody' cli cert nobody
