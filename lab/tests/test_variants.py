# SPDX-License-Identifier: GPL-2.0
"""lab/bench/variants.py: its table, what it has the guest do, and what it refuses."""

from sandbox import TOP, Sandbox

import variants     # noqa: E402
from fail import Fail


class Variants(Sandbox):
    def test_each_is_beside_base(self):
        load = "fork"
        samples = {"base": [{load: {"p50_us": us, "touches": 100}} for us in (99, 100, 101)],
                   "keep": [{load: {"p50_us": us, "touches": 100}} for us in (499, 500, 501)]}
        lines = variants.table(samples, ["base", "keep"], [load]).splitlines()
        self.assertEqual(lines[0], "| load | | base | keep |")
        self.assertEqual(lines[2], "| fork | pages touched | 100 | 1.00 (1.00-1.00) |")
        self.assertRegex(lines[3], r"^\|  \| call p50, us \| 100 \| \*\*5\.00\*\* \(4\.\d\d-5\.\d\d\) \|$")
        self.assertEqual(len(lines), 4)     # nobody has measured the others

    def test_one_run_has_no_bounds(self):
        one = {"fork": {"p50_us": 50}}
        self.assertIn("| 50 | 1.00 |", variants.table({"base": [one], "keep": [one]}, ["base", "keep"], ["fork"]))

    def test_what_base_has_none_of_is_told_of_the_others(self):
        samples = {"base": [{"fork": {"touches": 0, "io_with_mmap_lock": 0}}],
                   "keep": [{"fork": {"touches": 0, "io_with_mmap_lock": 5}}]}
        lines = variants.table(samples, ["base", "keep"], ["fork"]).splitlines()
        self.assertEqual(lines[2:], ["| fork | reads begun under `mmap_lock` | 0 | 5 |"])

    def test_swap_is_on_for_its_load_only(self):
        lines = variants.script(["swap, mprotect of parts", "fork, 1,000 VMAs"], 3).splitlines()
        self.assertLess(lines.index("busybox swapoff /dev/nullb0"),
                        next(n for n, line in enumerate(lines) if "fault_storm fork" in line))

    def test_what_it_does_not_know_it_names(self):
        with self.assertRaisesRegex(Fail, "no variant never: there are base, "):
            variants.chosen("never", variants.VARIANTS, "variant")

    def test_each_experiment_is_measured(self):
        self.assertEqual({path.name for path in (TOP / "postings/experiments").iterdir()},
                         {patch for _, _, patch in variants.VARIANTS.values() if patch})
