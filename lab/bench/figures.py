# SPDX-License-Identifier: GPL-2.0
"""A figure of two kernels: medians, the ratio and its 99 % confidence interval."""

import math
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))
from fail import Fail       # noqa: E402, F401

# how far two counts of the same kernel's instructions may lie apart, by what they count:
# make check proves it, and a single run of each side is taken for no more exact than that
REPEATS_WITHIN = {"exec": 0.0005, "fork": 0.002}
# of so many: what happens once in a boot, and not at the same time in each, has less weight
INSTRUCTION_ROUNDS = 2000


# Student's t, two-sided, 99 %, by degrees of freedom (any table of statistics)
STUDENT_T = ((1, 63.66), (2, 9.925), (3, 5.841), (4, 4.604), (5, 4.032), (6, 3.707), (7, 3.499),
             (8, 3.355), (9, 3.250), (10, 3.169), (12, 3.055), (15, 2.947), (20, 2.845),
             (30, 2.750), (60, 2.660), (math.inf, 2.576))


def student_t(freedom):
    """The value for the next lower tabulated degrees of freedom: never too narrow."""
    return next(t for n, t in reversed(STUDENT_T) if n <= max(1, freedom))


@dataclass
class Figure:
    name: str
    unit: str
    higher_is_better: bool
    command: str
    samples: dict = field(default_factory=lambda: {"base": [], "patched": []})
    detail: bool = False        # one lock class of a sum: not in the short table
    no_base: bool = False       # of something that base does not do

    @property
    def complete(self):
        """Both kernels have it; or only the patched one can."""
        return bool(self.samples["patched"]) and bool(self.samples["base"] or self.no_base)

    def median(self, side):
        return statistics.median(self.samples[side]) if self.samples[side] else None

    @property
    def ratio(self):
        base = self.median("base")
        return self.median("patched") / base if base else None

    @property
    def bounds(self):
        """(low, high) of the ratio, or None where the samples cannot tell."""
        base, patched = self.samples["base"], self.samples["patched"]
        if self.ratio is None:
            return None
        if self.runs == 1:
            if self.unit != "instructions":
                return None
            within = REPEATS_WITHIN["exec" if "_per_exec" in self.name else "fork"]
            return self.ratio * (1 - within), self.ratio * (1 + within)
        mean = statistics.mean(base)
        ratio = statistics.mean(patched) / mean
        # variances of both means, as they go into the ratio
        parts = [statistics.variance(patched) / len(patched) / mean ** 2,
                 ratio ** 2 * statistics.variance(base) / len(base) / mean ** 2]
        freedom = sum(part ** 2 / (len(s) - 1) for part, s in zip(parts, (patched, base)))
        reach = 0
        if freedom:
            reach = student_t(sum(parts) ** 2 / freedom) * math.sqrt(sum(parts))
        return min(max(0, ratio - reach), self.ratio), max(ratio + reach, self.ratio)

    @property
    def runs(self):
        return min(len(s) for s in self.samples.values() if s)

    def verdict(self):
        if self.samples["base"] == self.samples["patched"]:
            return "no difference measured"
        if self.no_base:
            return "base has nothing like it"
        if self.ratio is None:
            return "no ratio: base is 0"
        if self.bounds is None:
            return "one run: its spread is not known"
        low, high = self.bounds
        if low <= 1 <= high:
            return "no difference measured"
        better = (self.ratio > 1) == self.higher_is_better
        return f"{'better' if better else 'WORSE'}: {(self.ratio - 1) * 100:+.2f} %"
