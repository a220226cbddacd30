# SPDX-License-Identifier: GPL-2.0
# Sourced after common.sh: what a flavour's name means.
#
# A flavour is a tree and the fragments of configs/ that it adds to guest.config:
# base, patched, base-lock_stat, patched-debug-kunit. Each is built in its own
# folder beside its source, at the same depth for every flavour, so that the
# compiler sees the same relative paths and ccache serves one from the other.

flavour() { # NAME: sets tree, src, out, fragments
	local part
	tree=${1%%-*}
	src=$BUILD/$tree/src
	out=$BUILD/$tree/${1#"$tree"}
	out=${out/\/-/\/}
	[ "$1" != "$tree" ] || out=$BUILD/$tree/guest
	fragments=("$top/configs/guest.config")
	case $tree in
	base | patched | each) ;; # each: the commits one by one
	*) die "FLAVOUR=$1: a flavour begins with base or patched, as in base, patched-lock_stat" ;;
	esac
	for part in $(tr - ' ' <<<"${1#"$tree"}"); do
		[ -f "$top/configs/$part.config" ] ||
			die "FLAVOUR=$1: there is no configs/$part.config"
		fragments+=("$top/configs/$part.config")
	done
	[ -f "$src/Makefile" ] || die "there is no kernel tree in $src: run make tree"
}

# kmake ARGUMENT...: the kernel's make for the flavour's output folder. Names and
# dates that a build bakes in are fixed: the same source gives the same bytes.
kmake() {
	make -C "$src" O="$out" CC="ccache ${CROSS_COMPILE:-}gcc" LOCALVERSION= \
		KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' \
		KBUILD_BUILD_USER=storm KBUILD_BUILD_HOST=guest "$@"
}
export CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache} CCACHE_BASEDIR=$BUILD
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-8G} CCACHE_NOHASHDIR=1
