# SPDX-License-Identifier: GPL-2.0
"""The step that has each posting alone in the tree."""

import unittest
from types import SimpleNamespace
from unittest import mock

import sandbox      # noqa: F401 (for the path)
import harness
from steps import source


class Step(unittest.TestCase):
    def run_step(self, *postings, kernel=lambda flavour: "image"):
        """(the trees that were made, the steps that ran, the names of the results)"""
        trees, ran, tap = [], [], harness.Tap()
        tap.name = "postings"
        steps = {"kunit": lambda: (ran.append("kunit"), tap.ok("a test")),
                 "vmtests": lambda categories: ran.append(categories)}
        with mock.patch.multiple(source, tap=tap, must=lambda name, argv: trees.append(argv[-1]) or True,
                                 kernel_of=kernel, disk=lambda: "disk", lives=lambda title, *a, **kw: tap.ok(title)), \
                mock.patch("series.postings.read", lambda: postings), \
                mock.patch("series.git", lambda *argv: argv[-1]), mock.patch.object(tap, "keep"), \
                mock.patch("evidence.steps", lambda: steps), mock.patch("builtins.print"):
            source.step_postings()
        return trees, ran, [one["name"] for one in tap.results]

    @staticmethod
    def posting(name, *tests, entries=1):
        return SimpleNamespace(name=name, tests=tests, entries=[1] * entries, lines=lambda what: ["7.3"])

    def test_each_is_tested_by_the_steps_that_it_names(self):
        trees, ran, names = self.run_step(self.posting("1-a", "kunit"), self.posting("2-none", entries=0),
                                          self.posting("3-b", "vmtests rmap mmap # short"))
        self.assertEqual(trees, ["", "1-a", "3-b", ""])      # first the branches, whose trees are asked for
        self.assertEqual(ran, ["kunit", ("rmap", "mmap")])
        self.assertEqual(names, ["1-a: boots", "1-a: a test", "3-b: boots"])

    def test_one_that_fails_does_not_stop_the_others(self):
        def none(flavour):
            raise harness.Fail("no kernel")
        trees, ran, names = self.run_step(self.posting("1-a", "kunit"), self.posting("3-b"), kernel=none)
        self.assertEqual((trees, ran), (["", "1-a", "3-b", ""], []))
        self.assertEqual(names, ["1-a: goes on to its end", "3-b: goes on to its end"])
