# SPDX-License-Identifier: Apache-2.0
# Sourced: build FOLDER [CMake arguments…] : configures and builds $targets (default: everything); prints only what matters.

build() {
	local folder=$1 log
	shift
	mkdir -p "$folder"
	log=$folder/build.log
	if ! { cmake -S "$top" -B "$folder" -G Ninja "$@" && ninja -C "$folder" ${targets:-}; } >"$log" 2>&1; then
		grep -E -A12 'error|FAILED|warning' "$log" | head -60 >&2
		echo "The build in $folder failed; the whole log is $log" >&2
		return 1
	fi
}
