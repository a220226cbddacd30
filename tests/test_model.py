# SPDX-License-Identifier: GPL-2.0
"""scripts/model.py: its arithmetic, and that it knows the curve it was made for."""

import sys
import tempfile
import unittest
from pathlib import Path

from sandbox import TOP

sys.path.insert(0, str(TOP / "scripts"))
import model # noqa: E402


class Model(unittest.TestCase):
    def test_mean_value_analysis(self):
        # one station: by hand, queues of 1/4 and then 2 * 1.25 / 4.25
        self.assertAlmostEqual(model.throughput(1, 3, [1]), 1 / 4)
        self.assertAlmostEqual(model.throughput(2, 3, [1]), 2 / 4.25)
        # no queue without others, and never more than the slowest station serves
        self.assertAlmostEqual(model.throughput(1, 5, [2, 3]), 1 / 10)
        self.assertAlmostEqual(model.throughput(1000, 5, [2, 4]), 1 / 4, places=3)

    def test_published_curve(self):
        for cpus, index in model.PUBLISHED.items():
            with self.subTest(cpus=cpus):
                self.assertLess(abs(model.execs(cpus) / (index * model.EXECS_PER_INDEX) - 1), 0.08)

    def test_shards_are_machines_of_their_own(self):
        self.assertAlmostEqual(model.execs(384, 8), 48 * model.execs(8))
        self.assertEqual(model.execs(8, 16), model.execs(8))

    def test_a_shared_word_is_a_limit(self):
        self.assertAlmostEqual(model.execs(384, 8, 0.1), 1e6 / (2 * 41 * 0.1))
        self.assertEqual(model.execs(16, 8, 0.001), model.execs(16, 8))

    def test_plot(self):
        with tempfile.TemporaryDirectory() as room:
            path = Path(room, "model.svg")
            model.plot(path)
            self.assertIn("8 CPUs a shard", path.read_text())


if __name__ == "__main__":
    unittest.main()
