# SPDX-License-Identifier: GPL-2.0
"""lab/kernel/fetch: what it takes, what it refuses, and with which words."""

import hashlib
import subprocess

from sandbox import Sandbox


class Fetch(Sandbox):
    def test_tree_is_taken(self):
        self.assertIn("Linux 7.3.0-rc7", self.good("kernel/fetch", LINUX_SRC=str(self.source())))
        self.assertTrue((self.build / "source/linux.tar").exists())

    def test_git_checkout_is_taken_at_its_head(self):
        tree = self.source()
        git = ["git", "-C", tree, "-c", "user.name=a", "-c", "user.email=a@b"]
        for argv in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
            subprocess.run([*git, *argv], check=True)
        (tree / "mm/a.c").write_text("not committed\n")
        self.assertIn("left out", self.good("kernel/fetch", LINUX_SRC=str(tree)))
        self.good("kernel/series.py", "import")
        self.assertIn("line 30", (self.build / "base/src/mm/a.c").read_text())

    def test_tarball_is_taken(self):
        self.good("kernel/fetch", LINUX_TARBALL=str(self.tarball(self.source())))

    def test_pinned_package_is_taken(self):
        deb = self.deb(self.tarball(self.source()))
        self.good("kernel/fetch", LINUX_DEB=str(deb), SOURCE_PIN=self.pin(deb))

    def test_another_7_3_is_taken_with_a_note(self):
        deb = self.deb(self.tarball(self.source()), version="7.3.2-1")
        self.assertIn("not the version", self.good("kernel/fetch", LINUX_DEB=str(deb)))

    def test_second_time_does_nothing(self):
        tarball = str(self.tarball(self.source()))
        self.good("kernel/fetch", LINUX_TARBALL=tarball)
        self.assertEqual(self.good("kernel/fetch", LINUX_TARBALL=tarball), "")
        self.assertEqual(self.good("kernel/fetch"), "", "what is there is enough")

    def test_wrong_checksum_is_refused(self):
        deb = self.deb(self.tarball(self.source()))
        pin = self.pin(deb)
        deb.write_bytes(deb.read_bytes() + b"\n")
        self.refused("wrong checksum", "kernel/fetch", LINUX_DEB=str(deb), SOURCE_PIN=pin)
        self.assertFalse((self.build / "source/id").exists())

    def test_wrong_version_is_refused_by_name(self):
        old = self.source("6.12")
        self.refused("is Linux 6.12", "kernel/fetch", LINUX_SRC=str(old))
        self.refused("is Linux 6.12", "kernel/fetch", LINUX_TARBALL=str(self.tarball(old)))
        deb = self.deb(self.tarball(old), package="linux-source-6.12")
        self.refused("linux-source-6.12", "kernel/fetch", LINUX_DEB=str(deb))

    def test_truncated_package_is_refused(self):
        deb = self.deb(self.tarball(self.source()))
        deb.write_bytes(deb.read_bytes()[:-600])
        self.refused("damaged", "kernel/fetch", LINUX_DEB=str(deb), SOURCE_PIN=self.pin(deb))
        deb.write_bytes(b"!<arch>\n")
        self.refused("truncated", "kernel/fetch", LINUX_DEB=str(deb))
        self.assertFalse((self.build / "source/id").exists())

    def test_truncated_tarball_is_refused(self):
        tarball = self.tarball(self.source())
        tarball.write_bytes(tarball.read_bytes()[:-200])
        self.refused("damaged", "kernel/fetch", LINUX_TARBALL=str(tarball))

    def test_no_source_at_all_is_refused(self):
        self.refused("not a folder", "kernel/fetch", LINUX_SRC=str(self.room / "none"))
        self.refused("no Makefile", "kernel/fetch", LINUX_SRC=str(self.room))
        self.refused("does not exist", "kernel/fetch", LINUX_DEB=str(self.room / "none.deb"))
        self.refused("exclude each other", "kernel/fetch", LINUX_DEB="a", LINUX_SRC="b")

    def test_what_an_interrupted_fetch_left_is_not_taken(self):
        (self.build / "source").mkdir(parents=True)
        (self.build / "source/linux.tar.new").write_text("half")
        (self.build / "source/linux.tar").write_text("half") # and no id to vouch for it
        self.good("kernel/fetch", LINUX_SRC=str(self.source()))
        self.good("kernel/series.py", "import")
        self.assertTrue((self.build / "base/src/mm/a.c").exists())

    def test_a_failed_fetch_keeps_what_was_there(self):
        self.good("kernel/fetch", LINUX_SRC=str(self.source()))
        before = (self.build / "source/id").read_text()
        self.refused("6.12", "kernel/fetch", LINUX_SRC=str(self.source("6.12")))
        self.assertEqual((self.build / "source/id").read_text(), before)

    def pin(self, deb):
        path = self.room / "pin"
        checksum = hashlib.sha256(deb.read_bytes()).hexdigest()
        path.write_text(f"linux-source-7.3 7.3~rc7-1~exp1 {checksum}\n")
        return str(path)
