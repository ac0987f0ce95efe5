#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# wpa_supplicant, as eapol_test: EAP-TLS with a key in the token, against the RADIUS server of hostapd.
. "$(dirname "$0")/../support/interop.sh"
need eapol_test hostapd openssl unshare
libraries=$(dirname "$(dirname "$(ls /usr/lib/*/engines-3/pkcs11.so)")")
certificate rsa2048
certificate p256
openssl req -new -newkey rsa:2048 -nodes -subj /CN=radius -keyout radius.key -out radius.csr 2>/dev/null
openssl x509 -req -in radius.csr -CA ca.pem -CAkey ca.key -days 30 -out radius.crt 2>/dev/null
released_before=$(releases)

port=$(python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
echo '* TLS' >users
echo '127.0.0.1 secret' >clients
cat >hostapd.conf <<-END
	interface=none0
	driver=none
	ieee8021x=1
	eap_server=1
	eap_user_file=$SKR_RUN/users
	ca_cert=$SKR_RUN/ca.pem
	server_cert=$SKR_RUN/radius.crt
	private_key=$SKR_RUN/radius.key
	tls_flags=[ENABLE-TLSv1.3]
	radius_server_clients=$SKR_RUN/clients
	radius_server_auth_port=$port
END
hostapd hostapd.conf >hostapd.log 2>&1 &
children+=($!)
tries=0
until grep -q AP-ENABLED hostapd.log; do
	[ $((tries += 1)) -lt 300 ] || { cat hostapd.log; exit 1; }
	sleep 0.1
done

# wpa_supplicant takes modules under /usr/lib only. The folder for them there is ours as long as a command runs, and for it alone.
in_usr_lib() { # COMMAND…
	unshare "${namespace[@]}" --mount sh -c 'mount --bind "$1" "$2" || exit 111; folder=$2; shift 2
		status=0; "$@" || status=$?; umount "$folder"; exit $status' in_usr_lib "$build/src" "$libraries/pkcs11" "$@"
}
namespace=()
# In a chroot the root is no mount point whose propagation could be changed; a user who is not root needs a namespace for that too.
in_usr_lib true 2>/dev/null || namespace=(--propagation unchanged)
in_usr_lib true 2>/dev/null || namespace=(--map-root-user)
in_usr_lib true || { echo "FAILED: nothing can be mounted"; exit 1; }

configuration() { # MODULE KEY TLS-1.3-DISABLED
	cat >wpa.conf <<-END
		pkcs11_engine_path=$libraries/engines-3/pkcs11.so
		pkcs11_module_path=$1
		network={
		  key_mgmt=WPA-EAP
		  eap=TLS
		  identity="user@example.org"
		  ca_cert="$SKR_RUN/ca.pem"
		  client_cert="$SKR_RUN/${2/nosuch/p256}.crt"
		  engine=1
		  engine_id="pkcs11"
		  key_id="pkcs11:token=skr;object=$2;type=private"
		  phase1="tls_disable_tlsv1_3=$3"
		}
	END
}
eapol() { in_usr_lib eapol_test -c wpa.conf -a 127.0.0.1 -p "$port" -s secret -t 30 "$@"; }

for key in rsa2048 p256; do
	for version in 2 3; do
		configuration "$libraries/pkcs11/skr-pkcs11.so" $key $((3 - version))
		check_says "EAP-TLS with $key, TLS 1.$version" "Using TLS version TLSv1.$version" eapol
		check_releases 2
	done
done
check_says "five times in one process" '^SUCCESS' eapol -r 4
check_releases 2

log_seen=$(wc -l <skr-pkcs11.log)
azure_refuses
check_refused "a login that Azure refuses is a failure" 'cannot load private key .*Function failed' eapol -t 8
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
configuration "$libraries/pkcs11/skr-pkcs11.so" nosuch 0
check_refused "a wrong URI is a failure" 'cannot load private key .*object not found' eapol -t 8
configuration "$module" p256 0
check_refused "a module elsewhere is refused" 'Not in trusted path /usr/lib/' eapol
summary "wpa_supplicant" "$(version_of eapoltest)" "EAP-TLS with RSA and EC, TLS 1.2 and 1.3"
