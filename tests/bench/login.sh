#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# login.sh : inside surroundings; how long a login takes besides making the transport key, which is the machine's speed at
# finding primes and nothing else. Median of 9, after one that lets the emulator make its own keys.
set -eu
doctor=$SKR_BUILD/src/skr-pkcs11
median() { sort -n | sed -n 5p; }
one() { # TOKEN : milliseconds of a login less those of the transport key
	"$doctor" doctor "$1" | awk '$2 == "transport-key" { key = $3 } $2 == "login" { all = $3 } END { print all - key }'
}
"$doctor" doctor faulty >/dev/null
printf 'login of one EC key, less the transport key:     %s ms\n' "$(for _ in 1 2 3 4 5 6 7 8 9; do one faulty; done | median)"
"$doctor" doctor skr >/dev/null
printf 'login of an RSA and an EC key, less that:        %s ms (24 to 35 of them are the check that the RSA numbers are prime)\n' \
	"$(for _ in 1 2 3 4 5 6 7 8 9; do one skr; done | median)"
