# SPDX-License-Identifier: GPL-2.0
"""lab/tests/stress.py: what it makes of what guests tell, alive or dead."""

import contextlib
import io
from pathlib import Path
from unittest import mock

from sandbox import Sandbox

import guest # noqa: E402
from harness import Tap # noqa: E402
import steps.stress # noqa: E402
import stress # noqa: E402
from stress import Found # noqa: E402

SANE = {"i_mmap_shard": 9, "i_mmap_modify_wait": 3, "i_mmap_walk_wait": 20, "i_mmap_mixed": 1}
BOOT = "[    1.5] i_mmap: contended files are sharded for 4 group(s) of CPUs\n"


class Room(Sandbox):
    def setUp(self):
        super().setUp()
        self.out = self.room
        self.slabs(4 * stress.LEFT)

    def slabs(self, shards):
        (self.out / "slabinfo").write_text(f"mm_struct  9 9 1344\ni_mmap_tree  {shards} 9999 64\n")

    def result(self, status, why="", console=BOOT, **files):
        (self.out / "console.log").write_text(console)
        for name, text in files.items():
            (self.out / f"{name}.tsv").write_text(text)
        return guest.Result(status, why, self.out, 1, "tcg")


class Needed(Room):
    def test_it_is_asked_for_before_anything_is_built(self):
        with mock.patch("shutil.which", return_value=None), mock.patch("steps.stress.built") as built, \
                self.assertRaisesRegex(guest.Fail, "stress-ng is missing: run lab/host/setup stress"):
            steps.stress.ready()
        built.assert_not_called()


class Compared(Room):
    def verdict(self, patched, base):
        """(what is said of a test that ends so on both kernels, what ran on base)"""
        asked, tap = [], Tap()

        def run(kernel, tests, _out):
            asked.append((kernel.kernel, list(tests)))
            return [Found("fork", patched if kernel.kernel == "patched-stress" else base)], []

        with mock.patch("steps.stress.kernel_of", str), mock.patch("steps.stress.tap", tap), \
                mock.patch.object(stress.Stress, "run", run), contextlib.redirect_stdout(io.StringIO()):
            steps.stress.against_base("some", ["fork"])
        return tap.results[0]["result"], asked[1:]

    def test_what_is_not_ok_is_compared(self):
        again = [("base-stress", ["fork"])]
        for patched, base, result in (("idle", "idle", "skip"), ("idle", "ok", "fail"),
                                      ("skipped", "skipped", "skip"), ("skipped", "ok", "fail"),
                                      ("failed", "failed", "same"), ("failed", "idle", "fail")):
            with self.subTest(f"{patched}, base {base}"):
                self.assertEqual(self.verdict(patched, base), (result, again))
        self.assertEqual(self.verdict("ok", "failed"), ("pass", []))


class Read(Room):
    def test_a_guest_that_ended(self):
        found = stress.read(self.result(0, results="mmap\tok\t7\t31\t\n"
                                        "fork\tfailed\t-\t2\tstatus 2: no\n"))
        self.assertEqual([(one.test, one.result, one.ops, one.seconds, one.note) for one in found],
                         [("mmap", "ok", "7", 31, ""), ("fork", "failed", "", 2, "status 2: no")])

    def test_a_guest_that_died_is_read_from_its_console(self):
        found = stress.read(self.result(None, "panicked", BOOT + "stress: mmap begins\r\n"
                                        "stress: mmap ok 7 31 \r\nstress: fork:vm begins\r\n"))
        self.assertEqual([(one.test, one.result, one.ops) for one in found], [("mmap", "ok", "7")])

    def test_counters(self):
        self.result(0, i_mmap="boot\ti_mmap_mixed\t1\nboot\ti_mmap_shard\t2\n"
                              "mmap\ti_mmap_mixed\t3\nmmap\ti_mmap_shard\t4\n"
                              "mmap\ti_mmap_mixed\t5\nmmap\ti_mmap_shard\t6\n")
        self.assertEqual(stress.counters(self.out),
                         [("boot", {"i_mmap_mixed": 1, "i_mmap_shard": 2}),
                          ("mmap", {"i_mmap_mixed": 3, "i_mmap_shard": 4}),
                          ("mmap", {"i_mmap_mixed": 5, "i_mmap_shard": 6})])

    def test_deaths_are_booted_past(self):
        """a, dies in b, c and d in a second boot; one that never begins loses its first."""
        found, results, asked = self.boots([(None, [("a", "ok")]), (None, []), (0, [("d", "ok")])])
        self.assertEqual(asked, [list("abcd"), list("cd"), list("d")])
        self.assertEqual([(one.test, one.result) for one in found],
                         [("a", "ok"), ("b", stress.DIED), ("c", stress.DIED), ("d", "ok")])
        self.assertEqual(len(results), 3)
        wrong = stress.trouble_of(found, results, "")
        self.assertEqual([name for name, _, _ in wrong], ["b", "c"])

    def test_what_cannot_be_killed_ends_a_boot(self):
        """and no other test is blamed"""
        found, _, asked = self.boots([(1, [("a", "ok"), ("b", "stuck")]),
                                      (0, [("c", "ok"), ("d", "ok")])])
        self.assertEqual(asked, [list("abcd"), list("cd")])
        self.assertEqual([one.result for one in found], ["ok", "stuck", "ok", "ok"])

    def boots(self, boots):
        """Tests a to d, where the guest's boots end and tell like this."""
        asked = []

        def boot(_self, tests, out):
            asked.append(list(tests))
            status, told = boots[len(asked) - 1]
            out.mkdir(parents=True)
            (out / "console.log").write_text("".join(f"stress: {test} {kind} 1 1 \n"
                                                     for test, kind in told))
            (out / "results.tsv").write_text("".join(f"{test}\t{kind}\t1\t1\t\n"
                                                     for test, kind in told))
            return guest.Result(status, "" if status == 0 else "hung", out, 1, "tcg")

        with mock.patch.object(stress.Stress, "boot_once", boot):
            return *stress.Stress(Path("none")).run("abcd", self.out), asked


class Judge(Room):
    def wrong(self, now, forced=False, before=None):
        return stress.insane([("boot", before or dict.fromkeys(now, 0)), ("mmap", now)], forced)

    def test_sane_counters(self):
        self.assertEqual(self.wrong(SANE), [])
        self.assertEqual(self.wrong(SANE, forced=True), [])

    def test_insane_counters(self):
        for name, change, forced in (
                ("a wrap", {"i_mmap_modify_wait": (1 << 64) - 1}, False),
                ("waits and no sharded file", {**dict.fromkeys(SANE, 0), "i_mmap_walk_wait": 1}, False),
                ("none though forced", dict.fromkeys(SANE, 0), True)):
            with self.subTest(name):
                self.assertEqual(len(self.wrong({**SANE, **change}, forced)), 1)
        self.assertIn("from 4 to 3", self.wrong(SANE, before={**SANE, "i_mmap_modify_wait": 4})[0])
        self.assertEqual(len(stress.insane([], False)), 1)

    def test_same_failure(self):
        one = Found("mmap", "complained", note="WARNING: mm/rmap.c:12 at f+0x1a/0x20, CPU#3")
        self.assertTrue(one.same_as(Found("mmap", "complained",
                                          note="WARNING: mm/rmap.c:99 at f+0x3b/0x21, CPU#0")))
        self.assertFalse(one.same_as(Found("mmap", "complained",
                                           note="WARNING: mm/vma.c:12 at g+0x1a/0x20, CPU#3")))
        self.assertFalse(one.same_as(Found("mmap", "ok")))

    def test_trouble(self):
        rows = "".join(f"mmap\t{name}\t{value}\n" for name, value in SANE.items())
        bad = rows.replace("i_mmap_mixed\t1", f"i_mmap_mixed\t{1 << 63}")
        good = [Found("mmap", "ok"), Found("vm", "skipped"), Found("fork", "idle")]
        for name, found, result, words in (
                ("none", good, self.result(0, i_mmap=rows), []),
                ("a test", [*good, Found("a", "stuck")], self.result(0, i_mmap=rows), ["a"]),
                ("the job", good, self.result(1, i_mmap=rows), ["the guest"]),
                ("its kernel", good, self.result(0, "says BUG", i_mmap=rows), ["the guest"])):
            with self.subTest(name):
                self.assertEqual([word for word, _, _ in stress.trouble_of(found, [result], "")],
                                 words)
        result = self.result(0, i_mmap=bad)
        self.assertEqual([word for word, _, _ in stress.trouble_of(good, [result], "")],
                         ["counters"])

    def test_leak(self):
        self.assertEqual(stress.leaked(self.out, 4), [])
        self.slabs(4 * stress.LEFT + 1)
        self.assertEqual(len(stress.leaked(self.out, 4)), 1)
        (self.out / "slabinfo").write_text("")
        self.assertEqual(len(stress.leaked(self.out, 4)), 1)


class Soak(Room):
    def soak(self, rounds, hours=1.0):
        args = mock.Mock(flavour="patched-stress", hours=hours, seed=1, out=self.out, seconds=1,
                         tests=20)
        with mock.patch.object(stress, "soak_round", side_effect=rounds) as called, \
                mock.patch("builtins.print") as said:
            status = stress.soak(args)
        return status, called.call_count, said.call_args_list[-1].args[0]

    def test_first_trouble_ends_it(self):
        status, rounds, last = self.soak([(20, []), (3, [("mmap", "stuck", "there")])])
        self.assertEqual((status, rounds), (1, 2))
        self.assertRegex(last, r"^soak: FAILED, 23 tests in 2 boots, .* seed 1$")

    def test_time_ends_it(self):
        status, rounds, last = self.soak([(20, [])], hours=1e-9)
        self.assertEqual((status, rounds), (0, 1))
        self.assertRegex(last, r"^soak: passed, 20 tests in 1 boots")
