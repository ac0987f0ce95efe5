#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# GnuPG with gnupg-pkcs11-scd as its smart card daemon: card status, a key from the token key, sign, encrypt, decrypt; never a PIN prompt.
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/print-config.sh"
need gpg gpg-agent gpgconf gpg-connect-agent openssl
scd=/usr/bin/gnupg-pkcs11-scd
[ -x $scd ] || { echo "gnupg-pkcs11-scd is not installed"; exit 77; }
certificate rsa2048 '/CN=Token User'
certificate p256

# A prompt is a failure: whoever asks for a PIN leaves a mark and gets nothing.
printf '#!/bin/sh\ntouch %s/prompted\nexit 1\n' "$SKR_RUN" >pinentry
chmod 755 pinentry
export GNUPGHOME=$SKR_RUN/gnupg
mkdir -m 700 "$GNUPGHOME"
printed gnupg >gnupg.printed
{ part gpg-agent.conf <gnupg.printed; echo "pinentry-program $SKR_RUN/pinentry"; } >"$GNUPGHOME/gpg-agent.conf"
part gnupg-pkcs11-scd.conf <gnupg.printed >"$GNUPGHOME/gnupg-pkcs11-scd.conf"
at_exit() { gpgconf --kill all 2>/dev/null || true; }
released_before=$(releases)

check_says "the card is there" 'Version ' gpg --batch --card-status
check_releases 0
gpg-connect-agent 'SCD LEARN' /bye >learned
grip=$(awk '$2 == "KEYPAIRINFO" { print $3; exit }' learned)
check "it has the token's RSA key" test "$(grep -c KEYPAIRINFO learned)" = 1
check_releases 0 # the certificate tells everything that gpg asks until the first signature

cat >parameters <<-END
	Key-Type: RSA
	Key-Grip: $grip
	Key-Usage: sign encrypt
	Name-Real: Token User
	Name-Email: user@example.org
	Expire-Date: 0
	%commit
END
check "a key is made from the token's key" gpg --batch --full-generate-key parameters
check_releases 2
check_says "its secret half is on the card" '^sec:.*:D276[0-9A-F]{28}:' gpg --batch --list-secret-keys --with-colons
head -c 1000 /dev/urandom >text
check "sign" gpg --batch --yes --detach-sign -u user@example.org text
check_says "verify" 'Good signature' gpg --batch --verify text.sig text
check "a signature in clear, with SHA-512" gpg --batch --yes --digest-algo SHA512 --clearsign -u user@example.org <<<'in clear' 
check "encrypt" gpg --batch --yes --trust-model always -r user@example.org -o box --encrypt text
check "decrypt" gpg --batch --yes -o opened --decrypt box
check "to what was encrypted" cmp text opened
check_releases 0

# Another machine, with the public half alone, agrees.
gpg --batch --export user@example.org >public.gpg
mkdir -m 700 other
check "the public half is taken elsewhere" gpg --homedir other --batch --import public.gpg
check_says "and verifies" 'Good signature' gpg --homedir other --batch --verify text.sig text
gpgconf --homedir "$SKR_RUN/other" --kill all

# A new agent logs in again, once.
gpgconf --kill all
check "sign after a restart of the agent" gpg --batch --yes --detach-sign -u user@example.org text
check "decrypt after it" gpg --batch --yes -o opened --decrypt box
check_releases 2

# What goes wrong: gpg says little, our log says the rest.
sign() { gpg --batch --yes --detach-sign -u user@example.org text; }
gpgconf --kill all
azure_refuses
check_refused "a login that Azure refuses is a card error" 'signing failed: Card error' sign
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
check "the same agent signs once Azure allows it" sign
check "nobody was asked for a PIN" test ! -e prompted

learn() { # CONFIGURATION : what a new agent finds on the card
	gpgconf --kill all
	SKR_PKCS11_CONF=$1 gpg-connect-agent 'SCD LEARN' /bye
}
grep -v '^certificate' "$SKR_PKCS11_CONF" >bare.conf
learn "$SKR_RUN/bare.conf" >learned
check_fails "a token without certificates has no keys for gpg" grep -q KEYPAIRINFO learned
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -keyout other.key -out other.crt 2>/dev/null
sed "/p256.crt/d; s,^certificate = .*,certificate = $SKR_RUN/other.crt," "$SKR_PKCS11_CONF" >other.conf
check_says "with the certificate of another key gpg sees that key" '/CN=other on skr' learn "$SKR_RUN/other.conf"
sign >/dev/null 2>&1 || true
check_log "at the login our log says that it is another's" 'taken for key rsa2048 is not that of'
sed -i s,/skr-pkcs11.so,/missing.so, "$GNUPGHOME/gnupg-pkcs11-scd.conf"
gpgconf --kill all
check_refused "without the module's file there is no card daemon" 'No SmartCard daemon' sign

summary "GnuPG, gnupg-pkcs11-scd" "$(version_of gnupg), $(version_of gnupg-pkcs11-scd)" "card status, key from card, sign, verify, encrypt, decrypt"
