# SPDX-License-Identifier: GPL-2.0
"""lab/kernel/series.py: postings and tree, there and back."""

import json
import os
import re
import shutil
import subprocess
import sys

from mirror import Mirror
from sandbox import TOP, lines

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


class Queue(Mirror):
    """A posting of three commits, and what the tests do with it. The mirror has no kernel, so
    that nothing is got from the real one where a patch does not apply."""

    def setUp(self):
        super().setUp()
        self.pin("7.3.4-1")
        self.another_source(**{"scripts/get_maintainer.pl": GET_MAINTAINER})
        self.tree = self.build / "patched/src"
        self.posting("1-first", "# the order\n0001-edit.patch\n0002-new.patch mm/new.c\n0003-more.patch\n")
        self.patch("1-first/patches/0001-edit", "mm: edit a", EDIT_A)
        self.patch("1-first/patches/0002-new", "mm: add new")
        self.patch("1-first/patches/0003-more", "mm: more of new", ADD_LINE)
        self.put("mm/new.c", lines(1, 2, 3, "four"))

    def posting(self, name, series, base="7.3"):
        for file, text in (("series", series), ("base", f"{base}\n"), ("tests", ""),
                           ("letter.txt", f"mm: {name}\n\nWhy.\n\n@FIGURES@\n\n@TESTED@\n")):
            self.put(f"postings/{name}/{file}", text)

    def put(self, name, text):
        return self.write(self.queue / name, text)

    def patch(self, name, subject, diff=""):
        self.put(f"postings/{name}.patch", PATCH.format(subject=subject, diff=diff))

    def series(self, command, *argv, **env):
        return self.good("kernel/series.py", command, *argv, **env)

    def series_refuses(self, words, command, *argv, **env):
        return self.refused(words, "kernel/series.py", command, *argv, **env)

    def another_source(self, **files):
        self.good("kernel/fetch", LINUX_SRC=str(self.source(**files)))

    def git(self, *argv):
        return subprocess.run(["git", "-C", self.tree, "-c", "user.name=Hand", "-c",
                               "user.email=hand@work.invalid", *argv], check=True, text=True,
                              stdout=subprocess.PIPE).stdout

    def python(self, script):
        """What a script prints that uses the module series."""
        return subprocess.run([sys.executable, "-c", f"import series; {script}"], cwd=TOP / "lab/kernel",
                              text=True, stdout=subprocess.PIPE, check=True, env=dict(
                                  os.environ, BUILD=str(self.build), QUEUE=str(self.queue))).stdout

    def snapshot(self):
        return {str(p.relative_to(self.queue)): (p.read_text(), p.stat().st_mode)
                for p in self.queue.rglob("*") if p.is_file()}

    def by_hand(self, message="mm: by hand", name="mm/a.c", text="by hand\n"):
        (self.tree / name).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.git("rev-parse", "HEAD").strip()


class Applied(Queue):
    def test_new_files_are_seen_in_debians_source(self):
        ignore = "*.o\n# Debian packaging\n/*\n!/debian/\n"
        self.another_source(**{".gitignore": ignore})
        self.series("tree")
        (self.tree / "mm/extra.c").write_text("mine\n")
        self.series_refuses("mm/extra.c", "export")

    def test_patch_that_does_not_apply_names_itself_and_its_hunk(self):
        self.patch("1-first/patches/0001-edit", "mm: edit a", EDIT_A.replace("line 10", "line ten"))
        self.series_refuses("patches/0001-edit.patch does not apply: patch failed: mm/a.c:9", "tree")
        self.assertFalse(self.tree.exists())

    def test_moved_lines_are_merged(self):
        self.another_source(**{"mm/a.c": "new first line\n" * 5 + lines(*range(1, 31))})
        self.series("tree")
        self.assertIn("line eleven", (self.tree / "mm/a.c").read_text())

    def test_overlay_that_lost_a_later_edit_names_the_patch(self):
        self.put("mm/new.c", lines(1, 2, 3))
        self.series_refuses("0003-more.patch", "tree")

    def test_queue_mistakes_are_named(self):
        good = (self.queue / "postings/1-first/series").read_text()
        for text, words in ((good + "0009-none.patch\n", "0009-none.patch does not exist"),
                            (good + "0001-edit.patch\n", "listed twice"),
                            (good.replace("0003-more.patch\n", ""), "0003-more.patch is not listed"),
                            (good.replace("mm/new.c", "mm/none.c"), "mm/none.c does not exist")):
            self.put("postings/1-first/series", text)
            self.series_refuses(words, "tree")


class Series(Queue):
    """With the tree made."""

    def setUp(self):
        super().setUp()
        self.series("tree")

    def test_one_commit_per_entry(self):
        self.assertEqual(self.git("log", "--format=%s", "base.."),
                         "mm: more of new\nmm: add new\nmm: edit a\n")
        self.assertIn("line eleven", (self.tree / "mm/a.c").read_text())
        self.assertNotIn("eleven", (self.build / "base/src/mm/a.c").read_text())

    def test_new_file_is_at_each_commit_what_it_was_then(self):
        self.assertEqual(self.git("show", "HEAD~1:mm/new.c"), lines(1, 2, 3))
        self.assertEqual(self.git("show", "HEAD:mm/new.c"), lines(1, 2, 3, "four"))

    def test_same_queue_gives_same_hashes(self):
        first = self.git("rev-parse", "HEAD")
        subprocess.run(["rm", "-rf", self.build / "patched", self.build / "kernel.git",
                        self.build / "base"], check=True)
        self.series("tree")
        self.assertEqual(self.git("rev-parse", "HEAD"), first)

    def test_only_changed_files_are_written(self):
        before = {p: p.stat().st_mtime_ns for p in self.tree.rglob("mm/*")}
        self.put("mm/new.c", lines("zero", 1, 2, 3, "four"))
        self.patch("1-first/patches/0003-more", "mm: more of new", ADD_LINE.replace("-2,2 +2,3", "-3,2 +3,3"))
        self.series("tree")
        after = {p: p.stat().st_mtime_ns for p in self.tree.rglob("mm/*")}
        self.assertEqual([p.name for p in before if before[p] != after[p]], ["new.c"])

    def test_round_trip(self):
        head = self.git("rev-parse", "HEAD")
        self.series("export")
        exported = self.snapshot()
        self.series("tree")
        self.assertEqual(self.git("rev-parse", "HEAD"), head)
        self.series("export")
        self.assertEqual(self.snapshot(), exported, "a second export changes nothing")
        self.assertTrue(exported["postings/1-first/series"][0].startswith("# the order\n"))

    def test_hunks_are_of_functions_not_of_labels(self):
        function = "int f(void)\n{\nfail:\n" + "".join(f"\tg({n});\n" for n in range(9)) + "}\n"
        self.another_source(**{".gitattributes": "*.[ch] diff=cpp\n", "mm/f.c": function})
        self.series("tree")
        self.by_hand(name="mm/f.c", text=function.replace("g(7)", "g(77)"))
        self.series("export")
        self.assertIn("@@ int f(void)\n", (self.queue / "postings/1-first/patches/0004-mm-by-hand.patch").read_text())

    def test_export_takes_commits_in(self):
        (self.tree / "mm/tool.sh").write_text("#!/bin/sh\n")
        (self.tree / "mm/tool.sh").chmod(0o755)
        (self.tree / "mm/a.c").write_text(lines(*range(0, 31)))
        self.git("add", "-A")
        self.git("commit", "-qm", "mm: by hand\n\nA reason: umlaut \u00fc, a \"quote\".")
        tree = self.git("rev-parse", "HEAD^{tree}")
        self.series("export")
        self.assertIn("0004-mm-by-hand.patch mm/tool.sh", (self.queue / "postings/1-first/series").read_text())
        self.assertTrue((self.queue / "mm/tool.sh").stat().st_mode & 0o100)
        self.assertNotIn("tool.sh b/", (self.queue / "postings/1-first/patches/0004-mm-by-hand.patch").read_text())
        self.series("tree")
        self.assertEqual(self.git("rev-parse", "HEAD^{tree}"), tree)
        self.assertIn("umlaut \u00fc", self.git("log", "-1", "--format=%b"))

    def test_export_drops_what_the_tree_dropped(self):
        self.git("reset", "-q", "--hard", "HEAD~2")
        self.series("export")
        self.assertFalse((self.queue / "mm/new.c").exists())
        self.assertEqual(len(list((self.queue / "postings/1-first/patches").iterdir())), 1)
        self.series("tree")

    def test_hand_commits_are_never_thrown_away(self):
        head = self.by_hand()
        self.put("mm/new.c", lines(0, 1, 2, 3, "four"))
        self.patch("1-first/patches/0003-more", "mm: more of new", ADD_LINE.replace("-2,2 +2,3", "-3,2 +3,3"))
        self.series_refuses("mm: by hand", "tree")
        self.series_refuses("edited since the last make tree", "export")
        self.refused("mm: by hand", "host/clean", "--all")
        self.assertEqual(self.git("rev-parse", "HEAD").strip(), head)

    def test_uncommitted_changes_are_never_thrown_away(self):
        (self.tree / "mm/extra.c").write_text("mine\n")
        self.patch("1-first/patches/0001-edit", "mm: edit a", EDIT_A.replace("eleven", "ELEVEN"))
        self.series_refuses("uncommitted", "tree")
        self.series_refuses("uncommitted", "export")
        self.assertTrue((self.tree / "mm/extra.c").exists())

    def test_another_source_keeps_hand_work(self):
        self.by_hand()
        self.another_source(**{"mm/b.c": "b\n"})
        self.series_refuses("mm: by hand", "tree")

    def test_changed_context_is_merged_three_ways(self):
        """The blob that the patch was made on is known from the earlier import."""
        self.series("export") # patches with their index lines
        text = lines(*range(1, 31)).replace("line 9\n", "line nine\n")
        self.another_source(**{"mm/a.c": text})
        self.series("tree")
        merged = (self.tree / "mm/a.c").read_text()
        self.assertIn("line eleven", merged)
        self.assertIn("line nine", merged)

    def test_export_off_its_branch_is_refused(self):
        for where in (["checkout", "-q", "--detach"], ["checkout", "-qb", "wip"]):
            self.git(*where)
            head = self.by_hand()
            self.series_refuses("not on one that make tree made", "export")
            self.series_refuses("not on one that make tree made", "tree")
            self.assertEqual(self.git("rev-parse", "HEAD").strip(), head)
            self.git("checkout", "-q", "series")

    def test_commits_outlive_their_work_tree(self):
        head = self.by_hand()
        shutil.rmtree(self.tree)
        self.series_refuses("mm: by hand", "tree")
        self.assertEqual(self.git("rev-parse", "HEAD").strip(), head)
        self.patch("1-first/patches/0001-edit", "mm: edit a", EDIT_A.replace("eleven", "ELEVEN"))
        self.series_refuses("mm: by hand", "tree")

    def test_other_branches_are_work_too(self):
        self.git("checkout", "-qb", "wip")
        self.by_hand("mm: on a side branch")
        self.git("checkout", "-q", "series")
        self.refused("mm: on a side branch", "host/clean", "--all")
        self.another_source(**{"mm/b.c": "b\n"})
        self.series_refuses("mm: on a side branch", "tree")

    def test_a_half_laid_out_tree_is_finished(self):
        subprocess.run(["git", "--git-dir", self.build / "kernel.git", "update-ref", "-d",
                        "refs/queue/built"], check=True)
        (self.tree / "mm/a.c").unlink()
        self.series("tree")
        self.assertTrue((self.tree / "mm/a.c").exists())

    def test_what_a_patch_file_cannot_hold_is_refused_and_nothing_written(self):
        before = self.snapshot()
        for message in ("mm: one\n\nabove\n---\nbelow", "mm: two\n\ndiff --git a/x b/x\n",
                        "mm: three\n\nFrom: Someone Else <else@where.invalid>\n\nbody"):
            self.by_hand(message, text=message)
            self.series_refuses("not survive", "export")
            self.assertEqual(self.snapshot(), before)
            self.git("reset", "-q", "--hard", "HEAD~1")
        self.by_hand("[RFC] mm: tagged\n\n  indented\nbody")
        self.series("export")
        self.assertIn("[RFC] mm: tagged", self.git("log", "-1", "--format=%s"))

    def test_notes_of_an_unchanged_patch_are_kept(self):
        self.series("export")
        path = self.queue / "postings/1-first/patches/0001-mm-edit-a.patch"
        path.write_text(path.read_text().replace("\n---\n", "\n---\nv2: mended.\n", 1))
        order = (self.queue / "postings/1-first/series").read_text()
        self.put("postings/1-first/series", order.replace("0001-mm-edit-a.patch", "0001-mm-edit-a.patch # first"))
        self.by_hand()
        self.series("export")
        self.assertIn("v2: mended.", path.read_text())
        self.assertIn("0001-mm-edit-a.patch # first\n", (self.queue / "postings/1-first/series").read_text())

    def test_a_draft_in_the_overlay_is_not_overwritten(self):
        self.put("mm/draft.c", "a draft\n")
        self.by_hand(name="mm/draft.c", text="something else\n")
        self.series_refuses("is in the way", "export")
        self.assertEqual((self.queue / "mm/draft.c").read_text(), "a draft\n")

    def test_an_interrupted_export_is_finished(self):
        self.series("export")
        old = self.room / "old"
        shutil.copytree(self.queue, old)
        self.by_hand(name="mm/hand.c")
        self.series("export")
        wanted = self.snapshot()
        # as if it had died in the middle: the new queue is ready, half of it in place
        ready = self.room / "ready"
        shutil.copytree(self.queue, ready)
        shutil.rmtree(self.queue)
        shutil.copytree(old, self.queue)
        shutil.copy(ready / "postings/1-first/patches/0004-mm-by-hand.patch", self.queue / "postings/1-first/patches")
        os.replace(ready, self.queue / ".export-ready")
        self.series("tree")
        self.assertEqual(self.snapshot(), wanted)

    def test_export_check(self):
        self.series_refuses("is not as make export writes it", "export", "--check")
        self.series("export")
        self.series("export", "--check")

    def test_distclean_takes_only_what_is_ours(self):
        (self.build / "photos").mkdir()
        self.refused("photos", "host/clean", "--all")
        (self.build / "photos").rmdir()
        self.good("host/clean", "--all")
        self.assertFalse(self.build.exists())

    def test_interrupted_import_starts_again(self):
        subprocess.run(["git", "--git-dir", self.build / "kernel.git", "update-ref", "-d",
                        "refs/tags/base"], check=True)
        (self.build / "base/src/mm/a.c").unlink()
        self.series("tree")
        self.assertTrue((self.build / "base/src/mm/a.c").exists())

    def test_mail(self):
        self.series("mail", str(self.room / "mail"))
        out = self.room / "mail/1-first"
        cover = (out / "0000-cover-letter.patch").read_text()
        self.assertIn("Subject: [PATCH 0/3] mm: 1-first", cover)
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
            self.put("lab/tests/evidence.txt", f"{tree}\ndoes it work\n    2 passed\n\none: 2 pass\n")
            measured.write_text(json.dumps({"series": series, "date": "today"}))
            self.series("mail", str(out.parent), "--figures", str(results), "--version", "2",
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
        self.series_refuses("thesis.txt", "mail", str(out.parent))
        (out / "thesis.txt").unlink()
        self.series_refuses("Name <address>", "mail", str(out.parent), "--signoff", "nobody")

    def recipients(self, mail):
        """{field: addresses} of a mail's header, which git must still understand."""
        head = mail.read_text().partition("\n\n")[0]
        return {name: [one.strip() for one in text.split(",\n")]
                for name, text in re.findall(r"^(To|Cc): (.*(?:\n .*)*)", head, re.M)}

    def test_mail_goes_to_whom_get_maintainer_names(self):
        self.series("mail", str(self.room / "mail"))
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
        script = self.tree / "scripts/get_maintainer.pl"
        for text, words in (("", "finds nobody"), ('print "what is this\\n";', "what is this")):
            script.write_text(text)
            self.series_refuses(words, "mail", str(self.room / "mail"))
        script.unlink()
        self.series_refuses("get_maintainer.pl is missing", "mail", str(self.room / "mail"))
        self.assertFalse((self.room / "mail").exists())

    def test_a_moved_checkout_is_found_again(self):
        old = self.build

        def times():
            return {p.relative_to(self.build): p.stat().st_mtime_ns for p in self.build.glob("*/src/mm/*")}

        before = times()
        (self.tree / "mm/extra.c").write_text("mine\n")
        for how in (shutil.copytree, os.rename):
            self.build = self.room / how.__name__ / "build"
            self.build.parent.mkdir()
            how(old, self.build)
            self.refused("mm/extra.c", "host/clean", "--all")
            (self.build / "patched/src/mm/extra.c").unlink()
            self.series("tree")
            for name in ("base/src", "patched/src"):
                self.assertEqual(subprocess.run(
                    ["git", "-C", self.build / name, "rev-parse", "--git-common-dir"], text=True,
                    stdout=subprocess.PIPE).stdout.strip(), str(self.build / "kernel.git"))
            self.assertEqual(times(), before)
            if old.exists(): # the original of a copy still is its own
                self.assertIn(f"{old}/kernel.git/", (old / "patched/src/.git").read_text())


SECOND = """diff --git a/mm/a.c b/mm/a.c
--- a/mm/a.c
+++ b/mm/a.c
@@ -9,5 +9,5 @@ line 8
 line 9
 line 10
-line {}
+line {}, second
 line 12
 line 13
"""


class Postings(Queue):
    """1-first and 2-second, each on the plain source, where they edit the same line; 3-third
    stands on both and edits the new file of 1-first; 4-fourth is empty."""

    def setUp(self):
        super().setUp()
        shutil.rmtree(self.queue / "postings/1-first/patches")
        self.posting("1-first", "0001-mm-edit-a.patch\n0002-mm-add-new.patch mm/new.c\n")
        self.posting("2-second", "0001-mm-second.patch\n")
        self.posting("3-third", "0001-mm-more-of-new.patch\n", base="1-first 2-second")
        self.posting("4-fourth", "# none yet\n")
        for name, diff in (("1-first/patches/0001-mm-edit-a", EDIT_A),
                           ("1-first/patches/0002-mm-add-new", ""),
                           ("2-second/patches/0001-mm-second", SECOND.format(11, 11)),
                           ("2-second/on-1/0001-mm-second", SECOND.format("eleven", "eleven")),
                           ("3-third/patches/0001-mm-more-of-new", ADD_LINE)):
            subject = name.partition("-mm-")[2].replace("-", " ")
            self.patch(name, f"mm: {subject}", diff)
        self.series("tree")

    def subjects(self, branch):
        return self.git("log", "--reverse", "--format=%s", f"base..{branch}").splitlines()

    def content(self, branch, name="mm/a.c"):
        return self.git("show", f"{branch}:{name}")

    def test_a_branch_for_each_on_its_base_and_one_of_all(self):
        first, second, third = ["mm: edit a", "mm: add new"], ["mm: second"], ["mm: more of new"]
        for branch, expected in (("1-first", first), ("2-second", second),
                                 ("3-third", first + second + third), ("4-fourth", []),
                                 ("series", first + second + third)):
            self.assertEqual(self.subjects(branch), expected, branch)
        self.assertIn("line 11, second\n", self.content("2-second"))
        self.assertIn("line eleven, second\n", self.content("series"))
        self.assertEqual(self.content("1-first", "mm/new.c"), lines(1, 2, 3))
        self.assertEqual(self.content("series", "mm/new.c"), lines(1, 2, 3, "four"))

    def test_commits_that_a_posting_has_only_alone_are_tested_as_well(self):
        self.assertEqual(self.python("print(*series.all_commits(), sep='\\n')").splitlines(),
                         self.git("rev-list", "--reverse", "base..series").splitlines()
                         + self.git("rev-list", "base..2-second").splitlines())

    def test_posting_takes_one_into_the_tree(self):
        before = {p: p.stat().st_mtime_ns for p in self.tree.rglob("mm/*")}
        self.series("tree", POSTING="2")
        self.assertEqual(self.git("symbolic-ref", "--short", "HEAD"), "2-second\n")
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.assertIn("line 11, second", (self.tree / "mm/a.c").read_text())
        self.assertEqual([p.name for p in before if not p.exists() or before[p] != p.stat().st_mtime_ns],
                         [p.name for p in before if p.name in ("a.c", "new.c")])
        self.series_refuses("1-first, 2-second", "tree", POSTING="7")
        self.series("tree")
        self.assertEqual(self.git("symbolic-ref", "--short", "HEAD"), "series\n")

    def test_a_second_form_that_lacks_is_named(self):
        (self.queue / "postings/2-second/on-1/0001-mm-second.patch").unlink()
        self.series_refuses("2-second/patches/0001-mm-second.patch does not apply", "tree")

    def test_export_of_one_posting(self):
        overlay = (self.queue / "mm/new.c").read_text()
        others = {name: what for name, what in self.snapshot().items() if "1-first" not in name}
        self.series("tree", POSTING="1")
        self.by_hand("mm: one more", "mm/new.c", lines(0, 1, 2, 3))
        self.assertIn("make tree takes 3-third, series along", self.series("export"))
        self.assertEqual((self.queue / "mm/new.c").read_text(), "line 0\n" + overlay)
        self.assertIn("0003-mm-one-more.patch\n", (self.queue / "postings/1-first/series").read_text())
        after = self.snapshot()
        self.assertEqual({name for name in others if others[name] != after[name]}, {"mm/new.c"})
        self.series("tree")
        self.assertEqual(self.subjects("series")[2], "mm: one more")

    def test_first_commits_of_an_empty_posting(self):
        self.series("tree", POSTING="4-fourth")
        self.by_hand(name="mm/fourth.c")
        self.series("export")
        self.assertEqual((self.queue / "postings/4-fourth/series").read_text(),
                         "# none yet\n0001-mm-by-hand.patch mm/fourth.c\n")
        self.series("tree")
        self.assertEqual(self.subjects("series")[-1], "mm: by hand")

    def test_export_of_all_edits_the_form_that_all_have(self):
        plain = (self.queue / "postings/2-second/patches/0001-mm-second.patch").read_text()
        self.git("reset", "-q", "--hard", "HEAD~1")
        self.by_hand("mm: also second", "mm/b.c")
        (self.tree / "mm/a.c").write_text(self.content("series").replace(", second", ", 2nd"))
        self.git("reset", "-q", "--soft", "HEAD~2")
        self.git("commit", "-qm", "mm: second\n\nEdited.", "mm/a.c")
        self.git("commit", "-qm", "mm: also second")
        self.git("cherry-pick", "refs/queue/built")
        self.series("export")
        self.assertEqual((self.queue / "postings/2-second/patches/0001-mm-second.patch").read_text(), plain)
        self.assertIn("2nd", (self.queue / "postings/2-second/on-1/0001-mm-second.patch").read_text())
        self.assertIn("0002-mm-also-second.patch mm/b.c", (self.queue / "postings/2-second/series").read_text())
        self.series("tree")
        self.assertEqual(self.subjects("2-second"), ["mm: second", "mm: also second"])

    def test_forms_are_renamed_together(self):
        self.series("tree", POSTING="2")
        self.git("reset", "-q", "--hard", "base")
        self.by_hand("mm: zeroth", "mm/b.c")
        self.git("cherry-pick", "refs/queue/2-second")
        self.series("export")
        self.assertEqual(sorted(str(p.relative_to(self.queue / "postings/2-second"))
                                for p in (self.queue / "postings/2-second").glob("*/*")),
                         ["on-1/0002-mm-second.patch", "patches/0001-mm-zeroth.patch",
                          "patches/0002-mm-second.patch"])
        self.series("tree")
        self.assertIn("line eleven, second\n", self.content("series"))

    def test_an_export_that_breaks_another_branch_is_refused(self):
        before = self.snapshot()
        self.series("tree", POSTING="1")
        self.by_hand("mm: in the way", text=self.content("1-first").replace("eleven", "onze"))
        self.series_refuses("2-second/on-1/0001-mm-second.patch does not apply", "export")
        self.assertEqual(self.snapshot(), before)

    def test_commits_in_another_order_are_refused(self):
        self.git("reset", "-q", "--hard", "2-second")
        self.git("checkout", "-q", "-B", "series", "1-first~1")
        self.git("cherry-pick", "refs/queue/built~1", "refs/queue/1-first")
        self.series_refuses("sort them by posting", "export")

    def test_hand_commits_on_another_branch_are_kept(self):
        self.series("tree", POSTING="2")
        head = self.by_hand()
        for posting in ("", "1", "2"):
            self.series_refuses("mm: by hand", "tree", POSTING=posting)
        self.refused("mm: by hand", "host/clean", "--all")
        self.assertEqual(self.git("rev-parse", "2-second").strip(), head)

    def test_an_rfc_is_not_among_all_and_mailed_as_one(self):
        self.posting("4-fourth", "0001-mm-fourth.patch\n", base="7.3\nrfc")
        self.patch("4-fourth/patches/0001-mm-fourth", "mm: fourth", SECOND.format(11, 11))
        before = self.subjects("series")
        self.series("tree")
        self.assertEqual((self.subjects("series"), self.subjects("4-fourth")), (before, ["mm: fourth"]))
        self.series("mail", str(self.room / "mail"), "--version", "2")
        self.assertIn("Subject: [RFC PATCH v2 1/1] mm: fourth",
                      (self.room / "mail/4-fourth/0001-mm-fourth.patch").read_text())
        self.series("tree", POSTING="4")
        self.by_hand("mm: one more", "mm/b.c", "more\n")
        self.series("export")
        self.assertEqual((self.queue / "mm/b.c").read_text(), "more\n")
        self.assertEqual((self.queue / "postings/4-fourth/base").read_text().split(), ["7.3", "rfc"])

    def test_a_posting_that_is_gone_takes_its_branch_along(self):
        self.series("tree", POSTING="4")
        (self.queue / "postings/4-fourth").rename(self.queue / "postings/4-other")
        self.series("tree")
        self.assertNotIn("4-fourth", self.git("branch", "--list"))
        self.assertIn("4-other", self.git("branch", "--list"))

    def test_mistakes_in_base_are_named(self):
        for base, words in (("3-third", "no posting with a lower number"), ("", "write 7.3")):
            self.put("postings/2-second/base", base)
            self.series_refuses(words, "tree")

    def test_each_posting_is_mailed_as_it_is_alone(self):
        out = self.room / "mail"
        self.series("mail", str(out), "--signoff", "A Person <a@person.invalid>")
        self.assertEqual([str(p.relative_to(out)) for p in sorted(out.rglob("*.patch"))], [
            "1-first/0000-cover-letter.patch", "1-first/0001-mm-edit-a.patch",
            "1-first/0002-mm-add-new.patch", "2-second/0000-cover-letter.patch",
            "2-second/0001-mm-second.patch", "3-third/0000-cover-letter.patch",
            "3-third/0001-mm-more-of-new.patch"])
        self.assertIn("line 11, second", (out / "2-second/0001-mm-second.patch").read_text())
        self.series("mail", str(out), POSTING="2")
        self.assertEqual([path.name for path in out.iterdir()], ["2-second"])
        self.series_refuses("has no patch yet", "mail", str(out), POSTING="4")
        (self.queue / "postings/2-second/letter.txt").unlink()
        self.series_refuses("letter.txt is missing", "mail", str(out), POSTING="2")
