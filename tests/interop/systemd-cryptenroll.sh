#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# systemd-cryptenroll: the token's RSA key is enrolled in an encrypted volume, and opens what was enrolled.
. "$(dirname "$0")/../support/interop.sh"
need systemd-cryptenroll cryptsetup openssl python3 pkcs11-tool
. "$SKR_TOP/tests/support/registered.sh" "$@"
certificate rsa2048
certificate p256
released_before=$(releases)

truncate -s 32M volume
echo -n 'a passphrase' >passphrase
check "a volume is made" cryptsetup luksFormat --batch-mode --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file passphrase volume
enroll() { PASSWORD='a passphrase' systemd-cryptenroll "--pkcs11-token-uri=$1" volume; }
check_releases 0
check_says "the key is enrolled without a PIN" 'via protected authentication path' enroll 'pkcs11:token=skr;object=rsa2048'
check_releases 2
check_says "it is in the volume's header" 'systemd-pkcs11' cryptsetup luksDump volume

# What a boot does, without a mapped device: libcryptsetup asks systemd's plugin, which has the token decrypt the volume's secret.
open_volume() { cryptsetup open --test-passphrase --token-only --token-type systemd-pkcs11 "$@" volume; }
check "the token opens the volume" open_volume
check_releases 2
check_refused "an EC key is refused" 'Failed to determine RSA public key size' enroll 'pkcs11:token=skr;object=p256'
check_refused "a key that is not there has no certificate" 'Failed to find selected X509 certificate' enroll 'pkcs11:token=skr;object=nothing'
check_refused "a token that is not there is not found" 'token=nowhere.* not found' enroll 'pkcs11:token=nowhere;object=rsa2048'
azure_refuses
check_refused "no login, no volume" "Failed to log into security token 'skr'" open_volume
check_log "our log says why" 'SKR-331 .*no permission to release the key'
azure_allows
check "Azure allows it again" open_volume
# At last without the passphrase.
released_before=$(releases)
check "the passphrase is taken away" systemd-cryptenroll --wipe-slot=password volume
check "and the token still opens the volume" open_volume
check_releases 2
summary "systemd-cryptenroll" "$(version_of systemd)" "enrol an RSA key in a LUKS2 volume, open the volume"
