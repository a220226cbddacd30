# SPDX-License-Identifier: GPL-2.0
# Sourced after common.sh: what a flavour's name means.
#
# A flavour is a tree and the fragments of lab/kernel/configs/ that it adds to guest.config:
# base, patched, base-lock_stat, patched-debug-kunit. Each is built in its own
# folder beside its source, at the same depth for every flavour, so that the
# compiler sees the same relative paths and ccache serves one from the other.
# It is for x86, unless one of the fragments is another architecture's. With debian among
# the fragments it begins with Debian's configuration instead of tinyconfig. Else lock_stat and
# jump_label bring small.config along, which the others overrule.

# architecture NAME: sets karch, cross, image for an architecture that Debian calls
# so; fails for other words
architecture() {
	case $1 in
	armhf) karch=arm cross=arm-linux-gnueabihf- image=arch/arm/boot/zImage ;;
	arm64) karch=arm64 cross=aarch64-linux-gnu- image=arch/arm64/boot/Image ;;
	ppc64el) karch=powerpc cross=powerpc64le-linux-gnu- image=vmlinux ;;
	riscv64) karch=riscv cross=riscv64-linux-gnu- image=arch/riscv/boot/Image ;;
	s390x) karch=s390 cross=s390x-linux-gnu- image=arch/s390/boot/bzImage ;;
	*) return 1 ;;
	esac
}

flavour() { # NAME: sets tree, src, out, fragments, debian, and what architecture() sets
	local part configs=$top/lab/kernel/configs
	debian= karch= cross=${CROSS_COMPILE:-} image=arch/x86/boot/bzImage
	tree=${1%%-*}
	src=$BUILD/$tree/src
	out=$BUILD/$tree/${1#"$tree"}
	out=${out/\/-/\/}
	[ "$1" != "$tree" ] || out=$BUILD/$tree/guest
	fragments=()
	case $tree in
	base | patched | each) ;; # each: the commits one by one
	*) die "FLAVOUR=$1: a flavour begins with base or patched, as in base, patched-lock_stat" ;;
	esac
	for part in $(tr - ' ' <<<"${1#"$tree"}"); do
		[ -f "$configs/$part.config" ] ||
			die "FLAVOUR=$1: there is no lab/kernel/configs/$part.config"
		if [ "$part" = debian ]; then
			debian=$BUILD/source/debian.config
			fragments+=("$out/debian.kept") # of it, by lab/kernel/kconfig
		fi
		fragments+=("$configs/$part.config")
		architecture "$part" || continue # most fragments are none
	done
	case $1- in
	*-debian-*) ;;
	*-lock_stat-* | *-jump_label-*) fragments=("$configs/small.config" "${fragments[@]}") ;;
	esac
	[ -n "$karch" ] || fragments=("$configs/x86.config" "${fragments[@]}")
	fragments=("$configs/guest.config" "${fragments[@]}")
	[ -f "$src/Makefile" ] || die "there is no kernel tree in $src: run make tree"
}

# kmake ARGUMENT...: the kernel's make for the flavour's output folder. Names,
# dates and counts that a build bakes in are fixed: the same source gives the same bytes.
# It finds the source by a relative path, as it does that of a build within the source, so
# that a checkout which is moved is not built anew.
kmake() {
	make -C "$src" O="$out" srcroot=../src ${karch:+ARCH=$karch CROSS_COMPILE=$cross} \
		CC="ccache ${cross}gcc" HOSTCC="ccache gcc" LOCALVERSION= \
		KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' \
		KBUILD_BUILD_VERSION=1 KBUILD_BUILD_USER=storm KBUILD_BUILD_HOST=guest "$@"
}
# the compiler's own list of headers tells what a result depends on, so that a miss is not
# preprocessed besides: a fifth less work on a cold cache. The compiler also gets the paths as
# the kernel gives them, so that what it makes of __FILE__ is what it is without ccache
export CCACHE_DEPEND=1
export CCACHE_DIR=${CCACHE_DIR:-$BUILD/ccache} CCACHE_BASEDIR=$BUILD
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-8G} CCACHE_NOHASHDIR=1
