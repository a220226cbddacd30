# SPDX-License-Identifier: GPL-2.0
"""A Debian mirror in a folder, for the tests of what is fetched from one."""

import hashlib
import os

from sandbox import Sandbox

# What of apt the tools use: update copies Release files, madison lists what the suites have
# that were updated last, download and source copy from the pool.
APT = r"""#!/bin/bash
for word; do case $word in Dir::Etc::SourceList=*) list=${word#*=} ;; esac; done
here=$(dirname "$list")
suites() { sed -n 's/^deb [^ ]* \([^ ]*\) main$/\1/p' "$list"; }
case " $* " in
*" indextargets "*) echo http://mirror/debian Debian/Debian ;;
*" update "*)
	echo "$*" >>MIRROR/updates
	for suite in $(suites); do
		[ ! -f "MIRROR/$suite" ] || grep ^Codename "MIRROR/$suite" >"$here/lists/${suite}_InRelease"
	done ;;
*" madison "*)
	for suite in $(suites); do
		[ ! -f "MIRROR/$suite" ] || sed -n "s/^${!#} / ${!#} | /p" "MIRROR/$suite"
	done ;;
*" download "* | *" source "*)
	cp "MIRROR/pool/${!#}" . 2>/dev/null || { echo "E: Failed to fetch http://mirror/${!#}  404"; exit 1; }
	mv "${!#}" "$(cat "MIRROR/pool/${!#}.name")" ;;
esac
"""


class Mirror(Sandbox):
    """self.good() and self.refused() with a mirror whose suites are empty."""

    def setUp(self):
        super().setUp()
        self.mirror = self.room / "mirror"
        (self.mirror / "pool").mkdir(parents=True)
        for name in ("apt-get", "apt-cache"):
            self.program(f"bin/{name}", APT.replace("MIRROR", str(self.mirror)))
        for name in ("unstable", "trixie", "forky", "trixie-backports", "experimental"):
            self.suite(name, name)
        for alias, name in (("stable", "trixie"), ("testing", "forky"), ("stable-backports", "trixie-backports")):
            self.suite(alias, name)

    def start(self, *argv, **env):
        return super().start(*argv, **{"PATH": f"{self.room / 'bin'}:{os.environ['PATH']}",
                                       "SOURCE_PIN": str(self.room / "pin"), **env})

    def suite(self, name, code_name):
        (self.mirror / name).write_text(f"Codename: {code_name}\n")

    def offer(self, suite, version, package="linux-source-7.3", tree=None, name="{}_{}_all.deb"):
        """A suite has a package, whose file is returned."""
        with open(self.mirror / suite, "a") as file:
            file.write(f"{package} {version}\n")
        path = self.mirror / "pool" / f"{package}={version}"
        made = self.deb(self.tarball(tree or self.source()), version, package)
        made.rename(path)
        path.with_name(f"{path.name}.name").write_text(name.format(package, version))
        return path

    def pin(self, version, deb=None, package="linux-source-7.3"):
        checksum = hashlib.sha256(deb.read_bytes()).hexdigest() if deb else "0" * 64
        (self.room / "pin").write_text(f"# a pin\n{package} {version} {checksum}\n")
