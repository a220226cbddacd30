# SPDX-License-Identifier: GPL-2.0
"""lab/kernel/kconfig and what it is made from; the kernel's make."""

import lzma
import os
import subprocess
from unittest import mock

from sandbox import TOP, Sandbox

from steps import distribution      # noqa: E402


class Configuration(Sandbox):
    """lab/kernel/kconfig and kernel with a source whose make does little: what a
    configuration is made of, and what is told of it."""
    LITTLE = {
        "Makefile": """tinyconfig:
	echo '# tiny' >$(O)/.config
olddefconfig:
	[ ! -f $(CURDIR)/lose ] || sed -i "/^$$(cat $(CURDIR)/lose)=/d" $(O)/.config
bzImage:
	@echo version=$(KBUILD_BUILD_VERSION)
	@cd $(O) && realpath --relative-to=. $(srcroot) && echo $(srcroot)
""",
        # -m -O OUT FILE...: the last line of a symbol counts
        "scripts/kconfig/merge_config.sh": """#!/bin/sh
shift 3
awk '/^CONFIG_/ { split($0, part, "="); line[part[1]] = $0 }
	/^# CONFIG_.* is not set/ { line[$2] = $0 }
	END { for (one in line) print line[one] }' "$@" >.config.new && mv .config.new .config
"""}
    KEPT = [symbol for line in (TOP / "lab/kernel/configs/debian.keep").read_text().splitlines()
            if not line.startswith("#") for symbol in line.split()]

    def setUp(self):
        super().setUp()
        self.src = self.build / "base/src"
        for name, text in self.LITTLE.items():
            self.write(self.src / name, text, 0o755)
        for argv in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b",
                                      "commit", "-q", "--allow-empty", "-m", "x"]):
            subprocess.run(["git", "-C", self.src, *argv], check=True)
        pin = self.write("pin", "linux-source-7.3 7.3.4-1 0\n")
        self.env = {"SOURCE_PIN": str(pin), "LINUX_CONFIG_DEB": ""}

    def config_deb(self, lines, package="linux-config-7.3", version="7.3.4-1"):
        """Debian's linux-config package with these lines; kconfig is to take it."""
        self.env["LINUX_CONFIG_DEB"] = str(self.package(
            package, version, f"{package}/config.amd64_none_amd64.xz",
            lzma.compress("".join(f"{line}\n" for line in lines).encode())))

    def kept(self, *without):
        return [f"CONFIG_{one}=debian" for one in self.KEPT if one not in without]

    def config(self):
        return (self.build / "base/debian/.config").read_text().splitlines()

    def test_debian_s_configuration_without_modules(self):
        self.config_deb([*self.kept(), "CONFIG_A_DRIVER=m", "CONFIG_EXT4_FS=m", "CONFIG_OTHER=y"])
        self.good("kernel/kconfig", "base-debian", **self.env)
        config = self.config()
        # guest.config says 512; and a root file system the guest needs
        for line in ("CONFIG_NR_CPUS=debian", "CONFIG_A_DRIVER=n", "CONFIG_EXT4_FS=y", "CONFIG_OTHER=y"):
            self.assertIn(line, config)
        self.assertFalse([line for line in config if line.endswith("=m")])
        # a fragment has the last word, and what is there needs no package
        self.env["LINUX_CONFIG_DEB"] = ""
        self.good("kernel/kconfig", "base-debian-kunit", **self.env)
        self.assertIn("CONFIG_KUNIT=y", (self.build / "base/debian-kunit/.config").read_text())
        # another configuration is not taken for the one that was there
        self.config_deb([*self.kept(), "CONFIG_NEWER=y"])
        self.good("kernel/kconfig", "base-debian", **self.env)
        self.assertIn("CONFIG_NEWER=y", self.config())

    def test_what_is_measured_goes_without_sockets(self):
        self.config_deb([*self.kept(), "CONFIG_NET=y"])
        for flavour, line in (("guest", "CONFIG_NET=y"), ("lock_stat", "# CONFIG_NET is not set"),
                              ("jump_label-net", "CONFIG_NET=y"), ("debian-lock_stat", "CONFIG_NET=y")):
            self.good("kernel/kconfig", f"base-{flavour}".removesuffix("-guest"), **self.env)
            self.assertIn(line, (self.build / f"base/{flavour}/.config").read_text().splitlines(), flavour)

    def test_what_must_stay_as_debian_has_it_is_told_when_lost(self):
        self.config_deb(self.kept())
        (self.src / "lose").write_text("CONFIG_RSEQ")
        said = self.refused("lacks symbols", "kernel/kconfig", "base-debian", **self.env)
        self.assertIn('asked for "CONFIG_RSEQ=debian"', said)
        self.config_deb(self.kept("LRU_GEN"))
        self.refused("debian.keep names LRU_GEN", "kernel/kconfig", "base-debian", **self.env)

    def test_packages_that_are_not_debian_s_configuration_are_refused(self):
        self.refused("does not exist", "kernel/debian-config", **{**self.env, "LINUX_CONFIG_DEB": "/none"})
        self.config_deb(self.kept(), "linux-config-6.12")
        self.refused("needs linux-config-7.3", "kernel/debian-config", **self.env)
        self.config_deb(self.kept(), version="7.3.5-1")
        self.assertIn("not of the kernel", self.good("kernel/debian-config", **self.env))
        self.write("linux-config-7.3.deb", "cut")
        self.refused("truncated", "kernel/debian-config", **self.env)

    def test_without_a_mirror_it_says_what_to_give(self):
        self.program("apt-get", "true")
        path = f"{self.room}:{os.environ['PATH']}"
        self.refused("give LINUX_CONFIG_DEB=", "kernel/debian-config", **self.env, PATH=path)

    def test_a_kernel_tells_neither_how_often_nor_where_it_was_built(self):
        self.good("kernel/kernel", "base")
        said = (self.build / "log/kernel-base.log").read_text().splitlines()
        self.assertIn("version=1", said)
        self.assertEqual(said.count("../src"), 2, "the source's path, relative, and as it is used")

    def test_what_is_configured_and_not_in_use_is_a_failure(self):
        said = ["Y", "lockdown,capability,landlock,yama,apparmor,bpf,ima,evm", "0x0007", "1", "28",
                "cpuset cpu memory", "Mitigation: usercopy/swapgs barriers"]
        off = ["N", "capability,landlock,yama,apparmor,ima", "0x0000", "0", "20", "cpuset cpu", "Vulnerable"]

        def results(lines):
            for number, line in enumerate(lines):
                (self.room / f"active.{number}").write_text(f"{line}\n")
            with mock.patch.object(distribution.tap, "result") as result:
                distribution.active(self.room)
            return [bool(call.args[0]) for call in result.call_args_list]
        self.assertEqual(results(said), [True] * len(distribution.ACTIVE))
        self.assertEqual(results(off), [False] * len(distribution.ACTIVE))
        self.assertFalse(any(results([""] * len(distribution.ACTIVE))), "a file that is not there")
