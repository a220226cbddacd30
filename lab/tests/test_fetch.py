# SPDX-License-Identifier: GPL-2.0
"""lab/kernel/fetch: what it takes, what it refuses, and with which words."""

import hashlib
import subprocess

from mirror import Mirror
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


class FromTheMirror(Mirror):
    def test_backports_are_found_by_their_code_name(self):
        """The alias has another state of them than the suite itself."""
        self.pin("7.3.4-1~bpo13+1", self.offer("trixie-backports", "7.3.4-1~bpo13+1"))
        self.offer("stable-backports", "7.3~rc7-1")
        self.offer("experimental", "7.3~rc7-1")
        said = self.good("kernel/fetch")
        self.assertIn("downloading linux-source-7.3 7.3.4-1~bpo13+1", said)
        self.assertNotIn("note:", said)
        self.assertIn("7.3.4-1~bpo13+1", (self.build / "source/id").read_text())
        self.assertIn("DefaultEnabled=false", (self.mirror / "updates").read_text().splitlines()[0],
                      "code names need no lists of packages")

    def test_backports_that_are_not_there_yet_are_no_note(self):
        self.pin("7.3.4-1", self.offer("unstable", "7.3.4-1"))
        self.good("kernel/fetch")
        listed = (self.build / "apt/sources.list").read_text()
        self.assertIn(" trixie-backports main", listed)
        self.assertNotIn("forky-backports", listed)

    def test_the_pinned_one_is_taken_and_a_newer_one_named(self):
        self.pin("7.3.4-1", self.offer("forky", "7.3.4-1"))
        self.offer("unstable", "7.3.10-1")
        said = self.good("kernel/fetch")
        self.assertIn("note: 7.3.10-1 is newer than 7.3.4-1", said)
        self.assertIn("7.3.4-1)", (self.build / "source/id").read_text())

    def test_the_newest_is_taken_where_the_pinned_one_is_gone(self):
        self.pin("7.3.4-1")
        for suite, version in (("forky", "7.3.5-1"), ("unstable", "7.3.10-1"), ("experimental", "7.30.1-1")):
            self.offer(suite, version)
        said = self.good("kernel/fetch")
        self.assertIn("7.3.10-1 is not the version that the series was tested on (7.3.4-1)", said)

    def test_the_next_kernel_is_taken_only_where_it_is_asked_for(self):
        deb = str(self.offer("experimental", "7.4.1-1", "linux-source-7.4", self.source("7.4")))
        self.pin("7.3.4-1")
        self.refused("the series is for linux-source-7.3", "kernel/fetch", LINUX_DEB=deb)
        self.good("kernel/fetch", LINUX_DEB=deb, LINUX_SERIES="7.4")

    def test_the_pinned_tar_is_had_whatever_the_source_is(self):
        self.pin("7.3.4-1")
        self.good("kernel/fetch", LINUX_SRC=str(self.source()))
        before = (self.build / "source/id").read_text()
        tar = self.room / "tar"
        self.refused("put it there as", "kernel/fetch", "--pinned", str(tar))
        self.pin("7.3.4-1", self.offer("unstable", "7.3.4-1"))
        self.good("kernel/fetch", "--pinned", str(tar))
        self.assertIn("linux-7.3/mm/a.c", subprocess.run(["tar", "-tf", tar], text=True, check=True,
                                                         stdout=subprocess.PIPE).stdout)
        self.assertEqual((self.build / "source/id").read_text(), before)
        # it is kept, and verified again
        self.suite("unstable", "sid")
        self.good("kernel/fetch", "--pinned", str(tar))
        self.pin("7.3.4-1")
        self.refused("wrong checksum", "kernel/fetch", "--pinned", str(tar))


class OtherSources(Mirror):
    def test_each_other_release_is_had_and_the_next_kernel(self):
        self.pin("7.3.4-1~bpo13+1")
        for suite, version in (("trixie-backports", "7.3.4-1~bpo13+1"), ("unstable", "7.3.4-1"),
                               ("unstable", "7.3.10-2"), ("forky", "7.3.10-1"), ("experimental", "7.3~rc7-1")):
            self.offer(suite, version)
        self.offer("unstable", "7.4~rc2-1", "linux-source-7.4")
        self.offer("experimental", "7.4~rc3-1", "linux-source-7.4")
        self.offer("trixie-backports", "7.3.4-1~bpo13+1", "linux", name="linux_7.3.4.orig.tar.xz")
        deb = f"LINUX_DEB={self.build}/others/linux-source-{{0}}_{{1}}_all.deb LINUX_SERIES={{0}}"
        self.assertEqual(self.good("kernel/other-sources").splitlines(), [
            "7.3.10-2 " + deb.format("7.3", "7.3.10-2"),
            "older 7.3-rc7-1 " + deb.format("7.3", "7.3~rc7-1"),
            "7.4-rc3-1 " + deb.format("7.4", "7.4~rc3-1"),
            f"mainline LINUX_TARBALL={self.build}/others/linux_7.3.4.orig.tar.xz"])

    def test_what_cannot_be_had_is_said_with_the_reason(self):
        self.pin("7.3.4-1")
        self.offer("experimental", "7.2.1-1", "linux")
        self.offer("experimental", "7.3~rc7-1").unlink()
        self.assertEqual(self.good("kernel/other-sources").splitlines(), [
            "skip 7.3-rc7-1 Failed to fetch linux-source-7.3=7.3~rc7-1  404",
            "skip 7.4 no suite has linux-source-7.4",
            "skip mainline Failed to fetch linux=7.3.4-1  404"])

    def test_no_mirror_is_said(self):
        self.pin("7.3.4-1")
        self.refused("no mirror says what there is", "kernel/other-sources")
