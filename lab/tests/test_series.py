# SPDX-License-Identifier: GPL-2.0
"""lab/kernel/series.py: the queue and the tree, there and back."""

import json
import os
import re
import shutil
import subprocess

from sandbox import Sandbox, lines

PATCH = """From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: Some One <some@one.invalid>
Date: Fri, 20 Nov 2026 12:00:00 +0000
Subject: [PATCH] {subject}

Because it is needed.

---
{diff}"""

EDIT_A = """diff --git a/mm/a.c b/mm/a.c
--- a/mm/a.c
+++ b/mm/a.c
@@ -9,5 +9,5 @@ line 8
 line 9
 line 10
-line 11
+line eleven
 line 12
 line 13
"""
ADD_LINE = """diff --git a/mm/new.c b/mm/new.c
--- a/mm/new.c
+++ b/mm/new.c
@@ -2,2 +2,3 @@
 line 2
 line 3
+line four
"""
# as the kernel's, for a tree in which everything has a maintainer and mm/a.c one more
GET_MAINTAINER = r"""
die "guesses from the history" unless grep(/^--nogit$/, @ARGV) and grep(/^--nogit-fallback$/, @ARGV);
open(my $patch, "<", $ARGV[-1]) or die;
my $text = join("", <$patch>);
print "Mm Keeper <mm\@keeper.invalid> (maintainer:MEMORY (AND MORE))\n";
print "\"R. E. Viewer\" <re\@viewer.invalid> (reviewer:MEMORY (AND MORE))\n" if $text =~ m{b/mm/new};
print "Sören A <a\@keeper.invalid> (maintainer:A)\n" if $text =~ m{b/mm/a};
print "linux-mm\@list.invalid (open list:MEMORY (AND MORE))\n";
"""


class Series(Sandbox):
    def setUp(self):
        super().setUp()
        self.good("kernel/fetch", LINUX_SRC=str(self.source(
            **{"scripts/get_maintainer.pl": GET_MAINTAINER})))
        self.tree = self.build / "patched/src"
        self.write("letters/1-first.txt", "mm: a series\n\nWhy.\n\n@FIGURES@\n\n@TESTED@\n")
        self.write("series", "# the order\n0001-edit.patch\n0002-new.patch mm/new.c\n0003-more.patch\n")
        self.write("patches/0001-edit.patch", PATCH.format(subject="mm: edit a", diff=EDIT_A))
        self.write("patches/0002-new.patch", PATCH.format(subject="mm: add new", diff=""))
        self.write("patches/0003-more.patch", PATCH.format(subject="mm: more of new", diff=ADD_LINE))
        self.write("mm/new.c", lines(1, 2, 3, "four"))

    def write(self, name, text):
        path = self.queue / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def git(self, *argv):
        return subprocess.run(["git", "-C", self.tree, "-c", "user.name=Hand", "-c",
                               "user.email=hand@work.invalid", *argv], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def snapshot(self):
        return {str(p.relative_to(self.queue)): (p.read_text(), p.stat().st_mode)
                for p in self.queue.rglob("*") if p.is_file()}

    def test_one_commit_per_entry(self):
        self.good("kernel/series.py", "tree")
        self.assertEqual(self.git("log", "--format=%s", "base.."),
                         "mm: more of new\nmm: add new\nmm: edit a\n")
        self.assertIn("line eleven", (self.tree / "mm/a.c").read_text())
        self.assertNotIn("eleven", (self.build / "base/src/mm/a.c").read_text())

    def test_new_file_is_at_each_commit_what_it_was_then(self):
        self.good("kernel/series.py", "tree")
        self.assertEqual(self.git("show", "HEAD~1:mm/new.c"), lines(1, 2, 3))
        self.assertEqual(self.git("show", "HEAD:mm/new.c"), lines(1, 2, 3, "four"))

    def test_same_queue_gives_same_hashes(self):
        self.good("kernel/series.py", "tree")
        first = self.git("rev-parse", "HEAD")
        subprocess.run(["rm", "-rf", self.build / "patched", self.build / "kernel.git",
                        self.build / "base"], check=True)
        self.good("kernel/series.py", "tree")
        self.assertEqual(self.git("rev-parse", "HEAD"), first)

    def test_only_changed_files_are_written(self):
        self.good("kernel/series.py", "tree")
        before = {p: p.stat().st_mtime_ns for p in self.tree.rglob("mm/*")}
        self.write("mm/new.c", lines("zero", 1, 2, 3, "four"))
        self.write("patches/0003-more.patch", PATCH.format(
            subject="mm: more of new", diff=ADD_LINE.replace("-2,2 +2,3", "-3,2 +3,3")))
        self.good("kernel/series.py", "tree")
        after = {p: p.stat().st_mtime_ns for p in self.tree.rglob("mm/*")}
        self.assertEqual([p.name for p in before if before[p] != after[p]], ["new.c"])

    def test_round_trip(self):
        self.good("kernel/series.py", "tree")
        head = self.git("rev-parse", "HEAD")
        self.good("kernel/series.py", "export")
        exported = self.snapshot()
        self.good("kernel/series.py", "tree")
        self.assertEqual(self.git("rev-parse", "HEAD"), head)
        self.good("kernel/series.py", "export")
        self.assertEqual(self.snapshot(), exported, "a second export changes nothing")
        self.assertTrue(exported["series"][0].startswith("# the order\n"))

    def test_export_takes_commits_in(self):
        self.good("kernel/series.py", "tree")
        (self.tree / "mm/tool.sh").write_text("#!/bin/sh\n")
        (self.tree / "mm/tool.sh").chmod(0o755)
        (self.tree / "mm/a.c").write_text(lines(*range(0, 31)))
        self.git("add", "-A")
        self.git("commit", "-qm", "mm: by hand\n\nA reason: umlaut \u00fc, a \"quote\".")
        tree = self.git("rev-parse", "HEAD^{tree}")
        self.good("kernel/series.py", "export")
        self.assertIn("0004-mm-by-hand.patch mm/tool.sh", (self.queue / "series").read_text())
        self.assertTrue((self.queue / "mm/tool.sh").stat().st_mode & 0o100)
        self.assertNotIn("tool.sh b/", (self.queue / "patches/0004-mm-by-hand.patch").read_text())
        self.good("kernel/series.py", "tree")
        self.assertEqual(self.git("rev-parse", "HEAD^{tree}"), tree)
        self.assertIn("umlaut \u00fc", self.git("log", "-1", "--format=%b"))

    def test_export_drops_what_the_tree_dropped(self):
        self.good("kernel/series.py", "tree")
        self.git("reset", "-q", "--hard", "HEAD~2")
        self.good("kernel/series.py", "export")
        self.assertFalse((self.queue / "mm/new.c").exists())
        self.assertEqual(len(list((self.queue / "patches").iterdir())), 1)
        self.good("kernel/series.py", "tree")

    def test_hand_commits_are_never_thrown_away(self):
        self.good("kernel/series.py", "tree")
        (self.tree / "mm/a.c").write_text("by hand\n")
        self.git("commit", "-qam", "mm: by hand")
        head = self.git("rev-parse", "HEAD")
        self.write("mm/new.c", lines(0, 1, 2, 3, "four"))
        self.write("patches/0003-more.patch", PATCH.format(
            subject="mm: more of new", diff=ADD_LINE.replace("-2,2 +2,3", "-3,2 +3,3")))
        self.refused("mm: by hand", "kernel/series.py", "tree")
        self.refused("edited since the last make tree", "kernel/series.py", "export")
        self.refused("mm: by hand", "host/clean", "--all")
        self.assertEqual(self.git("rev-parse", "HEAD"), head)

    def test_uncommitted_changes_are_never_thrown_away(self):
        self.good("kernel/series.py", "tree")
        (self.tree / "mm/extra.c").write_text("mine\n")
        self.write("patches/0001-edit.patch", PATCH.format(
            subject="mm: edit a", diff=EDIT_A.replace("eleven", "ELEVEN")))
        self.refused("uncommitted", "kernel/series.py", "tree")
        self.refused("uncommitted", "kernel/series.py", "export")
        self.assertTrue((self.tree / "mm/extra.c").exists())

    def test_new_files_are_seen_in_debians_source(self):
        ignore = "*.o\n# Debian packaging\n/*\n!/debian/\n"
        self.good("kernel/fetch", LINUX_SRC=str(self.source(**{".gitignore": ignore})))
        self.good("kernel/series.py", "tree")
        (self.tree / "mm/extra.c").write_text("mine\n")
        self.refused("mm/extra.c", "kernel/series.py", "export")

    def test_another_source_keeps_hand_work(self):
        self.good("kernel/series.py", "tree")
        (self.tree / "mm/a.c").write_text("by hand\n")
        self.git("commit", "-qam", "mm: by hand")
        self.good("kernel/fetch", LINUX_SRC=str(self.source(**{"mm/b.c": "b\n"})))
        self.refused("mm: by hand", "kernel/series.py", "tree")

    def test_patch_that_does_not_apply_names_itself_and_its_hunk(self):
        self.write("patches/0001-edit.patch", PATCH.format(
            subject="mm: edit a", diff=EDIT_A.replace("line 10", "line ten")))
        self.refused("patches/0001-edit.patch does not apply: patch failed: mm/a.c:9",
                     "kernel/series.py", "tree")
        self.assertFalse(self.tree.exists())

    def test_moved_lines_are_merged(self):
        moved = self.source(**{"mm/a.c": "new first line\n" * 5 + lines(*range(1, 31))})
        self.good("kernel/fetch", LINUX_SRC=str(moved))
        self.good("kernel/series.py", "tree")
        self.assertIn("line eleven", (self.tree / "mm/a.c").read_text())

    def test_changed_context_is_merged_three_ways(self):
        """The blob that the patch was made on is known from the earlier import."""
        self.good("kernel/series.py", "tree")
        self.good("kernel/series.py", "export") # patches with their index lines
        text = lines(*range(1, 31)).replace("line 9\n", "line nine\n")
        self.good("kernel/fetch", LINUX_SRC=str(self.source(**{"mm/a.c": text})))
        self.good("kernel/series.py", "tree")
        merged = (self.tree / "mm/a.c").read_text()
        self.assertIn("line eleven", merged)
        self.assertIn("line nine", merged)

    def test_overlay_that_lost_a_later_edit_names_the_patch(self):
        self.write("mm/new.c", lines(1, 2, 3))
        self.refused("0003-more.patch", "kernel/series.py", "tree")

    def test_queue_mistakes_are_named(self):
        good = (self.queue / "series").read_text()
        for text, words in ((good + "0009-none.patch\n", "0009-none.patch does not exist"),
                            (good + "0001-edit.patch\n", "listed twice"),
                            (good.replace("0003-more.patch\n", ""), "0003-more.patch is not listed"),
                            (good.replace("mm/new.c", "mm/none.c"), "mm/none.c does not exist")):
            self.write("series", text)
            self.refused(words, "kernel/series.py", "tree")

    def by_hand(self, message="mm: by hand", name="mm/a.c", text="by hand\n"):
        (self.tree / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD").strip()

    def test_export_off_its_branch_is_refused(self):
        self.good("kernel/series.py", "tree")
        for where in (["checkout", "-q", "--detach"], ["checkout", "-qb", "wip"]):
            self.git(*where)
            head = self.by_hand()
            self.refused("not on branch series", "kernel/series.py", "export")
            self.refused("not on branch series", "kernel/series.py", "tree")
            self.assertEqual(self.git("rev-parse", "HEAD").strip(), head)
            self.git("checkout", "-q", "series")

    def test_commits_outlive_their_work_tree(self):
        self.good("kernel/series.py", "tree")
        head = self.by_hand()
        shutil.rmtree(self.tree)
        self.refused("mm: by hand", "kernel/series.py", "tree")
        self.assertEqual(self.git("rev-parse", "HEAD").strip(), head)
        self.write("patches/0001-edit.patch", PATCH.format(
            subject="mm: edit a", diff=EDIT_A.replace("eleven", "ELEVEN")))
        self.refused("mm: by hand", "kernel/series.py", "tree")

    def test_other_branches_are_work_too(self):
        self.good("kernel/series.py", "tree")
        self.git("checkout", "-qb", "wip")
        self.by_hand("mm: on a side branch")
        self.git("checkout", "-q", "series")
        self.refused("mm: on a side branch", "host/clean", "--all")
        self.good("kernel/fetch", LINUX_SRC=str(self.source(**{"mm/b.c": "b\n"})))
        self.refused("mm: on a side branch", "kernel/series.py", "tree")

    def test_a_half_laid_out_tree_is_finished(self):
        self.good("kernel/series.py", "tree")
        subprocess.run(["git", "--git-dir", self.build / "kernel.git", "update-ref", "-d",
                        "refs/queue/built"], check=True)
        (self.tree / "mm/a.c").unlink()
        self.good("kernel/series.py", "tree")
        self.assertTrue((self.tree / "mm/a.c").exists())

    def test_what_a_patch_file_cannot_hold_is_refused_and_nothing_written(self):
        self.good("kernel/series.py", "tree")
        before = self.snapshot()
        for message in ("mm: one\n\nabove\n---\nbelow", "mm: two\n\ndiff --git a/x b/x\n",
                        "mm: three\n\nFrom: Someone Else <else@where.invalid>\n\nbody"):
            self.by_hand(message, text=message)
            self.refused("not survive", "kernel/series.py", "export")
            self.assertEqual(self.snapshot(), before)
            self.git("reset", "-q", "--hard", "HEAD~1")
        self.by_hand("[RFC] mm: tagged\n\n  indented\nbody")
        self.good("kernel/series.py", "export")
        self.assertIn("[RFC] mm: tagged", self.git("log", "-1", "--format=%s"))

    def test_notes_of_an_unchanged_patch_are_kept(self):
        self.good("kernel/series.py", "tree")
        self.good("kernel/series.py", "export")
        path = self.queue / "patches/0001-mm-edit-a.patch"
        path.write_text(path.read_text().replace("\n---\n", "\n---\nv2: mended.\n", 1))
        order = (self.queue / "series").read_text()
        self.write("series", order.replace("0001-mm-edit-a.patch", "0001-mm-edit-a.patch # first"))
        self.by_hand()
        self.good("kernel/series.py", "export")
        self.assertIn("v2: mended.", path.read_text())
        self.assertIn("0001-mm-edit-a.patch # first\n", (self.queue / "series").read_text())

    def test_a_draft_in_the_overlay_is_not_overwritten(self):
        self.good("kernel/series.py", "tree")
        self.write("mm/draft.c", "a draft\n")
        self.by_hand(name="mm/draft.c", text="something else\n")
        self.refused("is in the way", "kernel/series.py", "export")
        self.assertEqual((self.queue / "mm/draft.c").read_text(), "a draft\n")

    def test_an_interrupted_export_is_finished(self):
        self.good("kernel/series.py", "tree")
        self.good("kernel/series.py", "export")
        old = self.room / "old"
        shutil.copytree(self.queue, old)
        self.by_hand(name="mm/hand.c")
        self.good("kernel/series.py", "export")
        wanted = self.snapshot()
        # as if it had died in the middle: the new queue is ready, half of it in place
        ready = self.room / "ready"
        shutil.copytree(self.queue, ready)
        shutil.rmtree(self.queue)
        shutil.copytree(old, self.queue)
        shutil.copy(ready / "patches/0004-mm-by-hand.patch", self.queue / "patches")
        os.replace(ready, self.queue / ".export-ready")
        self.good("kernel/series.py", "tree")
        self.assertEqual(self.snapshot(), wanted)

    def test_export_check(self):
        self.good("kernel/series.py", "tree")
        self.refused("is not as make export writes it", "kernel/series.py", "export", "--check")
        self.good("kernel/series.py", "export")
        self.good("kernel/series.py", "export", "--check")

    def test_distclean_takes_only_what_is_ours(self):
        self.good("kernel/series.py", "tree")
        (self.build / "photos").mkdir()
        self.refused("photos", "host/clean", "--all")
        (self.build / "photos").rmdir()
        self.good("host/clean", "--all")
        self.assertFalse(self.build.exists())

    def test_interrupted_import_starts_again(self):
        self.good("kernel/series.py", "tree")
        subprocess.run(["git", "--git-dir", self.build / "kernel.git", "update-ref", "-d",
                        "refs/tags/base"], check=True)
        (self.build / "base/src/mm/a.c").unlink()
        self.good("kernel/series.py", "tree")
        self.assertTrue((self.build / "base/src/mm/a.c").exists())

    def test_mail(self):
        self.good("kernel/series.py", "tree")
        self.good("kernel/series.py", "mail", str(self.room / "mail"))
        out = self.room / "mail/1-first"
        cover = (out / "0000-cover-letter.patch").read_text()
        self.assertIn("Subject: [PATCH 0/3] mm: a series", cover)
        self.assertIn("Not measured", cover)
        self.assertIn("Not tested", cover)
        mails = sorted(out.glob("*.patch"))
        self.assertEqual(len(mails), 4)
        self.assertFalse(any("Signed-off-by" in m.read_text() for m in mails))
        results = self.room / "results"
        results.mkdir()
        (results / "cover.txt").write_text("exec_rate 1 2\n")
        measured = results / "measured.json"
        for series, tree, words in (
                (self.git("rev-parse", "HEAD").strip(), self.git("rev-parse", "HEAD^{tree}").strip(),
                 ("exec_rate 1 2", "  does it work\n      2 passed")),
                ("0" * 40, "0" * 40, ("another state of", "Not tested"))):
            self.write("lab/tests/evidence.txt", f"{tree}\ndoes it work\n    2 passed\n\none: 2 pass\n")
            measured.write_text(json.dumps({"series": series, "date": "today"}))
            self.good("kernel/series.py", "mail", str(out.parent), "--figures", str(results), "--version", "2",
                      "--signoff", "A Person <a@person.invalid>")
            letter = (out / "0000-cover-letter.patch").read_text()
            for one in words:
                self.assertIn(one, letter)
            self.assertNotIn("one: 2 pass", letter)
        self.assertIn("[PATCH v2 1/3]", (out / "0001-mm-edit-a.patch").read_text())
        for mail in sorted(out.glob("*.patch"))[1:]:
            self.assertIn("Signed-off-by: A Person <a@person.invalid>", mail.read_text())
            self.assertIn("From: A Person <a@person.invalid>", mail.read_text())
        (out / "thesis.txt").write_text("mine")
        self.refused("thesis.txt", "kernel/series.py", "mail", str(out.parent))
        (out / "thesis.txt").unlink()
        self.refused("Name <address>", "kernel/series.py", "mail", str(out.parent), "--signoff", "nobody")

    def recipients(self, mail):
        """{field: addresses} of a mail's header, which git must still understand."""
        head = mail.read_text().partition("\n\n")[0]
        return {name: [one.strip() for one in text.split(",\n")]
                for name, text in re.findall(r"^(To|Cc): (.*(?:\n .*)*)", head, re.M)}

    def test_mail_goes_to_whom_get_maintainer_names(self):
        self.good("kernel/series.py", "tree")
        self.good("kernel/series.py", "mail", str(self.room / "mail"))
        cover, edit, new, more = sorted((self.room / "mail/1-first").glob("*.patch"))
        soeren = "=?utf-8?q?S=C3=B6ren_A?= <a@keeper.invalid>"
        keeper, many = "Mm Keeper <mm@keeper.invalid>", '"R. E. Viewer" <re@viewer.invalid>'
        # two of three patches: the third as well
        self.assertEqual(self.recipients(cover), {
            "To": [keeper], "Cc": ["linux-mm@list.invalid", many, soeren]})
        self.assertEqual(self.recipients(edit), self.recipients(cover))
        for mail in (new, more):
            self.assertEqual(self.recipients(mail), {
                "To": [keeper], "Cc": ["linux-mm@list.invalid", many]})
        self.git("checkout", "-q", "--detach", "base")
        self.git("am", "-q", edit, new, more)
        self.assertEqual(self.git("rev-parse", "HEAD^{tree}"), self.git("rev-parse", "series^{tree}"))

    def test_mail_without_recipients_is_refused(self):
        self.good("kernel/series.py", "tree")
        script = self.tree / "scripts/get_maintainer.pl"
        for text, words in (("", "finds nobody"), ('print "what is this\\n";', "what is this")):
            script.write_text(text)
            self.refused(words, "kernel/series.py", "mail", str(self.room / "mail"))
        script.unlink()
        self.refused("get_maintainer.pl is missing", "kernel/series.py", "mail", str(self.room / "mail"))
        self.assertFalse((self.room / "mail").exists())

    def test_mail_ends_with_what_is_rfc(self):
        self.write("rfc/series", "0001-rfc.patch\n")
        self.write("rfc/patches/0001-rfc.patch", PATCH.format(
            subject="RFC: mm: still more", diff=ADD_LINE.replace("2,2", "3,2").replace(
                "2,3", "3,3").replace(" line 3\n", " line four\n").replace(
                " line 2\n", " line 3\n").replace("+line four", "+line five")))
        self.good("kernel/series.py", "tree")
        self.assertNotIn("five", (self.tree / "mm/new.c").read_text())
        self.good("kernel/series.py", "mail", str(self.room / "mail"))
        mails = sorted((self.room / "mail/1-first").glob("*.patch"))
        self.assertIn("[PATCH 4/4] RFC: mm: still more", mails[-1].read_text())
        self.write("patches/0003-more.patch", PATCH.format(
            subject="mm: more of new", diff=ADD_LINE.replace("line four", "line for")))
        self.write("mm/new.c", lines(1, 2, 3, "for"))
        self.good("kernel/series.py", "tree")
        self.refused("0001-rfc.patch does not apply", "kernel/series.py", "mail", str(self.room / "mail"))

    def test_mail_of_two_series(self):
        self.good("kernel/series.py", "tree")
        out = self.room / "mail"
        letter = "mm: more\nBegins with: {}\n\nWhy more.\n\n@FIGURES@\n@TESTED@\n"
        for wrong in ("mm: nothing", ""):
            self.write("letters/2-more.txt", letter.format(wrong))
            self.refused("a commit has that subject", "kernel/series.py", "mail", str(out))
        self.write("letters/2-more.txt", letter.format("mm: add new"))
        self.good("kernel/series.py", "mail", str(out), "--signoff", "A Person <a@person.invalid>")
        self.assertEqual([str(p.relative_to(out)) for p in sorted(out.rglob("*.patch"))], [
            "1-first/0000-cover-letter.patch", "1-first/0001-mm-edit-a.patch",
            "2-more/0000-cover-letter.patch", "2-more/0001-mm-add-new.patch",
            "2-more/0002-mm-more-of-new.patch"])
        cover = (out / "2-more/0000-cover-letter.patch").read_text()
        self.assertIn("Subject: [PATCH 0/2] mm: more", cover)
        self.assertNotIn("Begins with", cover)
