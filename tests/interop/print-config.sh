#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# skr-pkcs11 print-config: every line that it prints is one that the documents have; its comments' commands do what they say;
# what is not understood. That programs work with the lines is what their own scripts show.
. "$(dirname "$0")/../support/interop.sh"
need openssl
installed=/usr/lib/x86_64-linux-gnu/pkcs11/skr-pkcs11.so # as in the documents
token_lines() { # KEY…
	local key
	for key in "$@"; do echo "key = $SKR_EMULATOR_VAULT/keys/$key"; done
}
mapfile -t keys < <(token_lines "rsa2048 label=www")
write_configuration "$SKR_RUN/own.conf" web "${keys[@]}"
export SKR_PKCS11_CONF=$SKR_RUN/own.conf
cli() { "$build/src/skr-pkcs11" print-config "$@"; }

check_status() { # TEXT STATUS PATTERN COMMAND… : the pattern is on the standard error; unless the status is 0 nothing is printed
	local status=0
	"${@:4}" >said.out 2>said.err || status=$?
	[ $status = "$2" ] && grep -qE -- "$3" said.err && { [ "$2" = 0 ] || [ ! -s said.out ]; } ||
		{ echo "FAILED: $1: status $status"; cat said.out said.err; exit 1; }
	echo "ok: $1"
}
squeeze() { sed -E 's/[[:space:]]+/ /g; s/^ //; s/ $//'; }
sed 's/  *# .*//' "$SKR_TOP/docs/interop.md" "$SKR_TOP"/conf/examples/*.c* | squeeze >documented

released_before=$(releases)
consumers=$(cli 2>&1 | sed -n '1s/.*One of //p' | tr -d ,)
for consumer in ${consumers/pem-uri/}; do
	for way in '' --engine --provider; do
		OPENSSL_MODULES=/usr/lib/x86_64-linux-gnu/ossl-modules OPENSSL_ENGINES=/usr/lib/x86_64-linux-gnu/engines-3 \
			cli "$consumer" $way --module $installed --certificate /etc/ssl/certs/www.pem >printed 2>printed.err || { [ $? = 2 ] && [ -n "$way" ] && continue; }
		[ -s printed ] || { echo "FAILED: $consumer $way prints nothing"; cat printed.err; exit 1; }
		squeeze <printed | grep -vE '^([#;] ?[^d]|$)' | while read -r line; do
			grep -qxF -- "$line" documented || { echo "FAILED: $consumer $way: not in the documents: $line"; exit 1; }
		done
		echo "ok: $consumer${way:+ $way}: the documents have every line"
	done
done
check "the PEM-URI file is what the recipe of the documents makes" cmp <(cli pem-uri 2>/dev/null) <(
	. "$SKR_TOP/tests/support/openssl-provider.sh"
	uri_pem 'pkcs11:token=web;object=www;type=private' recipe.pem
	cat recipe.pem
)

# The first lines say what to run first. It is run, with files of this folder in the place of /etc.
mkdir -p etc/ssl/certs etc/haproxy
PATH=$build/src:$PATH
test_ca
cp ca.pem etc/ssl/certs/www.pem
for consumer in nginx apache haproxy stunnel curl; do
	for way in --engine --provider; do
		cli $consumer web --key www $way --module "$module" --certificate /etc/ssl/certs/www.pem >printed 2>printed.err || continue
		grep -oE '^[#;] (First: |       ).*skr-pkcs11.*>/etc/.*' printed | sed -E "s/^[#;] (First: | +)//; s,/etc/,$SKR_RUN/etc/,g" >commands || continue
		while read -r command; do
			file=${command##*>}
			rm -f "$file"
			check "$consumer $way: ${command%% *} … >${file#"$SKR_RUN"}" bash -ec "$command"
			check "there is something in it" test -s "$file"
		done <commands
	done
done
check "haproxy's file has certificate and key" grep -c 'BEGIN CERTIFICATE\|BEGIN PKCS#11 PROVIDER URI' etc/haproxy/www.pem

# What the module takes for the key's certificate is named.
certificate_of() { sed -n 's/^ssl_certificate  *\(.*\);/\1/p' printed; }
sed -i "s,^key = .*,&\ncertificate = $SKR_RUN/ca.pem," own.conf
check "with a certificate in the configuration" sh -c "'$build/src/skr-pkcs11' print-config nginx web --engine --module '$module' >printed"
check "its file is named" test "$(certificate_of)" = "$SKR_RUN/ca.pem"
sed -i '/^certificate/d' own.conf
check_status "without one it is said whose is missing" 0 'no certificate = of token web is that of key www' cli nginx web --engine --module "$module"
check_status "what is not installed is said, and how to get it" 0 'pkcs11-provider is not installed, there is no /nowhere/pkcs11.so: apt-get install pkcs11-provider' \
	env OPENSSL_MODULES=/nowhere "$build/src/skr-pkcs11" print-config openssl --provider --module "$module"
check "the lines are printed all the same" grep -q '^module = /nowhere/pkcs11.so' said.out
check_status "a module that is not there" 0 'no module at /nowhere.so' cli ssh --module /nowhere.so

# Labels with anything in them.
mapfile -t keys < <(token_lines "p256 label=it's;50%" rsa2048)
write_configuration "$SKR_RUN/own.conf" "a b" "${keys[@]}"
check_status "a key with blanks and more in its labels" 0 'no certificate' cli nginx 'a b' --key "it's;50%" --provider --module "$module"
check "the file's name has none of them" grep -qx 'ssl_certificate_key /etc/ssl/it_s_50_.uri.pem;' said.out
check "the command of the comment names it in full" grep -qF "pem-uri 'a b' --key 'it'\\''s;50%' >" said.out
check_status "its URI encodes them" 0 'no certificate' cli nginx 'a b' --key "it's;50%" --engine --module "$module"
check "all of them" grep -qF 'pkcs11:token=a%20b;object=it%27s%3B50%25;type=private' said.out

# What is not understood: status 2, one sentence, nothing printed.
check_status "no program" 2 'One of nginx, apache' cli
check_status "an unknown one" 2 'nothing is known of "gopher"; there are nginx' cli gopher
check_status "both ways" 2 'either --engine or --provider' cli nginx --engine --provider
check_status "a way that it does not have" 2 "haproxy does not use OpenSSL's engine: leave --engine out" cli haproxy --engine
check_status "nor this one" 2 "ssh does not use OpenSSL's provider" cli ssh --provider
check_status "a file that is not needed" 2 'leave --key-file out' cli nginx --engine --key-file /etc/x
check_status "a relative name" 2 'absolute names' cli ssh --module skr-pkcs11.so
check_status "a name that would need quotes" 2 'absolute names' cli nginx --engine --key rsa2048 --certificate '/etc/my certs/x.pem' --module "$module"
check_status "nor one of OpenSSL's folder" 2 'libengine-pkcs11-openssl /a b/pkcs11.so: .*absolute names' \
	env OPENSSL_ENGINES='/a b' "$build/src/skr-pkcs11" print-config openssl --engine --module "$module"
check_status "a key must be named" 2 "several keys: name one by --key" cli nginx --module "$module"
check_status "three words" 2 'one word too many' cli nginx a b
check_status "a token that is not there" 1 'no token nobody in' cli nginx nobody --module "$module"
check_status "a key that is not there" 1 'has no key nothing' cli nginx 'a b' --key nothing --module "$module"
echo 'log = loud' >own.conf
check_status "a configuration that is broken" 1 'SKR-004' cli nginx --module "$module"
check "is not looked at where it is not needed" cli ssh --module "$module"
check_releases 0
