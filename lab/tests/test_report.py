# SPDX-License-Identifier: GPL-2.0
"""lab/bench/report.py: the arithmetic of the figures, and what it says of them."""

import json

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
            for mode in ("exec", "exec-private"):
                self.storm(f"{name}/runs/{run}/{mode}", rate=rate, **more)
            if locks:
                self.write(f"{name}/runs/{run}/exec.lock_stat", locks)
        return str(self.write(f"{name}/machine.txt", f"Linux {name}\ncpus 8, nodes {nodes}\n").parent)

    def storm(self, path, **more):
        """What exec_storm writes."""
        self.write(f"{path}.json", json.dumps(
            {"mode": "exec", "workers": 8, "rate": 1, "rounds": 1000, "failures": [], **more}))

    def figures(self, path):
        rows = [line.split("\t") for line in (path / "figures.tsv").read_text().splitlines()]
        self.assertEqual(rows[0], "name unit base patched ratio low high runs command".split())
        return {row[0]: dict(zip(rows[0], row)) for row in rows[1:]}

    def compared(self, one, other):
        """The figures of two results or suites, and what is said of them."""
        out = self.room / "out"
        said = self.good("bench/report.py", "compare", str(self.room / one), str(self.room / other),
                         "--out", str(out))
        return self.figures(out), said

    def shown(self):
        """Those of the result that boots make."""
        said = self.good("bench/report.py", "show", str(self.room / "result"))
        return self.figures(self.room / "result"), said

    def assert_sides(self, rows, expected):
        """{figure: (base, patched)} is all there is."""
        self.assertEqual({name: (row["base"], row["patched"]) for name, row in rows.items()}, expected)

    def test_two_machines(self):
        rows, text = self.compared(self.suite("a", [100, 102, 98]), self.suite("b", [150, 151, 149]))
        self.assertIn("NOT alternated", text)
        self.assertNotIn("NOT the same machine", text)
        row = rows["exec_rate_cpus_8"]
        self.assertEqual((row["base"], row["patched"], row["ratio"], row["runs"]),
                         ("100", "150", "1.5", "3"))
        self.assertIn("exec_rate_private_cpus_8", rows)
        self.assertNotIn("note:", text)
        out = self.room / "out"
        for line in (out / "cover.txt").read_text().splitlines():
            self.assertLessEqual(len(line), 80)
        self.assertIn("exec_rate_cpus_8", (out / "report.html").read_text())
        self.assertEqual(len(json.loads((out / "samples.json").read_text())), 12)
        self.assertIn("NOT the same machine: storm-suite: cpus 8, nodes 4 and cpus 8, nodes 2",
                      self.compared("a", self.suite("c", [150], nodes=2))[1])

    def server(self, name, kernel, cmdline, sharding, governor="8 performance"):
        self.suite(name, [100, 101, 102])
        for file, text in (("machine", f"Linux {kernel}\ncpus 8, nodes 4\n{cmdline}\n"),
                           ("sharding", f"{sharding}\n"), ("governor", f"   {governor}\n")):
            self.write(f"{name}/{file}.txt", text)
        return name

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
                text = self.compared(engaged, self.server(name, *other))[1]
                notes = [line for line in text.splitlines() if line.startswith("note: ")]
                self.assertEqual(len(notes), 1 if words else 0)
                self.assertIn(words or "", text)
                self.assertIn("sharding engaged: 40 files", text)
        self.assertIn("NEITHER has sharded", self.compared("fair", "base")[1])

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
            self.write(f"{name}/runs/1/unixbench", self.UNIXBENCH.format(1, "copy", "100.0")
                       + self.UNIXBENCH.format(8, "copies", index))
        rows, _ = self.compared("a", "b")
        self.assert_sides({name: row for name, row in rows.items() if name.startswith("unixbench")}, {
            f"unixbench_{name}_index_copies_{copies}": values for name, copies, values in (
                ("execl", 1, ("100", "100")), ("execl", 8, ("348.8", "700.5")),
                ("shell1", 1, ("471.7", "471.7")), ("shell1", 8, ("471.7", "471.7")),
                ("shell8", 1, ("500", "500")), ("shell8", 8, ("500", "500")))})
        self.write("a/runs/1/unixbench", "Run: aborting\n")
        self.refused("has no index", "bench/report.py", "compare", str(self.room / "a"), str(self.room / "b"))

    def test_launchers_have_figures_of_their_own(self):
        for name in ("a", "b"):
            self.suite(name, [1])
            self.storm(f"{name}/runs/1/launcher_spawn", mode="launcher_spawn", rate=5, rounds=9)
        self.assertEqual(self.compared("a", "b")[0]["launcher_spawn_rate_cpus_8"]["base"], "5")

    def test_locks_are_counted_per_exec(self):
        rows, _ = self.compared(self.suite("a", [1], LOCK_STAT), self.suite("b", [1], LOCK_STAT))
        self.assertEqual(rows["i_mmap_contentions_per_1000_execs"]["base"], "50")
        self.assertEqual(rows["i_mmap_bounces_per_1000_execs"]["base"], "720")
        self.assertEqual(rows["i_mmap_acquisitions_per_exec"]["base"], "3.5")
        self.assertEqual(rows["contentions_per_1000_execs[&dentry->d_lock]"]["base"], "60")
        self.assertEqual(rows["i_mmap_acquisitions_per_exec"]["unit"], "1/exec")
        self.assertAlmostEqual(float(rows["i_mmap_contentions_per_1000_acquisitions_execs"]["base"]), 50 / 3.5, 2)
        self.assertAlmostEqual(float(rows["i_mmap_bounces_per_1000_acquisitions_execs"]["base"]), 720 / 3.5, 2)
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
        for name in ("a", "b"):
            self.suite(name, [1], LOCK_STAT)
            self.storm(f"{name}/runs/1/fork", mode="fork", rounds=500)
            self.write(f"{name}/runs/1/fork.lock_stat", LOCK_STAT)
        rows, _ = self.compared("a", "b")
        self.assertEqual(rows["i_mmap_contentions_per_1000_execs"]["base"], "50")
        self.assertEqual(rows["i_mmap_contentions_per_1000_fork_rounds"]["base"], "100")

    def test_a_class_that_is_gone_counts_as_zero(self):
        gone = "\n".join(l for l in LOCK_STAT.splitlines() if "d_lock" not in l)
        rows, _ = self.compared(self.suite("a", [1], LOCK_STAT), self.suite("b", [1], gone))
        row = rows["contentions_per_1000_execs[&dentry->d_lock]"]
        self.assertEqual((row["base"], row["patched"], row["ratio"]), ("60", "0", "0"))

    def test_one_run_has_no_verdict(self):
        self.assertIn("spread is not known", figure([100], [90]).verdict())

    def test_instructions(self):
        rows, _ = self.compared(self.suite("a", [1], tsc=5000000), self.suite("b", [1], tsc=5005000))
        row = rows["instructions_per_exec"]
        self.assertEqual((row["base"], row["patched"], row["ratio"]), ("5000", "5005", "1.001"))

    def boot(self, number, side, suffix="", **files):
        """A boot of a result, with these files: {name: text, or what is JSON}; its folder."""
        self.write("result/measured.json", json.dumps({
            "source": ["s", ""], "qemu": "q", "host": "h", "date": "d", "command": "make run"}))
        room = self.room / f"result/boots/{number:03d}"
        for name, what in files.items():
            self.write(room / name, what if isinstance(what, str) else json.dumps(what))
        return self.write(room / "boot.json", json.dumps({
            "side": side, "leg": "x", "cpus": 1, "nodes": 1, "accel": "tcg", "icount": False,
            "command": "c", "kernel": "k", "append": "", "suffix": suffix})).parent

    def counted(self, number, side, suffix, tsc):
        """One with a storm that counted instructions."""
        self.storm(self.boot(number, side, suffix) / "runs/1/exec", workers=1, rounds=1, tsc=tsc)

    def locked(self, number, side, suffix, locks):
        """One with what /proc/lock_stat said of its storm."""
        self.storm(self.boot(number, side, suffix, **{"runs/1/exec.lock_stat": locks}) / "runs/1/exec")

    def test_kinds_of_patched_are_compared_with_the_same_base(self):
        for number, one in enumerate((("base", "", 1000), ("patched", "", 1001), ("patched", "sharded", 1005))):
            self.counted(number, *one)
        self.assert_sides(self.shown()[0], {
            "instructions_per_exec": ("1000", "1001"),
            "instructions_per_exec_one_shard": ("1000", "1001"),
            "instructions_per_exec_sharded": ("1000", "1005")})
        # two that are patched: each has its own of all kinds
        self.assert_sides(self.compared("result", "result")[0], {
            "instructions_per_exec": ("1001", "1001"),
            "instructions_per_exec_one_shard": ("1001", "1001"),
            "instructions_per_exec_sharded": ("1005", "1005")})

    def test_another_kernel_has_a_base_of_its_own(self):
        for number, one in enumerate((("base", "", 1000), ("patched", "", 1001), ("base", "debian", 2000),
                                      ("patched", "debian", 2002), ("patched", "debian_sharded", 2005))):
            self.counted(number, *one)
        for number, (side, suffix) in enumerate((("base", "debian"), ("patched", "debian"),
                                                 ("patched", "debian_forced")), 10):
            self.locked(number, side, suffix, LOCK_STAT)
        rows, _ = self.shown()
        self.assert_sides({name: row for name, row in rows.items() if "instructions" in name}, {
            "instructions_per_exec": ("1000", "1001"),
            "instructions_per_exec_debian": ("2000", "2002"),
            "instructions_per_exec_one_shard": ("1000", "1001"),
            "instructions_per_exec_debian_one_shard": ("2000", "2002"),
            "instructions_per_exec_debian_sharded": ("2000", "2005")})
        names = ("i_mmap_contentions_per_1000_execs_debian", "i_mmap_shared_writes_per_exec_debian")
        self.assert_sides({name: rows[name] for name in names},
                          dict(zip(names, (("50", "50"), ("3.5", "3.5")))))

    def test_lock_stat_of_other_boots(self):
        gone = "\n".join(l for l in LOCK_STAT.splitlines() if "i_mmap_rwsem-" not in l)
        for number, one in enumerate((
                ("base", "", LOCK_STAT), ("patched", "", LOCK_STAT), ("patched", "forced", gone),
                ("base", "96", LOCK_STAT), ("patched", "96", gone), ("patched", "96_3_shards", LOCK_STAT))):
            self.locked(number, *one)
        self.assert_sides({name: row for name, row in self.shown()[0].items()
                           if "shared_writes" in name or name.startswith("i_mmap_bounces")}, {
            "i_mmap_shared_writes_per_exec": ("3.5", "0"),
            "i_mmap_bounces_per_1000_acquisitions_execs": ("205.714", "205.714"),
            "i_mmap_bounces_per_1000_acquisitions_execs_96_3_shards": ("205.714", "205.714"),
            "i_mmap_bounces_per_1000_execs": ("720", "720"),
            "i_mmap_bounces_per_1000_execs[&mapping->i_mmap_rwsem]": ("720", "720"),
            "i_mmap_bounces_per_1000_execs_96": ("720", "0"),
            "i_mmap_bounces_per_1000_execs_96[&mapping->i_mmap_rwsem]": ("720", "0"),
            "i_mmap_bounces_per_1000_execs_96_3_shards": ("720", "720"),
            "i_mmap_bounces_per_1000_execs_96_3_shards[&mapping->i_mmap_rwsem]": ("720", "720")})

    def test_reclaim_that_gave_up(self):
        for number, (side, contended) in enumerate((("base", 30), ("patched", 0))):
            room = self.boot(number, side, "4_shards", **{
                RECLAIM: "# event histogram\n#\n\n"
                         f"{{ ret: {2**64 - 1} }} hitcount: {contended:10}\n" * bool(contended) +
                         "{ ret:          0 } hitcount:         50\n"
                         "{ ret:          7 } hitcount:         20\n\nTotals:\n    Hits: 100\n",
                "vmstat.before": "workingset_refault_file 10\npgsteal_file 100\n",
                "vmstat.after": f"workingset_refault_file {20 + contended}\npgsteal_file 300\n"})
        self.assert_sides(self.shown()[0], {"rmap_contended_percent_4_shards": ("30", "0"),
                                            "refault_percent_4_shards": ("20", "5")})
        self.write(room / "vmstat.after", "workingset_refault_file 10\npgsteal_file 100\n")
        self.refused("no page was reclaimed", "bench/report.py", "show", str(self.room / "result"))
        self.boot(2, "base", **{RECLAIM: "# event histogram\n"})
        self.write(room / "vmstat.after", "workingset_refault_file 10\npgsteal_file 101\n")
        self.refused("counts no call", "bench/report.py", "show", str(self.room / "result"))

    def test_loads(self):
        """Where lock_stat counts, waits for 1,000 rounds; elsewhere, times."""
        for number, (side, waits) in enumerate((("base", 50), ("patched", 10))):
            told = {"workers": 8, "seconds": 5, "rounds": 2000, "p50_us": 1, "p99_us": waits, "max_us": 99}
            self.boot(number, side, **{
                "bench-1.json": {"bench": "split", **told}, "bench-2.json": {"bench": "map_beside_two", **told},
                "bench-1.lock_stat": LOCK_STAT.replace("40             50 ", f"40             {waits} ")})
        self.assert_sides(self.shown()[0], {
            "i_mmap_contentions_split": ("25", "5"), "i_mmap_bounces_split": ("360", "360"),
            "map_beside_two_p50_us": ("1", "1"), "map_beside_two_p99_us": ("50", "10"),
            "map_beside_two_max_us": ("99", "99")})

    def test_what_a_sharded_file_takes(self):
        for number, (side, suffix, promoted, slabs) in enumerate((
                ("base", "", 0, 2000), ("patched", "", 1, 2100), ("patched", "sharded", 10, 9600))):
            self.boot(number, side, suffix, **{"bench-1.json": {
                "bench": "memory", "files": 10, "promoted_at_boot": 0, "promoted": promoted, "slab_bytes": slabs}})
        rows, _ = self.shown()
        self.assertEqual((rows["bytes_per_promoted_file"]["base"], rows["bytes_per_promoted_file"]["patched"]),
                         ("", "750"))
        self.assertEqual((rows["slab_bytes_per_mapped_file_sharded"]["base"],
                          rows["slab_bytes_per_mapped_file_sharded"]["patched"]), ("200", "960"))

    def test_benches(self):
        for number, (side, what, unit, samples) in enumerate((
                ("base", "truncate", "us", [4, 2, 3]), ("patched", "truncate", "us", [6, 7, 5]),
                ("patched", "promote", "us", [20, 30, 10]),
                ("base", "migrate", "us", [8]), ("patched", "migrate", "us", [9]),
                ("base", "punch", "tsc", [100]), ("patched", "punch", "tsc", [110]),
                ("base", "punch_one", "tsc", [90]), ("patched", "punch_one", "tsc", [95]),
                ("base", "fork", "tsc", [1000]), ("patched", "fork", "tsc", [900]))):
            self.boot(number, side, **{"bench.json": {"bench": what, "vmas": 60, "unit": unit, "samples": samples}})
        rows, text = self.shown()
        self.assertEqual((rows["truncate_60_maps_us"]["base"], rows["truncate_60_maps_us"]["patched"]),
                         ("3", "6"))
        for name, unit, patched in (("two_walkers_us", "us", "9"),
                                    ("instructions_per_empty_punch", "instructions", "110"),
                                    ("instructions_per_empty_punch_one_used", "instructions", "95"),
                                    ("instructions_per_fork_60_dso", "instructions", "900")):
            self.assertEqual((rows[name]["unit"], rows[name]["patched"]), (unit, patched))
        row = rows["promotion_60_vmas_us"]
        self.assertEqual((row["base"], row["patched"], row["ratio"], row["runs"]), ("", "20", "", "3"))
        self.assertIn("base has nothing like it", text)
        pair, _ = self.compared("result", "result")     # two patched kernels
        for name, value in (("truncate_60_maps_us", "6"), ("promotion_60_vmas_us", "20")):
            self.assertEqual((pair[name]["base"], pair[name]["patched"]), (value, value))
        page = (self.room / "result/report.html").read_text()
        self.assertRegex(page, '<tr class="" title="[^"]*"><td>promotion_60_vmas_us')

    def test_faults(self):
        counts = {"bench": "faults", "beside": "mmap", "device": "", "seconds": 4, "touches": 2000,
                  "touch_p50_us": 1, "touch_p99_us": 20, "touch_max_us": 30, "p50_us": 2, "p99_us": 4,
                  "max_us": 8, "pgmajfault": 1000, "mmap_lock_reads": 1100, "mmap_lock_wait_us": 50.5,
                  "io": 2000, "io_with_mmap_lock": 3}
        better = counts | {"touches": 4000, "mmap_lock_reads": 10}
        slow = counts | {"beside": "fork", "device": "/dev/vdc", "p99_us": 7, "max_us": 9}
        for number, (side, what) in enumerate((("base", counts), ("patched", better),
                                               ("base", slow), ("patched", slow))):
            self.boot(number, side, **{"bench.json": what})
        self.assert_sides(self.shown()[0], {
            "touches_per_second": ("500", "1000"), "touch_latency_p50": ("1", "1"),
            "touch_latency_p99": ("20", "20"), "touch_latency_max": ("30", "30"),
            "mmap_latency_p50": ("2", "2"), "mmap_latency_p99": ("4", "4"),
            "mmap_latency_max": ("8", "8"),
            "fault_mmap_lock_reads_per_1000_touches": ("550", "2.5"),
            "fault_mmap_lock_wait_us": ("25.25", "12.625"), "fault_mmap_lock_across_io": ("3", "3"),
            "touches_per_second_fork_slow_disk": ("500", "500"),
            "touch_latency_p50_fork_slow_disk": ("1", "1"),
            "touch_latency_p99_fork_slow_disk": ("20", "20"),
            "touch_latency_max_fork_slow_disk": ("30", "30"),
            "fork_latency_p50_slow_disk": ("2", "2"), "fork_latency_p99_slow_disk": ("7", "7"),
            "fork_latency_max_slow_disk": ("9", "9"),
            "fault_mmap_lock_reads_per_1000_touches_fork_slow_disk": ("550", "550"),
            "fault_mmap_lock_wait_us_fork_slow_disk": ("25.25", "25.25"),
            "fault_mmap_lock_across_io_fork_slow_disk": ("3", "3")})
        self.boot(9, "base", **{"bench.json": counts | {"pgmajfault": 0}})
        self.refused("did not have to wait", "bench/report.py", "show", str(self.room / "result"))

    def test_pages_that_reads_bring(self):
        for number, (side, cached) in enumerate((("base", 3286), ("patched", 3795))):
            self.boot(number, side, **{"bench.json": {"bench": "read", "patterns": {
                "random": {"touched": 200, "cached": cached, "major": 190}}}})
        self.assert_sides(self.shown()[0], {"pages_read_random": ("3286", "3795"),
                                            "major_faults_random": ("190", "190")})

    def test_workloads(self):
        def load(number, side, suffix="", **counted):
            promoted = {} if "tsc" in counted else {"promoted": "3\n" if side == "patched" else "0\n"}
            self.boot(number, side, suffix, **promoted, **{"workloads/git.json": {
                "seconds": 4, "rounds": 1, "failures": [], **counted}})
        load(0, "base")
        load(1, "patched", seconds=5)
        load(2, "patched", "sharded", seconds=6)
        load(3, "base", tsc=2e9)
        load(4, "patched", tsc=2002000000)
        load(5, "patched", "sharded", tsc=2010000000)
        rows, text = self.shown()
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
