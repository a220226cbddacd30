# SPDX-License-Identifier: GPL-2.0
"""lab/bench/report.py: the arithmetic of the figures, and what it says of them."""

import json
import sys
from pathlib import Path

from sandbox import Sandbox

from figures import Fail, Figure, student_t # noqa: E402
from read import RECLAIM, lock_classes # noqa: E402

LOCK_STAT = """lock_stat version 0.4
-----------------------------------------------------------------------------------
                              class name    con-bounces    contentions   waittime-min
-----------------------------------------------------------------------------------

              &mapping->i_mmap_rwsem-W:           40             50           0.10         90.00        2000.00          40.00            700           3000           0.10           9.00        5000.00           1.66
              &mapping->i_mmap_rwsem-R:            0              0           0.00          0.00           0.00           0.00             20            500           0.10           9.00         100.00           0.20
              ------------------------
              &mapping->i_mmap_rwsem             25          [<00000000aaaaaaaa>] vma_link_file+0x1/0x2
              ------------------------
              &mapping->i_mmap_rwsem             25          [<00000000bbbbbbbb>] unlink_file_vma+0x1/0x2

..................................................................................................

                   &dentry->d_lock:           30             60           0.10         20.00         300.00           5.00            900           8000           0.10           9.00        1000.00           0.12
"""


def figure(base, patched, higher=True):
    return Figure("f", "1/s", higher, "", {"base": base, "patched": patched})


class Arithmetic(Sandbox):
    def test_median_ratio_and_bounds(self):
        one = figure([100, 110, 90], [200, 210, 190])
        self.assertEqual((one.median("base"), one.ratio), (100, 2))
        # by hand: sqrt(100/3 + 4 * 100/3) / 100 = 0.1291; Welch: 2.9 degrees, t = 9.925
        low, high = one.bounds
        self.assertAlmostEqual(low, 2 - 9.925 * 0.1291, places=3)
        self.assertAlmostEqual(high, 2 + 9.925 * 0.1291, places=3)
        one = figure([100, 101, 99, 100], [200, 201, 199, 200])
        self.assertTrue(1.95 < one.bounds[0] < 2 < one.bounds[1] < 2.05)
        self.assertEqual(one.verdict(), "better: +100.00 %")

    def test_three_runs_that_happen_to_be_apart_prove_nothing(self):
        """Three of three above the others: one time in ten with no difference at all."""
        self.assertEqual(figure([3546, 4045, 4257], [4452, 5073, 5616]).verdict(),
                         "no difference measured")

    def test_student(self):
        self.assertEqual([student_t(n) for n in (0.5, 1, 4.9, 5, 11, 1e9)],
                         [63.66, 63.66, 4.604, 4.032, 3.169, 2.660])

    def test_overlap_is_no_difference(self):
        self.assertEqual(figure([100, 120], [110, 130]).verdict(), "no difference measured")

    def test_worse_is_said_loudly(self):
        self.assertTrue(figure([100, 99, 101], [80, 81, 79]).verdict().startswith("WORSE"))
        self.assertTrue(figure([100, 99, 101], [80, 81, 79], higher=False).verdict().startswith("better"))
        self.assertTrue(figure([80, 81, 79], [100, 99, 101], higher=False).verdict().startswith("WORSE"))

    def test_base_of_zero_has_no_ratio(self):
        self.assertIsNone(figure([0, 0], [1, 1]).ratio)
        self.assertIn("no ratio", figure([0, 0], [1, 1]).verdict())
        self.assertEqual(figure([0, 5, 6], [1, 1, 1]).verdict(), "no difference measured")
        self.assertEqual(figure([0, 0], [0, 0]).verdict(), "no difference measured")

    def test_one_count_of_instructions_is_not_exact(self):
        one = figure([100000], [100020], higher=False)
        one.name, one.unit = "instructions_per_exec_sharded", "instructions"
        self.assertEqual(one.verdict(), "no difference measured")
        one.samples["patched"] = [100100]
        self.assertEqual(one.verdict(), "WORSE: +0.10 %")
        one.name = "instructions_per_fork"  # repeats less exactly
        self.assertEqual(one.verdict(), "no difference measured")

    def test_lock_stat_is_read(self):
        path = self.room / "x.lock_stat"
        path.write_text(LOCK_STAT)
        self.assertEqual(lock_classes(path), {
            "&mapping->i_mmap_rwsem": [50, 720, 3500, 2000],
            "&dentry->d_lock": [60, 900, 8000, 300]})
        path.write_text("")
        with self.assertRaises(Fail):
            lock_classes(path)


class Compare(Sandbox):
    def suite(self, name, rates, locks="", nodes=4, **more):
        for run, rate in enumerate(rates, 1):
            room = self.room / name / "runs" / str(run)
            room.mkdir(parents=True)
            storm = {"mode": "exec", "workers": 8, "rate": rate, "rounds": 1000, "failures": [], **more}
            (room / "exec.json").write_text(json.dumps(storm))
            (room / "exec-private.json").write_text(json.dumps(storm))
            if locks:
                (room / "exec.lock_stat").write_text(locks)
        (self.room / name / "machine.txt").write_text(f"Linux {name}\ncpus 8, nodes {nodes}\n")
        return str(self.room / name)

    def figures(self, path):
        rows = [line.split("\t") for line in (path / "figures.tsv").read_text().splitlines()]
        self.assertEqual(rows[0], "name unit base patched ratio low high runs command".split())
        return {row[0]: dict(zip(rows[0], row)) for row in rows[1:]}

    def test_two_machines(self):
        out = self.room / "out"
        text = self.good("bench/report.py", "compare", self.suite("a", [100, 102, 98]),
                         self.suite("b", [150, 151, 149]), "--out", str(out))
        self.assertIn("NOT alternated", text)
        self.assertNotIn("NOT the same machine", text)
        self.assertIn("NOT the same machine: storm-suite: cpus 8, nodes 4 and cpus 8, nodes 2",
                      self.good("bench/report.py", "compare", str(self.room / "a"),
                                self.suite("c", [150], nodes=2), "--out", str(self.room / "other")))
        row = self.figures(out)["exec_rate_cpus_8"]
        self.assertEqual((row["base"], row["patched"], row["ratio"], row["runs"]),
                         ("100", "150", "1.5", "3"))
        self.assertIn("exec_rate_private_cpus_8", self.figures(out))
        self.assertNotIn("note:", text)
        for line in (out / "cover.txt").read_text().splitlines():
            self.assertLessEqual(len(line), 80)
        self.assertIn("exec_rate_cpus_8", (out / "report.html").read_text())
        self.assertEqual(len(json.loads((out / "samples.json").read_text())), 12)

    def server(self, name, kernel, cmdline, sharding, governor="8 performance"):
        folder = Path(self.suite(name, [100, 101, 102]))
        (folder / "machine.txt").write_text(f"Linux {kernel}\ncpus 8, nodes 4\n{cmdline}\n")
        (folder / "sharding.txt").write_text(f"{sharding}\n")
        (folder / "governor.txt").write_text(f"   {governor}\n")
        return str(folder)

    def test_servers_that_are_no_fair_pair(self):
        engaged = self.server("on", "7.3", "quiet", "engaged: 40 files")
        for name, words, *other in (
                ("fair", None, "7.3", "quiet i_mmap_shards=off", "off: by the boot parameter"),
                ("base", None, "7.3-base", "quiet", "absent: cannot"),
                ("same", "note: NOT two kernels", "7.3", "quiet", "engaged: 40 files"),
                ("idle", "idle did NOT engage: no file", "7.3-x", "quiet", "idle: no file was sharded"),
                ("slow", "governor: 8 performance and 8 powersave", "7.3-x", "quiet", "absent: cannot",
                 "8 powersave")):
            with self.subTest(name):
                text = self.good("bench/report.py", "compare", engaged, self.server(name, *other))
                notes = [line for line in text.splitlines() if line.startswith("note: ")]
                self.assertEqual(len(notes), 1 if words else 0)
                self.assertIn(words or "", text)
                self.assertIn("sharding engaged: 40 files", text)
        self.assertIn("NEITHER has sharded", self.good(
            "bench/report.py", "compare", str(self.room / "fair"), str(self.room / "base")))

    UNIXBENCH = """8 CPUs in system; running {} parallel {} of tests

Execl Throughput                               1500.0 lps   (30.0 s, 1 samples)

System Benchmarks Partial Index              BASELINE       RESULT    INDEX
Execl Throughput                                 43.0       1500.0    {}
Shell Scripts (1 concurrent)                     42.4       2000.0    471.7
Shell Scripts (8 concurrent)                      6.0        300.0    500.0
                                                                   ========
System Benchmarks Index Score (Partial Only)                          436.0
"""

    def test_unixbench(self):
        for name, index in (("a", "348.8"), ("b", "700.5")):
            self.suite(name, [1])
            (self.room / name / "runs/1/unixbench").write_text(
                self.UNIXBENCH.format(1, "copy", "100.0") + self.UNIXBENCH.format(8, "copies", index))
        a, b, out = str(self.room / "a"), str(self.room / "b"), self.room / "out"
        self.good("bench/report.py", "compare", a, b, "--out", str(out))
        rows = self.figures(out)
        self.assertEqual({name: (row["base"], row["patched"]) for name, row in rows.items()
                          if name.startswith("unixbench")}, {
            f"unixbench_{name}_index_copies_{copies}": values for name, copies, values in (
                ("execl", 1, ("100", "100")), ("execl", 8, ("348.8", "700.5")),
                ("shell1", 1, ("471.7", "471.7")), ("shell1", 8, ("471.7", "471.7")),
                ("shell8", 1, ("500", "500")), ("shell8", 8, ("500", "500")))})
        (self.room / "a/runs/1/unixbench").write_text("Run: aborting\n")
        self.refused("has no index", "bench/report.py", "compare", a, b)

    def test_launchers_have_figures_of_their_own(self):
        for name in ("a", "b"):
            (Path(self.suite(name, [1])) / "runs/1/launcher_spawn.json").write_text(json.dumps({
                "mode": "launcher_spawn", "workers": 8, "rate": 5, "rounds": 9, "failures": []}))
        out = self.room / "out"
        self.good("bench/report.py", "compare", str(self.room / "a"), str(self.room / "b"), "--out", str(out))
        self.assertEqual(self.figures(out)["launcher_spawn_rate_cpus_8"]["base"], "5")

    def test_locks_are_counted_per_exec(self):
        out = self.room / "out"
        self.good("bench/report.py", "compare", self.suite("a", [1], LOCK_STAT), self.suite("b", [1], LOCK_STAT),
                  "--out", str(out))
        rows = self.figures(out)
        self.assertEqual(rows["i_mmap_contentions_per_1000_execs"]["base"], "50")
        self.assertEqual(rows["i_mmap_bounces_per_1000_execs"]["base"], "720")
        self.assertEqual(rows["i_mmap_acquisitions_per_exec"]["base"], "3.5")
        self.assertEqual(rows["contentions_per_1000_execs[&dentry->d_lock]"]["base"], "60")
        self.assertEqual(rows["i_mmap_acquisitions_per_exec"]["unit"], "1/exec")
        self.assertNotIn("exec_rate_cpus_8", rows, "lock_stat's own cost is in that rate")

    def test_locks_of_percpu_memory(self):
        """In the fixture there are 1000 execs; a lock that was not taken is not listed."""
        line = next(l for l in LOCK_STAT.splitlines() if "d_lock" in l)
        taken = LOCK_STAT + "".join(line.replace("&dentry->d_lock", name.rjust(15)) + "\n"
                                    for name in ("pcpu_lock", "pcpu_alloc_mutex", "pcpu_other"))
        out = self.room / "out"
        self.good("bench/report.py", "compare", self.suite("a", [1], taken), self.suite("b", [1], LOCK_STAT),
                  "--out", str(out))
        row = self.figures(out)["percpu_locks_per_exec"]
        self.assertEqual((float(row["base"]), float(row["patched"])), (2 * float(line.split()[-5]) / 1000, 0))

    def test_modes_do_not_share_a_figure(self):
        out = self.room / "out"
        for name in ("a", "b"):
            self.suite(name, [1], LOCK_STAT)
            run = self.room / name / "runs/1"
            (run / "fork.json").write_text(json.dumps({
                "mode": "fork", "workers": 8, "rate": 1, "rounds": 500, "failures": []}))
            (run / "fork.lock_stat").write_text(LOCK_STAT)
        self.good("bench/report.py", "compare", str(self.room / "a"), str(self.room / "b"), "--out", str(out))
        rows = self.figures(out)
        self.assertEqual(rows["i_mmap_contentions_per_1000_execs"]["base"], "50")
        self.assertEqual(rows["i_mmap_contentions_per_1000_fork_rounds"]["base"], "100")

    def test_a_class_that_is_gone_counts_as_zero(self):
        out = self.room / "out"
        gone = "\n".join(l for l in LOCK_STAT.splitlines() if "d_lock" not in l)
        self.good("bench/report.py", "compare", self.suite("a", [1], LOCK_STAT), self.suite("b", [1], gone),
                  "--out", str(out))
        row = self.figures(out)["contentions_per_1000_execs[&dentry->d_lock]"]
        self.assertEqual((row["base"], row["patched"], row["ratio"]), ("60", "0", "0"))

    def test_one_run_has_no_verdict(self):
        self.assertIn("spread is not known", figure([100], [90]).verdict())

    def test_instructions(self):
        out = self.room / "out"
        self.good("bench/report.py", "compare", self.suite("a", [1], tsc=5000000), self.suite("b", [1], tsc=5005000),
                  "--out", str(out))
        row = self.figures(out)["instructions_per_exec"]
        self.assertEqual((row["base"], row["patched"], row["ratio"]), ("5000", "5005", "1.001"))

    def boot(self, number, side, **more):
        room = self.room / "result/boots" / f"{number:03d}"
        room.mkdir(parents=True)
        boot = {"side": side, "leg": "x", "cpus": 1, "nodes": 1, "accel": "tcg", "icount": False,
                "command": "c", "kernel": "k", "append": "", "suffix": "", **more}
        (room / "boot.json").write_text(json.dumps(boot))
        (self.room / "result/measured.json").write_text(json.dumps({
            "source": ["s", ""], "qemu": "q", "host": "h", "date": "d", "command": "make run"}))
        return room

    def test_kinds_of_patched_are_compared_with_the_same_base(self):
        for number, (side, suffix, tsc) in enumerate((
                ("base", "", 1000), ("patched", "", 1001), ("patched", "sharded", 1005))):
            room = self.boot(number, side, suffix=suffix) / "runs/1"
            room.mkdir(parents=True)
            (room / "exec.json").write_text(json.dumps({
                "mode": "exec", "workers": 1, "rounds": 1, "tsc": tsc, "failures": []}))
        self.good("bench/report.py", "show", str(self.room / "result"))
        rows = self.figures(self.room / "result")
        self.assertEqual({name: (row["base"], row["patched"]) for name, row in rows.items()}, {
            "instructions_per_exec": ("1000", "1001"),
            "instructions_per_exec_one_shard": ("1000", "1001"),
            "instructions_per_exec_sharded": ("1000", "1005")})
        # two that are patched: each has its own of all kinds
        pair, result = self.room / "pair", str(self.room / "result")
        self.good("bench/report.py", "compare", result, result, "--out", str(pair))
        self.assertEqual({name: (row["base"], row["patched"]) for name, row in self.figures(pair).items()}, {
            "instructions_per_exec": ("1001", "1001"),
            "instructions_per_exec_one_shard": ("1001", "1001"),
            "instructions_per_exec_sharded": ("1005", "1005")})

    def test_another_kernel_has_a_base_of_its_own(self):
        for number, (side, suffix, tsc) in enumerate((
                ("base", "", 1000), ("patched", "", 1001), ("base", "debian", 2000),
                ("patched", "debian", 2002), ("patched", "debian_sharded", 2005))):
            room = self.boot(number, side, suffix=suffix) / "runs/1"
            room.mkdir(parents=True)
            (room / "exec.json").write_text(json.dumps({
                "mode": "exec", "workers": 1, "rounds": 1, "tsc": tsc, "failures": []}))
        for number, (side, suffix) in enumerate((("base", "debian"), ("patched", "debian"),
                                                 ("patched", "debian_forced")), 10):
            self.locked(number, side, suffix, LOCK_STAT)
        self.good("bench/report.py", "show", str(self.room / "result"))
        rows = {name: (row["base"], row["patched"]) for name, row in
                self.figures(self.room / "result").items() if "[" not in name}
        self.assertEqual({name: both for name, both in rows.items() if "instructions" in name}, {
            "instructions_per_exec": ("1000", "1001"),
            "instructions_per_exec_debian": ("2000", "2002"),
            "instructions_per_exec_one_shard": ("1000", "1001"),
            "instructions_per_exec_debian_one_shard": ("2000", "2002"),
            "instructions_per_exec_debian_sharded": ("2000", "2005")})
        self.assertEqual(rows["i_mmap_contentions_per_1000_execs_debian"], ("50", "50"))
        self.assertEqual(rows["i_mmap_shared_writes_per_exec_debian"], ("3.5", "3.5"))

    def locked(self, number, side, suffix, locks):
        """A boot with what /proc/lock_stat said of its storm."""
        room = self.boot(number, side, suffix=suffix) / "runs/1"
        room.mkdir(parents=True)
        (room / "exec.json").write_text(json.dumps({
            "mode": "exec", "workers": 8, "rate": 1, "rounds": 1000, "failures": []}))
        (room / "exec.lock_stat").write_text(locks)

    def test_lock_stat_of_other_boots(self):
        gone = "\n".join(l for l in LOCK_STAT.splitlines() if "i_mmap_rwsem-" not in l)
        for number, (side, suffix, locks) in enumerate((
                ("base", "", LOCK_STAT), ("patched", "", LOCK_STAT), ("patched", "forced", gone),
                ("base", "96", LOCK_STAT), ("patched", "96", gone),
                ("patched", "96_3_shards", LOCK_STAT))):
            room = self.boot(number, side, suffix=suffix) / "runs/1"
            room.mkdir(parents=True)
            (room / "exec.json").write_text(json.dumps({
                "mode": "exec", "workers": 8, "rate": 1, "rounds": 1000, "failures": []}))
            (room / "exec.lock_stat").write_text(locks)
        self.good("bench/report.py", "show", str(self.room / "result"))
        rows = self.figures(self.room / "result")
        self.assertEqual({name: (row["base"], row["patched"]) for name, row in rows.items()
                          if "shared_writes" in name or name.startswith("i_mmap_bounces")}, {
            "i_mmap_shared_writes_per_exec": ("3.5", "0"),
            "i_mmap_bounces_per_1000_execs": ("720", "720"),
            "i_mmap_bounces_per_1000_execs[&mapping->i_mmap_rwsem]": ("720", "720"),
            "i_mmap_bounces_per_1000_execs_96": ("720", "0"),
            "i_mmap_bounces_per_1000_execs_96[&mapping->i_mmap_rwsem]": ("720", "0"),
            "i_mmap_bounces_per_1000_execs_96_3_shards": ("720", "720"),
            "i_mmap_bounces_per_1000_execs_96_3_shards[&mapping->i_mmap_rwsem]": ("720", "720")})

    def test_reclaim_that_gave_up(self):
        for number, (side, contended) in enumerate((("base", 30), ("patched", 0))):
            (self.boot(number, side) / RECLAIM).write_text(
                "# event histogram\n#\n\n"
                f"{{ ret: {2**64 - 1} }} hitcount: {contended:10}\n" * bool(contended) +
                "{ ret:          0 } hitcount:         50\n"
                "{ ret:          7 } hitcount:         20\n\nTotals:\n    Hits: 100\n")
        self.good("bench/report.py", "show", str(self.room / "result"))
        row = self.figures(self.room / "result")["rmap_contended_percent"]
        self.assertEqual((row["base"], row["patched"], row["unit"]), ("30", "0", "%"))
        (self.boot(2, "base") / RECLAIM).write_text("# event histogram\n")
        self.refused("counts no call", "bench/report.py", "show", str(self.room / "result"))

    def test_benches(self):
        for number, (side, what, unit, samples) in enumerate((
                ("base", "truncate", "us", [4, 2, 3]), ("patched", "truncate", "us", [6, 7, 5]),
                ("patched", "promote", "us", [20, 30, 10]),
                ("base", "migrate", "us", [8]), ("patched", "migrate", "us", [9]),
                ("base", "punch", "tsc", [100]), ("patched", "punch", "tsc", [110]),
                ("base", "fork", "tsc", [1000]), ("patched", "fork", "tsc", [900]))):
            room = self.boot(number, side)
            (room / "bench.json").write_text(json.dumps({
                "bench": what, "vmas": 60, "unit": unit, "samples": samples}))
        text = self.good("bench/report.py", "show", str(self.room / "result"))
        rows = self.figures(self.room / "result")
        self.assertEqual((rows["truncate_60_maps_us"]["base"], rows["truncate_60_maps_us"]["patched"]),
                         ("3", "6"))
        for name, unit, patched in (("two_walkers_us", "us", "9"),
                                    ("instructions_per_empty_punch", "instructions", "110"),
                                    ("instructions_per_fork_60_dso", "instructions", "900")):
            self.assertEqual((rows[name]["unit"], rows[name]["patched"]), (unit, patched))
        row = rows["promotion_60_vmas_us"]
        self.assertEqual((row["base"], row["patched"], row["ratio"], row["runs"]), ("", "20", "", "3"))
        self.assertIn("base has nothing like it", text)
        pair, result = self.room / "pair", str(self.room / "result")
        self.good("bench/report.py", "compare", result, result, "--out", str(pair))
        row = self.figures(pair)["truncate_60_maps_us"]
        self.assertEqual((row["base"], row["patched"]), ("6", "6"), "two patched kernels")
        row = self.figures(pair)["promotion_60_vmas_us"]
        self.assertEqual((row["base"], row["patched"]), ("20", "20"))
        page = (self.room / "result/report.html").read_text()
        self.assertRegex(page, '<tr class="" title="[^"]*"><td>promotion_60_vmas_us')

    def test_faults(self):
        counts = {"bench": "faults", "beside": "mmap", "device": "", "pgmajfault": 1000,
                  "ru_majflt": 990, "mmap_lock_reads": 1100, "mmap_lock_wait_us": 50.5,
                  "io": 2000, "io_with_mmap_lock": 3, "vma_lock_retry": 1000}
        better = counts | {"mmap_lock_reads": 10}
        slow = counts | {"beside": "fork", "device": "/dev/vdc", "p99_us": 7, "max_us": 9}
        for number, (side, what) in enumerate((("base", counts), ("patched", better),
                                               ("base", slow), ("patched", slow))):
            (self.boot(number, side) / "bench.json").write_text(json.dumps(what))
        self.good("bench/report.py", "show", str(self.room / "result"))
        rows = self.figures(self.room / "result")
        self.assertEqual({name: (row["base"], row["patched"]) for name, row in rows.items()}, {
            "fault_mmap_lock_reads_per_1000_major": ("1100", "10"),
            "fault_mmap_lock_wait_us": ("50.5", "50.5"), "fault_mmap_lock_across_io": ("3", "3"),
            "majflt_error_percent": ("1", "1"),
            "fork_latency_p99": ("7", "7"), "fork_latency_max": ("9", "9")})
        (self.boot(9, "base") / "bench.json").write_text(json.dumps(counts | {"pgmajfault": 0}))
        self.refused("did not have to wait", "bench/report.py", "show", str(self.room / "result"))

    def test_workloads(self):
        def load(number, side, suffix="", failures=(), **counted):
            room = self.boot(number, side, suffix=suffix) / "workloads"
            room.mkdir()
            (room / "git.json").write_text(json.dumps(
                {"seconds": 4, "rounds": 1, "failures": list(failures), **counted}))
            if "tsc" not in counted:
                (room.parent / "promoted").write_text("3\n" if side == "patched" else "0\n")
        load(0, "base")
        load(1, "patched", seconds=5)
        load(2, "patched", "sharded", seconds=6)
        load(3, "base", tsc=2e9)
        load(4, "patched", tsc=2002000000)
        load(5, "patched", "sharded", tsc=2010000000)
        text = self.good("bench/report.py", "show", str(self.room / "result"))
        rows = self.figures(self.room / "result")
        self.assertEqual({name: (row["unit"], row["base"], row["patched"]) for name, row in rows.items()}, {
            "promoted_files_after_builds": ("files", "", "3"),
            "workload_git_seconds": ("s", "4", "5"),
            "workload_git_seconds_sharded": ("s", "4", "6"),
            "workload_git_instructions": ("million instructions", "2000", "2002"),
            "workload_git_instructions_sharded": ("million instructions", "2000", "2010")})
        self.assertIn(" 1.0010  one run: its spread is not known", text)
        page = (self.room / "result/report.html").read_text()
        self.assertIn("workloads: patched / base", page)
        load(6, "base", failures=["worker 0: exited with status 1"])
        self.refused("the load itself failed", "bench/report.py", "show", str(self.room / "result"))

    def test_what_is_no_result_is_refused(self):
        good = self.suite("a", [1])
        self.refused("is not a folder", "bench/report.py", "compare", good, str(self.room / "none"))
        (self.room / "empty").mkdir()
        self.refused("no runs of storm-suite", "bench/report.py", "compare", good, str(self.room / "empty"))
        self.refused("no measurement", "bench/report.py", "show", str(self.room / "empty"))
        self.refused("the storm itself failed", "bench/report.py", "compare", good,
                     self.suite("bad", [1], failures=["worker 3: killed"]))
