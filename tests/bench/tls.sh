#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tls.sh BUILD [ROUNDS] : CPU time of nginx's workers per full TLS 1.3 handshake, with the token's key by engine and by
# provider as ratios to the same kind of key in a file. The three servers take turns in every round, so that a busy
# machine disturbs all; numbers are medians.
. "$(dirname "$0")/../support/interop.sh"
. "$SKR_TOP/tests/support/openssl-provider.sh"
. "$SKR_TOP/tests/support/nginx.sh"
rounds=${2:-15}
handshakes=200
prepare_nginx
provider_configuration provider.cnf
sed "s,^dynamic_path = .*,dynamic_path = $(echo /usr/lib/*/engines-3/pkcs11.so),; s,^MODULE_PATH = .*,MODULE_PATH = $module," \
	"$SKR_TOP/conf/examples/openssl-engine.cnf" >engine.cnf
for key in rsa2048 p256; do
	uri_pem "pkcs11:token=skr;object=$key;type=private" $key.uri.pem
done
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -addext 'subjectAltName=DNS:localhost' \
	-keyout plain-rsa2048.key -out plain-rsa2048.crt 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -addext 'subjectAltName=DNS:localhost' \
	-keyout plain-p256.key -out plain-p256.crt 2>/dev/null
cat plain-*.crt >>ca.pem
trap 'for mode in plain engine file; do [ ! -s $mode/nginx.pid ] || kill -QUIT "$(cat $mode/nginx.pid)"; done' EXIT

declare -A ports conf=([plain]=/dev/null [engine]=$SKR_RUN/engine.cnf [file]=$SKR_RUN/provider.cnf)
serve() { # MODE WORKERS : nginx with both keys, in a folder of its own
	local mode=$1
	mkdir -p "$mode"
	ports[$mode]=$(free_port)
	nginx_configuration "$mode" "$2" "${ports[$mode]}"
	sed "s,$SKR_RUN/nginx,$SKR_RUN/$mode/nginx,; s, http2;,;," nginx.conf >"$mode/nginx.conf"
	[ "$mode" != plain ] || sed -i "s,$SKR_RUN/\(rsa2048\|p256\)\.,$SKR_RUN/plain-\1.," plain/nginx.conf
	OPENSSL_CONF=${conf[$mode]} nginx -p "$SKR_RUN/$mode" -c "$SKR_RUN/$mode/nginx.conf" -e "$SKR_RUN/$mode/nginx.log"
	wait_for_port "${ports[$mode]}"
}

stop() { # MODE
	local master
	master=$(cat "$1/nginx.pid")
	kill -QUIT "$master"
	wait_until "nginx ends" gone "$master"
}

cpu() { # MODE : nanoseconds that the workers have run
	local worker sum=0
	for worker in $(nginx_workers "$(cat "$1/nginx.pid")"); do
		sum=$((sum + $(cut -d' ' -f1 "/proc/$worker/schedstat")))
	done
	echo $sum
}

measure() { # MODE KIND : adds one line to MODE-KIND: microseconds per handshake
	local before after
	before=$(cpu "$1")
	"$tls_load" -a ca.pem -v 1.3 -k "$2" -n $handshakes -t 8 "${ports[$1]}" >load.out 2>load.err || { cat load.out load.err "$1/nginx.log"; exit 1; }
	after=$(cpu "$1")
	awk "BEGIN { print ($after - $before) / 1000 / $handshakes }" >>"$1-$2"
}

median() { sort -n | awk '{ line[NR] = $1 } END { print line[int((NR + 1) / 2)] }'; }

ratio() { # MODE KIND : median of the rounds' ratios
	paste "$1-$2" "plain-$2" | awk '{ print $1 / $2 }' | median
}

echo "nginx $(nginx -v 2>&1 | sed 's,.*/,,'), $(openssl version | cut -d' ' -f1,2), worker CPU per full TLS 1.3 handshake, medians of $rounds rounds of $handshakes"
printf '%-8s %8s %10s %10s %10s %10s %10s\n' key workers file/us engine/us ratio provider/us ratio
for workers in 1 2; do
	rm -f {plain,engine,file}-{rsa,ec}
	for mode in plain engine file; do
		serve $mode $workers
	done
	for kind in rsa ec; do
		for mode in plain engine file; do
			measure $mode $kind # first ones: logins are inherited here, caches filled
			rm $mode-$kind
		done
		for round in $(seq "$rounds"); do
			for mode in plain engine file; do
				measure $mode $kind
			done
		done
		printf '%-8s %8s %10.0f %10.0f %10.3f %10.0f %10.3f\n' "$(sed 's/rsa/RSA-2048/; s/ec/P-256/' <<<$kind)" $workers \
			"$(median <plain-$kind)" "$(median <engine-$kind)" "$(ratio engine $kind)" "$(median <file-$kind)" "$(ratio file $kind)"
	done
	for mode in plain engine file; do
		stop $mode
	done
done
