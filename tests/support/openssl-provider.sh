# SPDX-License-Identifier: Apache-2.0
# Sourced after interop.sh: OpenSSL 3's way to PKCS#11, pkcs11-provider, for every program that loads keys through OpenSSL.

# have_provider : sets provider, its path, and provider_version. Debian 12 has it in backports only, so it is unpacked
# under the build folder by an apt of our own; the machine's apt and its sources stay as they are.
have_provider() {
	provider=$(echo /usr/lib/*/ossl-modules/pkcs11.so)
	provider_version=$(version_of pkcs11-provider) || true
	[ ! -e "$provider" ] || return 0
	local apt=$SKR_BUILD/backports
	mkdir -p "$apt"
	(
		flock 8
		[ -e "$apt/version" ] || fetch_provider "$apt" >"$apt.log" 2>&1
	) 8>"$apt.lock" || { tail -20 "$apt.log"; echo "FAILED: pkcs11-provider cannot be had from Debian's backports"; exit 1; }
	provider=$(echo "$apt"/root/usr/lib/*/ossl-modules/pkcs11.so)
	provider_version=$(cat "$apt/version")
}

fetch_provider() { # FOLDER
	local apt=$1 mirror apt_get
	. "$SKR_TOP/tests/support/chroot.sh" # debian_mirror
	mirror=$(debian_mirror)
	mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/root"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" >"$apt/sources.list"
	apt_get=(apt-get -q -o Dir::State="$apt/state" -o Dir::State::status=/var/lib/dpkg/status -o Dir::Cache="$apt/cache"
		-o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/nonexistent -o APT::Sandbox::User=root)
	"${apt_get[@]}" update
	(cd "$apt" && "${apt_get[@]}" download pkcs11-provider)
	dpkg-deb -x "$apt"/pkcs11-provider_*.deb "$apt/root"
	dpkg-deb -f "$apt"/pkcs11-provider_*.deb Version >"$apt/version.new"
	mv "$apt/version.new" "$apt/version"
}

# provider_configuration FILE [default] : the example of the documents with this machine's paths; `default`: for all.
provider_configuration() {
	have_provider
	sed "s,^module = .*,module = $provider,; s,^pkcs11-module-path = .*,pkcs11-module-path = $module,
		${2:+s/^#$2: //}" "$SKR_TOP/conf/examples/openssl-provider.cnf" >"$1"
	printf '%s\n' '[req]' 'distinguished_name = names' '[names]' >>"$1"
}

# uri_pem URI FILE : a file that programs read as a private key in PEM, and that only says where the key is.
uri_pem() {
	OPENSSL_CONF=/dev/null openssl asn1parse -noout -out "$2.der" -genconf /dev/stdin <<-END
		asn1 = SEQUENCE:key
		[key]
		version = VISIBLESTRING:PKCS\\#11 Provider URI v1.0
		uri = UTF8String:$1
	END
	{
		echo '-----BEGIN PKCS#11 PROVIDER URI-----'
		openssl base64 -in "$2.der"
		echo '-----END PKCS#11 PROVIDER URI-----'
	} >"$2"
	rm "$2.der"
}

# key_file KEY : KEY.uri.pem, such a file for a key of the token.
key_file() { uri_pem "pkcs11:token=skr;object=$1;type=private" "$1.uri.pem"; }

# tls_both_ways KEY VERSION : s_server and s_client, each with the key from the PEM-URI file, the client asked for its certificate.
tls_both_ways() {
	local key=$1 version=$2 port
	port=$(free_port)
	# The first connection is the probe of wait_for_port.
	openssl s_server -key "$key.uri.pem" -cert "$key.crt" -CAfile ca.pem -Verify 1 -accept "127.0.0.1:$port" -naccept 2 -quiet \
		</dev/null >"server-$key$version.log" 2>&1 &
	children+=($!)
	wait_for_port "$port" || { cat "server-$key$version.log"; exit 1; }
	check_says "s_client and s_server with $key, $version" 'Verification: OK' \
		openssl s_client -key "$key.uri.pem" -cert "$key.crt" -connect "127.0.0.1:$port" -CAfile ca.pem "$version" -brief </dev/null
	wait "${children[-1]}"
}

# use_keys FORM : everything openssl does with a private key; the key is named by URI or by PEM-URI file.
use_keys() {
	local form=$1 key name options plain_openssl=(env OPENSSL_CONF=/dev/null openssl)
	for key in rsa2048 p256; do
		name="pkcs11:token=skr;object=$key;type=private"
		[ "$form" = URI ] || name=$key.uri.pem
		check "dgst with $key" openssl dgst -sha256 -sign "$name" -out text.sig text
		check "verified without the provider" "${plain_openssl[@]}" dgst -sha256 -verify $key.pem -signature text.sig text
		openssl dgst -sha256 -binary -out hash text
		check "pkeyutl signs with $key" openssl pkeyutl -sign -inkey "$name" -pkeyopt digest:sha256 -in hash -out hash.sig
		check "verified" "${plain_openssl[@]}" pkeyutl -verify -pubin -inkey $key.pem -pkeyopt digest:sha256 -in hash -sigfile hash.sig
		check "a request by $key" openssl req -new -key "$name" -subj /CN=token -out token.csr
		check "verified" "${plain_openssl[@]}" req -in token.csr -verify -noout
		check "cms by $key" openssl cms -sign -inkey "$name" -signer $key.crt -in text -out text.cms -outform DER -binary -nodetach
		check "verified" "${plain_openssl[@]}" cms -verify -inform DER -in text.cms -CAfile ca.pem -purpose any -binary -out /dev/null
	done
	name='pkcs11:token=skr;object=rsa2048;type=private'
	[ "$form" = URI ] || name=rsa2048.uri.pem
	check "dgst, RSA-PSS" openssl dgst -sha384 -sign "$name" -sigopt rsa_padding_mode:pss -out text.sig text
	check "verified" "${plain_openssl[@]}" dgst -sha384 -verify rsa2048.pem -sigopt rsa_padding_mode:pss -signature text.sig text
	for options in rsa_padding_mode:pkcs1 "rsa_padding_mode:oaep rsa_oaep_md:sha256 rsa_mgf1_md:sha256"; do
		options=$(printf -- '-pkeyopt %s ' $options) # the provider takes OAEP with both hashes named, or not at all
		"${plain_openssl[@]}" pkeyutl -encrypt -pubin -inkey rsa2048.pem $options -in secret -out box
		check "pkeyutl decrypts, $options" openssl pkeyutl -decrypt -inkey "$name" $options -in box -out opened
		check "to what was encrypted" cmp secret opened
	done
	"${plain_openssl[@]}" cms -encrypt -binary -in text -out text.cms -outform DER rsa2048.crt
	check "cms decrypts" openssl cms -decrypt -inform DER -in text.cms -recip rsa2048.crt -inkey "$name" -out opened
	check "to what was encrypted" cmp text opened
}

# check_openssl_provider SUITE : what tests/interop/openssl-provider*.sh do, in this Debian or in a newer one.
check_openssl_provider() {
	local suite=$1 key form
	need openssl pkcs11-tool python3
	have_provider
	certificate rsa2048
	certificate p256
	head -c 1000 /dev/urandom >text
	echo secret >secret
	for key in rsa2048 p256; do
		key_file $key
	done
	export OPENSSL_CONF=$SKR_RUN/provider.cnf
	provider_configuration provider.cnf
	released_before=$(releases)
	check_says "the provider is active" 'name: PKCS#11 Provider' openssl list -providers
	check_releases 0 # it starts in every program that uses OpenSSL
	check_says "certificates are listed without login" 'Total found: 2' openssl storeutl -certs 'pkcs11:token=skr;type=cert'
	check_releases 0
	check_says "private keys are listed" 'Total found: 2' openssl storeutl -keys 'pkcs11:token=skr;type=private'
	check_releases 2 # both keys, one login
	for form in URI file; do
		echo "# the key by $form"
		use_keys $form
	done
	for key in rsa2048 p256; do
		tls_both_ways $key -tls1_2
		tls_both_ways $key -tls1_3
	done
	echo "# the provider as the default of the whole process"
	provider_configuration provider.cnf default
	use_keys URI
	# What is verified is verified on the token, too; but 1.3 brings no public key to a token that is write-protected.
	case $provider_version in
	1.0*)
		tls_both_ways rsa2048 -tls1_2
		tls_both_ways p256 -tls1_3
		;;
	esac
	provider_configuration provider.cnf
	check_fails "a token that is not there" openssl dgst -sha256 -sign 'pkcs11:token=nowhere;object=p256;type=private' -out text.sig text
	check_fails "a key that is not there" openssl dgst -sha256 -sign 'pkcs11:token=skr;object=nothing;type=private' -out text.sig text
	check_fails "a key that Azure does not release here" openssl dgst -sha256 -sign 'pkcs11:token=other;object=elsewhere;type=private' \
		-out text.sig text
	check_says "whose reason is in our log" '.' grep -E 'SKR-332 .*key elsewhere: its policy needs' "$SKR_RUN/skr-pkcs11.log"
	summary "OpenSSL provider, $suite" "$provider_version, OpenSSL $(openssl version | cut -d' ' -f2)" \
		"dgst, pkeyutl, req, cms, storeutl, s_server, s_client; by URI, by PEM-URI file, as the default provider"
}
