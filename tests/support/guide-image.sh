# SPDX-License-Identifier: Apache-2.0
# Sourced by guide-az and guide-kubectl: the image of conf/examples/container, run in the played machine.

wait_for() { # COMMAND… : up to 20 s
	local tries=0
	until "$@"; do
		[ $((tries += 1)) -lt 200 ] && kill -0 "$(cat "$SKR_RUN/image.pid")" || { cat "$SKR_RUN/image.err" >&2; echo "no $*" >&2; exit 2; }
		sleep 0.1
	done
}
listening() { (exec 3<>/dev/tcp/127.0.0.1/443) 2>/dev/null; }

# start_image : returns when it serves, or, without a certificate, at once.
start_image() {
	"$SKR_TOP/conf/examples/container/start.sh" >"$SKR_RUN/image.log" 2>"$SKR_RUN/image.err" &
	echo $! >"$SKR_RUN/image.pid"
	! grep -qs 'BEGIN CERTIFICATE' /run/www/www.pem || wait_for listening
}

image_request() {
	wait_for grep -q 'END CERTIFICATE REQUEST' "$SKR_RUN/image.log"
	cat "$SKR_RUN/image.log"
}

stop_image() {
	kill "$(cat "$SKR_RUN/image.pid")"
	rm "$SKR_RUN/image.pid"
}
