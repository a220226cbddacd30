# SPDX-License-Identifier: GPL-2.0
"""What people do with a machine, on base and on patched: it works, and is not slower."""

import json
import statistics
import tempfile
from pathlib import Path

from harness import must, say, tap

LOADS = ("build", "git", "script", "server", "many")
# of what base takes. Instructions repeat, and what a load takes of them is what it costs;
# seconds of eight vCPUs on a few CPUs scatter, and can only tell what is grossly wrong
MOST_INSTRUCTIONS = 1.01
MOST_SECONDS = 1.5
# how far two counts of one kernel may lie apart: what they are to tell is twice that
REPEATS_WITHIN = 0.005


def spread(samples):
    return (max(samples) - min(samples)) / statistics.median(samples)


def too_slow(base, patched, counted):
    """Why samples of patched are worse than those of base, or cannot tell; or ""."""
    ratio = statistics.median(patched) / statistics.median(base)
    if not counted:
        if ratio > MOST_SECONDS and min(patched) > max(base):
            return f"takes {ratio:.2f} times as long: {base} and {patched}"
        return ""
    apart = max(spread(base), spread(patched))
    if apart > REPEATS_WITHIN:
        return f"counts of one kernel are {apart:.2%} apart: {base} and {patched}"
    if ratio > MOST_INSTRUCTIONS:
        return f"takes {ratio - 1:+.2%} instructions: {base} and {patched}"
    return ""


def judge(samples):
    """A result for each load, by what was counted and with which shards."""
    by_name = {}
    for one in samples:
        by_name.setdefault(one["figure"], {"base": [], "patched": []})[one["side"]].append(one["value"])
    for load in LOADS:
        for unit in ("instructions", "seconds"):
            name = f"workload_{load}_{unit}"
            base = by_name.get(name, {"base": []})["base"]
            for variant in (name, f"{name}_sharded"):
                patched = by_name.get(variant, {"patched": []})["patched"]
                if not (base and patched):
                    tap.fail(f"workloads: {variant}", f"{len(base)} samples of base, {len(patched)} of patched")
                    continue
                say(f"{variant}: {statistics.median(patched) / statistics.median(base):.4f} of base, "
                    f"whose runs are {spread(base):.2%} apart, patched's {spread(patched):.2%}")
                why = too_slow(base, patched, unit == "instructions")
                tap.result(not why, f"workloads: {variant}", why)


def step_workloads():
    """builds, git, scripts, a server and large programs: right results, at base's price"""
    # two boots of each kernel and two of patched with every file sharded, by seconds and
    # by instructions: an hour
    with tempfile.TemporaryDirectory(prefix="check-workloads-") as tmp:
        if must("workloads: all give the right results, with every file sharded, too",
                ["make", "bench", "SETUP=no", "RUNS=2", "LEGS=workloads", "CPUS=8", "NODES=4",
                 "MEM=4G", f"RESULTS={tmp}"], timeout=4 * 3600):
            latest = Path(tmp) / "latest"
            judge(json.loads((latest / "samples.json").read_text()))
            tap.result("<svg" in (latest / "report.html").read_text(),
                       "workloads: the page has its plot", "no svg in report.html")
