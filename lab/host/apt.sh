# SPDX-License-Identifier: GPL-2.0
# Sourced after common.sh: packages of Debian suites that this machine does not
# use, from the mirror that its apt uses, with sources, lists and cache of our
# own: nothing in /etc or /var changes. Where foreign= names an architecture, they
# are its packages.
apt_dir=$BUILD/apt${foreign:+/$foreign}

# private_apt COMMAND...
private_apt() {
	local tool=$1
	shift
	"$tool" -q -o Dir::Etc::SourceList="$apt_dir/sources.list" \
		-o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$apt_dir/lists" \
		-o Dir::Cache="$apt_dir/cache" \
		${foreign:+-o APT::Architecture="$foreign" -o APT::Architectures="$foreign"} \
		-o APT::Sandbox::User=root "$@"
}

# debian_mirrors: where this machine's apt gets Debian's main archive from. The
# origin is known only once lists were fetched; the keyring tells it before.
debian_mirrors() {
	apt-get indextargets --format '$(SITE) $(ORIGIN)/$(LABEL)' 'Created-By: Packages' 2>/dev/null |
		sed -n 's#/\{0,1\} Debian/Debian$##p; s#\(.*/debian\)/\{0,1\} .*#\1#p' | sort -u
}

# sources_list SUITE...: where private_apt looks from now on, with sources= set for
# source packages, too; fails without a mirror
sources_list() {
	local site suite type mirrors
	need apt-get apt
	mirrors=$(debian_mirrors) || mirrors=
	[ -n "$mirrors" ] || return 1
	mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
	for site in $mirrors; do
		for suite; do
			for type in deb ${sources:+deb-src}; do
				say "$type $site $suite main"
			done
		done
	done >"$apt_dir/sources.list"
	# what an earlier run found may be wrong by now
	rm -f "$apt_dir"/lists/*_Packages* "$apt_dir"/lists/*_Sources* "$apt_dir"/lists/*Release
}

# private_lists SUITE...: read the lists of these suites
private_lists() {
	sources_list "$@" || return
	# a suite that a mirror lacks is an error of update, not of ours
	private_apt apt-get update >"$BUILD/log/apt.log" 2>&1 ||
		say "note: not every suite could be read ($BUILD/log/apt.log)"
}

# code_names SUITE...: of those that the mirror has; reads their Release files only
code_names() {
	sources= sources_list "$@" || return
	private_apt apt-get -o Acquire::IndexTargets::deb::Packages::DefaultEnabled=false \
		-o Acquire::Languages=none update >"$BUILD/log/apt.log" 2>&1 || :
	cat "$apt_dir"/lists/*Release 2>/dev/null | sed -n 's/^Codename: *//p' | sort -u
}

# all_lists: read the lists of every suite, with the backports that there are. By their
# code names: a mirror's stable-backports may be older than its backports of stable
all_lists() {
	local names
	names=$(code_names oldstable stable testing) || return
	# shellcheck disable=SC2046,SC2086 # names of suites, which are words
	private_lists experimental unstable $names $(code_names ${names//$'\n'/-backports }-backports)
}

# versions PACKAGE: that the lists have, newest first
versions() { private_apt apt-cache madison "$1" 2>/dev/null | awk '{ print $3 }' | sort -ruV || :; }

# download PACKAGE VERSION: into $deb, which is gone when this script ends: a bad one must
# not be there the next time, a good one need not
download() {
	say "downloading $1 $2"
	(cd "$apt_dir" && private_apt apt-get download "$1=$2" >>"$BUILD/log/apt.log" 2>&1) ||
		die "the download of $1 $2 failed ($(grep -m1 '^E:' "$BUILD/log/apt.log")): run the same command again, it resumes"
	deb=$(find "$apt_dir" -maxdepth 1 -name "$1_${2//:/%3a}_*.deb")
	# shellcheck disable=SC2064 # of this one, not of the next
	trap "rm -f '$deb'" EXIT
}
