# SPDX-License-Identifier: GPL-2.0
"""lab/guest/possible.py: the table that says how many CPUs there may be."""

import struct
import sys
import unittest
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "guest"))
import possible     # noqa: E402


def entries(body):
    """(type, what is behind type and length) of each."""
    at = 8
    while at < len(body):
        kind, length = struct.unpack_from("BB", body, at)
        yield kind, body[at + 2:at + length]
        at += length


class Possible(unittest.TestCase):
    def test_as_many_enabled_cpus(self):
        for cpus in (1, 8, possible.MOST):
            cpu = [one for kind, one in entries(possible.table(cpus)) if kind == 0]
            self.assertEqual([one[1] for one in cpu], list(range(cpus)))
            self.assertTrue(all(one[2:] == b"\1\0\0\0" for one in cpu))

    def test_interrupts_as_a_pc_has_them(self):
        kinds = [kind for kind, _ in entries(possible.table(2))]
        self.assertEqual((kinds.count(1), kinds.count(2)), (1, 5))

    def test_no_more_than_have_an_identifier(self):
        for cpus in (0, possible.MOST + 1):
            with self.assertRaises(ValueError):
                possible.table(cpus)
