#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each interface of the guest, each source of endorsements, each product, through whole logins.
. "$(dirname "$0")/../support/interop.sh"
doctor() { "$build/src/skr-pkcs11" doctor skr; }
setting() { # NAME VALUE, of token skr
	sed -i "/^\[token skr\]/,/^\[token other\]/{/^$1 = /d}" "$SKR_PKCS11_CONF"
	sed -i "/^\[token skr\]/a $1 = $2" "$SKR_PKCS11_CONF"
}
hardware() { curl -sSf -o /dev/null -X POST --data-binary "$1" "$SKR_EMULATOR_CONTROL/hardware"; }

for device in sev-guest:snp-ioctl sev:snp-ioctl-5 configfs:snp-configfs; do
	echo "${device%%:*}" >"$SKR_EMULATOR_DIR/devices"
	check_says "evidence by ${device%%:*}" "evidence .* ${device##*:}, endorsements from security-context" doctor
done
echo sev-guest >"$SKR_EMULATOR_DIR/devices"
for source in security-context thim; do
	setting endorsements $source
	check_says "endorsements from $source" "evidence .* endorsements from $source" doctor
done
hardware '{"certificate_table":true}'
setting endorsements report
check_says "endorsements from the report's certificate table" "evidence .* endorsements from report" doctor
hardware '{"certificate_table":false}'
setting endorsements auto
for product in Genoa Turin Milan; do
	hardware "{\"product\":\"$product\"}"
	check_says "a machine of $product" 'login .* 2 keys' doctor
done
echo none >"$SKR_EMULATOR_DIR/devices"
check_fails "no device: no login" doctor
grep -q 'SKR-100' "$SKR_RUN/check.out" || { cat "$SKR_RUN/check.out"; exit 1; }
echo sev-guest >"$SKR_EMULATOR_DIR/devices"
check_says "the device is back, and so is the login" 'login .* 2 keys' doctor
