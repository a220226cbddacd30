# SPDX-License-Identifier: GPL-2.0
# Sourced after common.sh: what the disks of all guests have, below the folder $root.
need mke2fs e2fsprogs

# begin_disk: folders, and busybox's applets behind the real programs in PATH; those of this
# host's busybox, whichever the guest has
begin_disk() {
	local name
	rm -rf "$root"
	mkdir -p "$root"/{dev,proc,sys,tmp,run,root,etc,mnt,usr/{bin,sbin,lib,lib64,lib/busybox}}
	for name in bin sbin lib lib64; do ln -s "usr/$name" "$root/$name"; done
	while read -r name; do
		ln -s ../../bin/busybox "$root/usr/lib/busybox/$name"
	done < <(busybox --list | grep -vx busybox)
}

# end_disk FILE SIZE: what guests begin with, all of it as a file system in a file
end_disk() {
	cp "$top/lab/guest/init" "$root/init"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	rm -f "$1.new"
	mke2fs -q -t ext4 -d "$root" -E root_owner=0:0,lazy_itable_init=0 -O ^has_journal \
		-L root -m 0 "$1.new" "$2"
	rm -rf "$root"
	mv "$1.new" "$1"
}
