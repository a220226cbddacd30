# SPDX-License-Identifier: GPL-2.0
"""lab/tests/evidence.py: what it says of what ran, of what did not, and of what is not ours."""

import contextlib
import io
import shutil
import signal
import time
import unittest
from pathlib import Path
from unittest import mock

from sandbox import Sandbox

import evidence
import harness
from steps import checkers, source

ASKED, TESTED_BY = evidence.ASKED, harness.tested_by
TREE = "1234567890abcdef"


def tried():
    """something that is tried"""


class Evidence(Sandbox):
    def setUp(self):
        super().setUp()
        self.commits = "abcd"
        self.kept, self.page = self.room / "evidence.txt", self.room / "evidence.md"
        self.page.write_text("See\n\n<!-- evidence -->\nold\n<!-- /evidence -->\n\nMore.\n")
        for target, value in (("evidence.KEPT", self.kept),
                              ("evidence.PAGE", self.page),
                              ("evidence.BUILD", self.room),
                              ("evidence.LOGS", self.room),
                              ("evidence.RESULTS", self.room / "results"),
                              ("evidence.ASKED", (("does it", ("one",)), ("would it", ("one", "two")),
                                                  ("could it", ("two",)))),
                              ("harness.RESULTS", self.room / "results"),
                              ("evidence.tree_of_series", lambda: TREE),
                              ("evidence.tree_of_all", lambda: TREE),
                              ("evidence.tested_by", lambda step: TREE),
                              ("harness.tested_by", lambda step: TREE),
                              ("evidence.commits", lambda: list(self.commits)),
                              ("evidence.parts_of", lambda step: list(self.commits)),
                              ("evidence.steps", lambda: {"one": tried, "two": tried})):
            patch = mock.patch(target, value)
            patch.start()
            self.addCleanup(patch.stop)

    def run_step(self, name, *calls):
        """A step that makes these calls of a Tap: (method, arguments), or a function of it"""
        tap = harness.Tap()

        def step():
            """what holds"""
            for call in calls:
                if callable(call):
                    call(tap)
                else:
                    getattr(tap, call[0])(*call[1:])
        with contextlib.redirect_stdout(io.StringIO()) as said:
            tap.step(name, step)
        return tap, said.getvalue()

    def gather(self):
        return {entry["step"]: entry for entry in evidence.gather()}

    def write(self):
        with contextlib.redirect_stdout(io.StringIO()):
            return evidence.write()

    def forget(self):
        """As if the steps had run elsewhere."""
        shutil.rmtree(self.room / "results")

    def of_another_series(self, name):
        file = self.room / "results" / f"{name}.json"
        file.write_text(file.read_text().replace(TREE, "another"))

    def test_results_are_kept_apart(self):
        log = self.room / "some.log"
        tap, said = self.run_step("one", ("ok", "good", log), ("fail", "bad", "since <it> is", log),
                                  ("skip", "no", "no such thing"), ("same", "known", "as ever"))
        self.assertIn("ok 4 known # SKIP same failure on base: as ever", said)
        self.assertEqual(tap.summary, "1 passed, 1 failed, 2 skipped (1: same failure on base)")
        entries = self.write()
        self.assertEqual(entries[0]["state"], "failed")
        self.assertEqual(entries[1]["state"], "not run")
        text = (self.room / "report.txt").read_text()
        self.assertIn("1 passed, 1 failed, 1 same failure on base, 1 skipped; not run: two", text)
        self.assertLess(text.index("bad"), text.index("good"))
        for line in (f"   pass  good  [{log}]", "   skip  no\n         no such thing",
                     "  same failure on base  known"):
            self.assertIn(f"\n{line}\n", text)

    def test_another_series_vouches_for_nothing(self):
        self.run_step("one", ("ok", "good"))
        self.of_another_series("one")
        self.assertEqual(self.gather()["one"]["state"], "of another series")
        self.assertIn("0 passed", evidence.verdict(self.write()))

    def test_a_step_that_breaks_is_a_failure(self):
        self.run_step("one", lambda tap: tap.no_such_method)
        self.assertEqual(self.gather()["one"]["state"], "failed")
        self.assertIn("AttributeError: 'Tap' object", self.gather()["one"]["results"][0]["note"])

    def test_what_a_step_needs_is_told_in_a_line(self):
        with mock.patch("harness.LOGS", self.room):
            self.run_step("one", lambda _: harness.command("run it", ["no-such-program", "-v"]))
        result, = self.gather()["one"]["results"]
        self.assertEqual(result["result"], "fail")
        self.assertTrue(result["note"].startswith("no-such-program is missing: run "), result["note"])

    def test_static_names_a_missing_program_before_it_begins(self):
        with mock.patch("harness.shutil.which", lambda name: None if name == "spatch" else name), \
                mock.patch("series.git", side_effect=AssertionError("it began")):
            self.run_step("one", lambda _: checkers.step_static())
        result, = self.gather()["one"]["results"]
        self.assertTrue(result["note"].startswith("spatch is missing: run "), result["note"])

    def test_a_failing_subtest_is_a_failure(self):
        class Some(unittest.TestCase):
            def test_some(self):
                for number in (1, 2):
                    with self.subTest(number=number):
                        self.assertEqual(number, 1)
        (kind, name, _), = source.run_test(Some("test_some"))
        self.assertEqual(kind, "fail")
        self.assertIn("(number=2)", name)

    def test_skipped_is_not_passed(self):
        self.run_step("one", ("skip", "no", "no such thing"))
        entries = self.write()
        self.assertEqual(entries[0]["state"], "all skipped")
        self.assertIn("all skipped: one; not run: two", evidence.verdict(entries))
        self.assertIn("    1 skipped, not all run\n", evidence.in_letter(entries))
        self.assertIn("all skipped: `one`", evidence.as_table(entries))
        self.run_step("one", ("skip", "no", "no such thing"), ("ok", "good"))
        self.assertEqual(self.gather()["one"]["state"], "passed")
        self.run_step("one", ("same", "known", "as ever"))
        self.assertEqual(self.gather()["one"]["state"], "all skipped")

    def test_an_interrupted_step_leaves_nothing(self):
        self.run_step("one", ("ok", "good"))
        def interrupted(_):
            raise KeyboardInterrupt
        with self.assertRaises(KeyboardInterrupt):
            self.run_step("one", ("ok", "first"), interrupted)
        self.assertEqual(self.gather()["one"]["state"], "not run")

    def run_parts(self, parts, results=None):
        """A step that goes by commits, with a result each, and is interrupted where that is None."""
        def step(tap):
            tap.part, tap.of = parts[0], list(self.commits)
            for part in tap.by_part((part, part) for part in parts):
                method = (results or {}).get(part, "ok")
                if not method:
                    tap.ok("of a commit that is not done")
                    raise KeyboardInterrupt
                getattr(tap, method)(part, *(["why"] if method != "ok" else []))
        with contextlib.suppress(KeyboardInterrupt):
            self.run_step("one", step)
        entry = self.gather()["one"]
        return entry["state"], " ".join(f"{one['result']} {one['name']}" for one in entry["results"])

    def test_commits_make_a_whole(self):
        self.assertEqual(self.run_parts("ab"), ("in part", "pass a pass b"))
        self.assertIn("in part: one; not run: two", evidence.verdict(self.write()))
        self.assertIn("    2 passed, not all run\n", evidence.in_letter(self.write()))
        self.assertEqual(self.run_parts("cd")[0], "passed")
        # one of them again
        self.assertEqual(self.run_parts("b", results={"b": "fail"}),
                         ("failed", "pass a fail b pass c pass d"))
        self.assertEqual(self.run_parts("abcd")[0], "passed")

    def test_first_and_last_choose_parts(self):
        def step(tap):
            for part in tap.by_part(tap.first_to_last([(one, one) for one in self.commits])):
                tap.ok(part)
        for first, last, found in (("2", "3", "bc"), ("4", "9", "d"), ("", "1", "a"), ("", "", "abcd")):
            with mock.patch.dict("os.environ", FIRST=first, LAST=last):
                tap, _ = self.run_step("one", step)
            self.assertEqual("".join(one["name"] for one in tap.results), found)
        for first, last in (("0", ""), ("5", ""), ("3", "2")):
            with mock.patch.dict("os.environ", FIRST=first, LAST=last), self.assertRaises(SystemExit):
                self.run_step("one", step)

    def test_commits_that_are_the_same_in_another_series(self):
        self.run_parts("abcd", results={"c": "fail"})
        self.commits = "abef"
        entry = self.gather()["one"]
        self.assertEqual((entry["state"], entry["counts"]["pass"]), ("in part", 2))
        self.assertEqual(self.run_parts("ef"), ("passed", "pass a pass b pass e pass f"))
        self.commits = "xyz"
        self.assertEqual(self.gather()["one"]["state"], "not run")

    def test_commits_that_were_done_outlive_an_interruption(self):
        self.assertEqual(self.run_parts("abc", results={"c": None}), ("in part", "pass a pass b"))
        self.assertEqual(self.run_parts("ab", results={"a": None}), ("in part", "pass a pass b"))

    def test_commits_that_were_done_elsewhere(self):
        self.run_parts("abc", results={"b": "skip"})
        evidence.keep(self.write())
        self.forget()
        self.assertEqual(self.gather()["one"]["state"], "in part")
        # one of them again, and the last
        self.assertEqual(self.run_parts("ad")[0], "passed")
        entry = self.gather()["one"]
        self.assertEqual((entry["counts"]["pass"], entry["counts"]["skip"]), (3, 1))
        evidence.keep(self.write())
        self.forget()
        self.assertEqual(self.gather()["one"]["state"], "passed")
        self.assertEqual(len(self.kept.read_text().split("\n\n")[1].splitlines()), 5)
        # what was found elsewhere of the others stands when one is done again, and when one changes
        self.run_parts("b", results={"b": "fail"})
        self.assertEqual(self.gather()["one"]["state"], "failed")
        self.commits = "abce"
        self.assertEqual(self.run_parts("b"), ("in part", "pass  pass b pass "))

    def test_a_commit_that_breaks_is_a_failure(self):
        self.assertEqual(self.run_parts("abcd", results={"b": "no_such_method"})[0], "failed")
        self.assertEqual(self.run_parts("bcd")[0], "passed")

    def concerning(self, step, blobs, *paths):
        """What a step tests of these files, each of which is before.c and becomes after.c."""
        harness.uncommented.cache_clear()
        with mock.patch("harness.series.git", lambda *argv: blobs[argv[-1]]):
            return harness.concerning(step, [
                f":100644 100644 before.c after.c M\t{path}" for path in paths])

    def test_a_program_that_changes_concerns_those_who_run_it(self):
        paths = "mm/mmap.c", "tools/testing/selftests/mm/fault_retry.c"
        blobs = {"before.c": "int a;", "after.c": "int b;"}
        for step, concerned in (("vmtests", 2), ("static", 2), ("stress", 1)):
            self.assertEqual(len(self.concerning(step, blobs, *paths)), concerned, step)
        for path, concerned in harness.ONLY_FOR.items():
            self.assertLessEqual(concerned, {name for _, names in ASKED for name in names}, path)

    def test_a_case_that_changes_concerns_those_who_run_it(self):
        def tested(step, after):
            text = "int a;\n/* --- sharding --- */\nint b;\nstatic int number_of(void)\n{ return 1; }\n"
            for one, other in after:
                self.assertIn(one, text)
                text = text.replace(one, other)
            return self.concerning(step, {"before.c": "", "after.c": text}, harness.FILE_RMAP)
        # before the section, in it, behind it, and where it is called otherwise
        changes = ([("a", "x")], False), ([("int b", "int x")], True), ([("1", "2")], False), \
            ([("sharding", "else")], False), ([("number_of", "else"), ("int b", "int x")], False)
        for change, same in changes:
            for step in harness.BY_NAME:
                self.assertEqual(tested(step, change) == tested(step, []), same, (step, change))
            self.assertNotEqual(tested("kcsan", [("int b", "int x")]), tested("kcsan", []))

    def test_commits_that_are_cut_anew_concern_who_looks_at_each(self):
        def tested(step, trees):
            with mock.patch("harness.series.git", return_value=""), \
                    mock.patch("harness.changes", return_value=[]), \
                    mock.patch("harness.commits", return_value=[(tree, f"add {tree}") for tree in trees]):
                return TESTED_BY(step)
        for step, same in (("commits", False), ("configurations", False), ("static", False),
                           ("vmtests", True)):
            self.assertEqual(tested(step, ["a", "b"]) == tested(step, ["b"]), same, step)

    def test_a_selftest_that_changes_concerns_no_commit_that_is_built(self):
        blobs = {"one": "int a;", "another": "int b; /* more */"}

        def parts(step, path, after, title="add it"):
            with mock.patch("harness.series.git", lambda *argv, **_: blobs.get(argv[-1], "")), \
                    mock.patch("harness.changes", return_value=[f":100644 100644 one {after} M\t{path}"]), \
                    mock.patch("harness.commits", return_value=[("tree", title)]):
                return harness.parts_of(step)
        selftest = "tools/testing/selftests/mm/rss_stat.c"
        for step in "commits", "configurations", "objects":
            self.assertEqual(parts(step, selftest, "one"), parts(step, selftest, "another"), step)
            for path in "mm/mmap.c", "Documentation/mm/file_rmap.rst":
                self.assertNotEqual(parts(step, path, "one"), parts(step, path, "another"), step)
            # two of them may differ by nothing else
            self.assertNotEqual(parts(step, selftest, "one"), parts(step, selftest, "one", "use it"), step)
        for step in "series", "static":
            self.assertNotEqual(parts(step, selftest, "one"), parts(step, selftest, "another"), step)

    def test_a_comment_that_changes_concerns_those_who_read_it(self):
        def tested(step, after, path="mm/mmap.c"):
            return self.concerning(step, {"before.c": "int a; /* it\n counts */\n", "after.c": after},
                                   path)

        for same in ("int a;\n\n", "int a; // it's\n", '/* "long" */\nint a;\n'):
            self.assertFalse(tested("stress", same), same)
            self.assertTrue(tested("static", same), same)
        for other in ("int b; /* it\n counts */\n", 'int a; char *b = "/* it */";\n',
                      "/* it */ int b; /* counts */\n", "int a = '\"'; /* \" */ int b;\n"):
            self.assertTrue(tested("stress", other), other)
        self.assertNotEqual(tested("stress", 'char *b = "//1";\n'), tested("stress", 'char *b = "//2";\n'))
        for text in "Documentation/mm/file_rmap.rst", "MAINTAINERS":
            self.assertFalse(tested("stress", "more", text))
            self.assertTrue(tested("series", "more", text))
        self.assertTrue(tested("stress", "int a;\n", "mm/Makefile"))

    def test_kept_elsewhere(self):
        self.run_step("one", ("fail", "bad", f"first\nsee {self.room}/a.log: no http://mirror/pool/a.xz "
                              "404 [IP: 192.0.2.1 80]"), ("ok", "good"), ("ok", "too"),
                      *(("skip", f"part {number}", "no such thing") for number in range(118)),
                      ("skip", "that", "no other"), ("same", "known", "as ever"))
        evidence.keep(self.write())
        begin, steps = self.kept.read_text().split("\n\n")
        counts = "2 passed, 1 failed, 1 same failure on base, 119 skipped"
        self.assertEqual(begin.splitlines(), [
            TREE, "does it", f"    {counts}", "would it", f"    {counts}, not all run", "could it",
            "    not run"])
        self.assertRegex(steps, rf"""^one: 2 pass, 1 fail, 1 same, 119 skip; 0 s, \S+ \d\d:\d\d, of {TREE}
  1 fail: bad: see \$BUILD/a.log: no a.xz 404
  118 skip: no such thing
  1 skip: that: no other
  1 same: known: as ever
$""")
        page = self.page.read_text()
        self.assertIn("| would it | `one`; not run: `two` | 2 | 1 | 1 | 119 |\n", page)
        self.assertNotIn("old", page)
        self.assertTrue(page.startswith("See\n") and page.endswith("\n\nMore.\n"), page)
        # elsewhere it says the same, and goes on doing so
        self.forget()
        evidence.keep(self.write())
        self.assertEqual(self.kept.read_text(), f"{begin}\n\n{steps}")
        self.assertIn("\n   skip  118 results\n         no such thing\n", (self.room / "report.txt").read_text())
        # what ran here goes before it, unless it was another series
        self.run_step("one", ("ok", "good"))
        self.assertEqual(self.gather()["one"]["state"], "passed")
        self.of_another_series("one")
        self.assertEqual(self.gather()["one"]["state"], "failed")
        # or found nothing
        self.run_step("one", ("skip", "build: interrupted", "it was built already"))
        self.assertEqual(self.gather()["one"]["state"], "failed")

    def test_nothing_is_lost_without_the_tree_of_all_postings(self):
        self.run_step("one", ("ok", "good"))
        evidence.keep(self.write())
        before = self.kept.read_text(), self.page.read_text()
        for there, all_of_it in (("another", TREE), ("", "")):
            with mock.patch("evidence.tree_of_series", lambda: there), \
                    mock.patch("evidence.tree_of_all", lambda: all_of_it), \
                    mock.patch("evidence.tested_by", lambda step: there), \
                    self.assertRaisesRegex(SystemExit, "wait for the check that runs"):
                evidence.keep(self.write())
            self.assertEqual((self.kept.read_text(), self.page.read_text()), before)

    def test_a_command_ends_with_all_it_started(self):
        log = self.room / "late.log"
        for how, timeout in ((None, 0.5), (signal.SIGALRM, 60)):
            end = time.monotonic() + 30
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.5 if how else 0)
            with mock.patch("harness.LOGS", self.room), \
                    contextlib.nullcontext() if not how else self.assertRaises(KeyboardInterrupt):
                status, text = harness.command("late", ["sh", "-c", "sleep 60 & echo $!; wait"],
                                               timeout=timeout)
                self.assertEqual(status, 124)
                self.assertIn("sending signal TERM", text)
            sleep = Path("/proc", log.read_text().split()[0], "cmdline")
            while sleep.exists() and sleep.read_text():     # it dies a moment after the shell
                self.assertLess(time.monotonic(), end, how)
                time.sleep(0.01)
            self.assertLess(time.monotonic(), end, how)
