# SPDX-License-Identifier: GPL-2.0
# Sourced by the shell scripts: how they speak, fail and show progress.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=$(realpath -m "${BUILD:-$top/build}")
JOBS=${JOBS:-$(($(nproc) + 1))}
V=${V:-0}
PATH=$PATH:/usr/sbin:/sbin # mke2fs, for those who are not root

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

case $BUILD in
*[[:space:]:,]*) die "BUILD=$BUILD: neither make nor QEMU can live with a blank, a colon or a comma in it" ;;
esac
mkdir -p "$BUILD/log"

# need TOOL PACKAGE [COMMAND]: stop with the package that holds a missing tool, and
# the command that installs it
need() {
	command -v "$1" >/dev/null ||
		die "$1 is missing: run ${3:-make setup} (Debian package $2)"
}

# need_space GIB: stop before a disk fills up half-way
need_space() {
	local free
	free=$(($(stat -f -c '%a * %S' "$BUILD") >> 30))
	[ "$free" -ge "$1" ] ||
		die "$BUILD has $free GiB free and this needs $1: make room or set BUILD= to a folder on a larger disk"
}

# only_one WHAT: wait until nobody else makes WHAT in this BUILD; nor will anybody until
# this script and all that it started have ended
only_one() {
	local lock
	exec {lock}>"$BUILD/log/$1.lock"
	flock -n "$lock" || { say "another run is at $1 in $BUILD: waiting for it"; flock "$lock"; }
}

# stop_group PID: end a process group and return when nothing of it is left, so
# that the next run does not meet a compiler of this one
stop_group() {
	local tries
	kill -TERM -- "-$1" 2>/dev/null || return 0
	for tries in {1..100}; do
		kill -0 -- "-$1" 2>/dev/null || return 0
		[ "$tries" != 50 ] || kill -KILL -- "-$1" 2>/dev/null
		sleep 0.1
	done
}

# progress TEXT LOG PID: again and again, while the process is there, how far it is and,
# where $expected says how many lines it prints in all, how long it still takes
progress() {
	local lines left begin=$SECONDS spent every=60 start= end='\n'
	[ ! -t 1 ] || every=1 start='\r\033[K' end=
	while sleep "${PROGRESS_SECONDS:-$every}"; kill -0 "$3" 2>/dev/null; do
		lines=$(wc -l <"$2") left= spent=$((SECONDS - begin))
		if [ "${expected:-0}" -gt "$lines" ] && [ "$lines" -gt $((expected / 20)) ]; then
			left=$((spent * (expected - lines) / lines))
			[ $left -lt 90 ] && left="$left s" || left="$(((left + 30) / 60)) min"
		fi
		printf "$start%s: %ds, %d%s lines%s$end" "$1" "$spent" "$lines" \
			"${expected:+ of about $expected}" "${left:+, about $left left}"
	done
}

# step TEXT LOG COMMAND...: run a long command with its output in LOG, a progress line on
# the screen, or one a minute where that is a file, and the log's last lines where it fails.
# "expected=LINES step ..." says how many lines it prints
step() {
	local text=$1 log=$2 begin=$SECONDS pid teller status=0 spent
	shift 2
	mkdir -p "$(dirname "$log")"
	if [ "$V" != 0 ]; then
		say "$text: $*"
		set +e # not "||", which would have the command go on behind its own errors
		(set -e; "$@") 2>&1 | tee "$log"
		status=${PIPESTATUS[0]}
		set -e
	else
		set -m # a process group of its own, to be stopped as a whole
		"$@" >"$log" 2>&1 </dev/null &
		pid=$!
		progress "$text" "$log" "$pid" 2>/dev/null &
		teller=$!
		set +m
		trap 'stop_group "$pid"; stop_group "$teller"; say
			die "interrupted; the same command goes on where it was"' INT TERM HUP
		wait "$pid" || status=$?
		kill -KILL -- "-$teller" # which it cannot put off behind a sleep
		wait "$teller" 2>/dev/null || :
		trap - INT TERM HUP
		[ ! -t 1 ] || printf '\r\033[K'
	fi
	spent=$((SECONDS - begin))
	if [ "$status" != 0 ]; then
		say "$text: failed after ${spent}s; the end of $log:"
		tail -n 25 "$log" | sed 's/^/    /'
		exit "$status"
	fi
	say "$text: ${spent}s"
}
