# SPDX-License-Identifier: GPL-2.0
"""lab/model/model.py and lab/model/queueing.py: the arithmetic against what is known of it,
each of two ways to calculate against the other, and the model against what was published."""

import random
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import sandbox  # noqa: F401

import model    # noqa: E402
import queueing # noqa: E402
from queueing import Layout, Line, Lock # noqa: E402

FLAT = Layout(1, 32, 32, 1, (0.0,) * 5)         # lines take no time
FAR = Layout(4, 8, 8, 1, (0.2,) * 5)            # or the same everywhere


def checked(tree):
    """The VMAs of a tree that is what it should be."""
    def below(vma, low, high):
        if vma is None:
            return 1, -1, 0
        assert low <= vma.start <= high, "out of order"
        assert all(kid is None or kid.up is vma for kid in vma.kids), "not its parent"
        assert not (vma.red and any(kid and kid.red for kid in vma.kids)), "red below red"
        (left, most, some), (right, best, more) = (below(vma.kids[0], low, vma.start),
                                                   below(vma.kids[1], vma.start, high))
        assert left == right, "not balanced"
        assert vma.most == max(vma.last, most, best), "a wrong end of a subtree"
        return left + (not vma.red), vma.most, some + more + 1
    assert tree.root is None or not tree.root.red
    return below(tree.root, 0, 1000)[2]


class Trees(unittest.TestCase):
    def test_stay_balanced(self):
        draw, tree, there = random.Random(1), queueing.Tree(4), []
        for _ in range(3000):
            tree.cpu = draw.randrange(16)
            if there and draw.random() < 0.48:
                tree.remove(there.pop(draw.randrange(len(there))))
            else:
                there.append(queueing.Vma(draw.randrange(9), 9 + draw.randrange(9), tree.cpu))
                tree.insert(there[-1])
            self.assertEqual(checked(tree), len(there))

    def test_one_cpu_has_all_lines(self):
        self.assertEqual(queueing.lines(1, 1), (0, 0))

    def test_a_node_has_its_lines_near(self):
        near, far = queueing.lines(8, 8)
        self.assertEqual(far, 0)
        self.assertGreater(near, 1)

    def test_more_cpus_more_lines_but_slowly(self):
        few, many = (sum(queueing.lines(cpus, 32)) for cpus in (16, 128))
        self.assertGreater(many, 1.3 * few)
        self.assertLess(many, 2 * few)      # three levels, where 16 CPUs have about seven

    def test_an_exec_is_made_as_perf_saw_it(self):
        tree = queueing.Tree(1)
        kinds = list(queueing.visits_of_exec(tree, 0))
        self.assertEqual(tuple(kinds.count(kind) for kind in range(4)), queueing.MIX)
        self.assertIsNone(tree.root)


class Queues(unittest.TestCase):
    LOCKS = [Lock("a", 5, 1.0, 32), Lock("b", 5, 0.5, 32)]

    def test_exact(self):
        # one station: by hand, queues of 1/4 and then 2 * 1.25 / 4.25
        self.assertAlmostEqual(queueing.exact(1, 3, [1]), 1 / 4)
        self.assertAlmostEqual(queueing.exact(2, 3, [1]), 2 / 4.25)
        # no queue without others, and never more than the slowest station serves
        self.assertAlmostEqual(queueing.exact(1, 5, [2, 3]), 1 / 10)
        self.assertAlmostEqual(queueing.exact(1000, 5, [2, 4]), 1 / 4, places=3)

    def test_solved_and_simulated_are_exact_where_that_can_be_had(self):
        for customers in (1, 4, 16, 32):
            with self.subTest(customers=customers):
                exact = queueing.exact(customers, 50, [5, 2.5])
                solved = queueing.solve(customers, 50, self.LOCKS, FLAT)[0]
                simulated = queueing.simulate(customers, 50, self.LOCKS, FLAT,
                                              execs=3000 // customers)
                self.assertAlmostEqual(solved / exact, 1, places=6)
                self.assertAlmostEqual(simulated / exact, 1, delta=0.03)

    def test_a_busy_lock_costs_its_hand_over(self):
        # handed and passed, 0.2 us each time, and 0.5 us held, ten times a round
        one = [Lock("a", 10, 0.5, 32)]
        bound = 1 / (10 * (0.5 + 5 * 0.2))
        self.assertAlmostEqual(queueing.solve(32, 1, one, FAR)[0] / bound, 1, delta=0.01)
        self.assertAlmostEqual(queueing.simulate(32, 1, one, FAR, execs=60) / bound, 1, delta=0.04)

    def test_groups_have_locks_of_their_own(self):
        for solver in (lambda n, group: queueing.solve(n, 9, [Lock("a", 4, 1, group)], FLAT)[0],
                       lambda n, group: queueing.simulate(n, 9, [Lock("a", 4, 1, group)], FLAT,
                                                          execs=3000 // n)):
            self.assertAlmostEqual(solver(32, 8) / (4 * solver(8, 8)), 1, delta=0.05)

    def test_a_line_inside_locks_limits_all_of_them(self):
        line = Line("word", 0)
        one = [Lock("a", 4, 0.1, 8, line=line, inside=3)]
        bound = 1 / (4 * 3 * 0.2)
        simulated = queueing.simulate(32, 1, one, FAR, execs=60)
        self.assertAlmostEqual(simulated / bound, 1, delta=0.04)
        # only four can want it at once: here the approximation is at its worst
        self.assertAlmostEqual(queueing.solve(32, 1, one, FAR)[0] / simulated, 1, delta=0.17)

    def test_simulations_repeat(self):
        runs = {queueing.simulate(8, 9, self.LOCKS, FAR, execs=20) for _ in range(2)}
        self.assertEqual(len(runs), 1)

    def test_walks_keep_others_waiting(self):
        for group in (8, 4):    # takes its turn at one lock, keeps others from two
            stations = [Lock("a", 5, 1.0, group), Lock("b", 5, 0.5, 8)]
            with self.subTest(group=group):
                rates = [queueing.simulate(8, 90, stations, FLAT, execs=600, walks=walks)
                         for walks in (None, ("a", 1 / 500, 500))]
                # half of the time, for a lock that everybody needs
                self.assertAlmostEqual(rates[1] / rates[0], 0.5, delta=0.15)


class Model(unittest.TestCase):
    def test_published_curve(self):
        for copies in model.PUBLISHED:
            with self.subTest(copies=copies):
                ratio = model.execs(model.BASE, model.xeon(copies))[0] / model.published(copies)
                self.assertLess(abs(ratio - 1), 0.1)

    def test_huang(self):
        for name, ratio in model.HUANG.items():
            with self.subTest(name=name):
                found = model.times_base(f"Huang's {name}") / ratio
                self.assertLess(max(found, 1 / found), 1.5)

    def test_what_the_percpu_allocator_is_made_of(self):
        for visits, rate in model.STATIC.items():
            with self.subTest(visits=visits):
                self.assertAlmostEqual(model.static(model.one_socket(), visits) / rate, 1,
                                       delta=0.05)

    def test_solved_is_simulated(self):
        large = model.large(96)
        for layout, names in ((large, model.VARIANTS), (model.xeon(16), [model.BASE]),
                              (model.xeon(128), [model.BASE])):
            for name in names:
                with self.subTest(name=name, cpus=layout.cpus):
                    found = model.simulated(name, layout, rounds=8)
                    self.assertAlmostEqual(model.execs(name, layout)[0] / found, 1, delta=0.1)

    def test_without_a_lock_that_all_share_a_shard_does_not_care_for_others(self):
        p = replace(model.PARAMETERS, lockref=0, writecount=0, folio=0, memcg=0, rest=0)
        one, four = (model.execs(model.SERIES.format(8), model.large(cpus), p, percpu=False)[0]
                     for cpus in (32, 128))
        self.assertAlmostEqual(four / one, 4, delta=0.05)

    def test_a_shared_word_is_a_limit(self):
        name, layout = model.WORD.format(8), model.large(384)
        visits = 2 * max(model.VISITS.values())
        bound = 1e6 / (visits * layout.mean(layout.cpus))
        self.assertAlmostEqual(model.execs(name, layout, percpu=False)[0] / bound, 1, delta=0.02)

    def test_the_least_of_the_limits_is_met(self):
        name, rate = next(iter(model.limits().items()))
        found, busy = model.execs(model.SERIES.format(8), model.large(384))
        self.assertEqual(max(busy, key=busy.get), name)
        self.assertAlmostEqual(found / rate, 1, delta=0.02)

    def test_plots(self):
        with tempfile.TemporaryDirectory() as room:
            for draw, words in ((model.plot, ("8 CPUs a shard", "128-CPU Xeon")),
                                (model.tornado, ("twice of it", "i_mmap lock held"))):
                path = Path(room, draw.__name__)
                draw(path)
                for word in words:
                    self.assertIn(word, path.read_text())


if __name__ == "__main__":
    unittest.main()
