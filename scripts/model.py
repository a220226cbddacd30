#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a machine larger than any guest should make of the series: a model.

  model.py                the table
  model.py --plot FILE    and a plot of it, as SVG

Nothing here is measured. It is a closed queueing network, solved exactly by mean
value analysis (Reiser and Lavenberg, 1980): each CPU execs for ever, which takes
it the time that one CPU alone needs, and visits three locks on the way, those of
the C library, of the dynamic linker and of the program. A visit lasts as long as
the lock is held, and what it takes to get its cache lines from another CPU.

Three parameters, HELD, HANDED and FARTHER, are chosen such that the model agrees
with the one published curve of a large machine (UnixBench execl, 128 CPUs); how
well it does is the first table. SHARED, the time in which a line moves from one
CPU to another that only adds to it, is the usual order of magnitude: the lines
that depend on it show half and twice that as well. They are upper bounds, what the
shards allow or what the word allows, since no CPU waits for both there.
"""

import argparse
import math
import shutil
import subprocess
import sys
from pathlib import Path

# index by copies: https://github.com/kdlucas/byte-unixbench/issues/88
PUBLISHED = {1: 1491, 2: 2642, 4: 4604, 8: 8002, 16: 11969, 32: 10794, 64: 8688, 128: 7683}
EXECS_PER_INDEX = 4.3           # UnixBench's baseline of execl, 43.0/s, is index 10
VISITS = (17, 12, 12)           # of an exec without fork to each file's lock
HELD = 0.3                      # us, a lock in the hands of one CPU
HANDED = 0.8                    # us more if another CPU had it before
FARTHER = 0.2                   # us more for each doubling of the CPUs beyond NEAR
NEAR = 16
SHARED = 0.1                    # us, one atomic operation on a line all CPUs write
ALONE = 1e6 / (PUBLISHED[1] * EXECS_PER_INDEX) # us, an exec on an idle machine
MISS = 0.1                      # us, what a walk pays for a shard that is not cached
SHARD_BYTES, SET_BYTES, POINTER_BYTES = 64, 24, 8

SIZES = (128, 384)
PER_SHARD = (32, 16, 8, 4)
BASE, COLORS = "base", ("#555555", "#d95f02", "#7570b3", "#1b9e77", "#e7298a", "#66a61e")


def throughput(customers, think, demands):
    """Exact mean value analysis: rounds per unit of time of so many customers
    who think, and then queue at each station for the time it demands."""
    queues = [0.0] * len(demands)
    rate = 0.0
    for present in range(1, customers + 1):
        stays = [demand * (1 + queue) for demand, queue in zip(demands, queues)]
        rate = present / (think + sum(stays))
        queues = [rate * stay for stay in stays]
    return rate


def visit(cpus):
    """Microseconds for which a visit keeps others from a lock that so many share."""
    handed = HANDED + FARTHER * max(0.0, math.log2(cpus / NEAR))
    return HELD + handed * (cpus - 1) / cpus


def execs(cpus, sharing=None, shared=0.0):
    """Execs per second, with SHARING CPUs at a shard, and a word that all write
    twice in each visit if that takes SHARED microseconds."""
    sharing = min(sharing or cpus, cpus)
    think = ALONE - sum(VISITS) * HELD
    demands = [visits * visit(sharing) for visits in VISITS]
    if not shared:
        return cpus / sharing * throughput(sharing, think, demands) * 1e6
    # not a network any more: everybody queues for the word, but at a shard only
    # those of that shard do. So the lesser of two bounds
    groups = cpus // sharing
    word = 2 * sum(VISITS) * shared
    alone = groups * throughput(sharing, think, demands)
    return min(alone, 1 / word) * 1e6


def rows(cpus):
    """(what, execs per second, times base, us a walk looks at shards, bytes of a set)"""
    base = execs(cpus)
    yield BASE, base, 1.0, 0.0, 0
    for factor in (2, 1, 0.5):
        rate = execs(cpus, 8, SHARED * factor)
        yield f"8 CPUs a shard, shared word {SHARED * factor:g} us, <=", rate, rate / base, *cost(cpus, 8)
    for sharing in PER_SHARD:
        rate = execs(cpus, sharing)
        yield f"{sharing} CPUs a shard", rate, rate / base, *cost(cpus, sharing)


def cost(cpus, sharing):
    shards = math.ceil(cpus / sharing)
    return shards * MISS, SET_BYTES + shards * (SHARD_BYTES + POINTER_BYTES)


def table():
    lines = ["copies   published exec/s   model exec/s   ratio"]
    for cpus, index in PUBLISHED.items():
        rate = index * EXECS_PER_INDEX
        lines.append(f"{cpus:6}   {rate:16.0f}   {execs(cpus):12.0f}   {execs(cpus) / rate:5.2f}")
    for cpus in SIZES:
        lines += ["", f"{f'{cpus} CPUs':42} exec/s   times base   walk, us   bytes a file"]
        lines += [f"{what:40} {rate:8.0f}   {times:10.1f}   {walk:8.1f}   {size:12}"
                  for what, rate, times, walk, size in rows(cpus)]
    return "\n".join(lines)


def plot(path):
    gnuplot = shutil.which("gnuplot")
    if not gnuplot:
        sys.exit("model: no plot, gnuplot is missing: make setup")
    counts = [2 ** n for n in range(9)] + [384]
    curves = {"published": {cpus: index * EXECS_PER_INDEX for cpus, index in PUBLISHED.items()},
              BASE: {cpus: execs(cpus) for cpus in counts},
              f"8 CPUs a shard, a shared word of {SHARED:g} us":
                  {cpus: execs(cpus, 8, SHARED if cpus > 8 else 0) for cpus in counts}}
    for sharing in (32, 16, 8):
        curves[f"{sharing} CPUs a shard"] = {cpus: execs(cpus, sharing) for cpus in counts}
    data, plots = [], []
    for number, ((title, points), color) in enumerate(zip(curves.items(), COLORS)):
        data += [f"$c{number} << EOD", *(f"{x} {y}" for x, y in points.items()), "EOD"]
        style = "points pt 7" if title == "published" else "lines lw 2"
        plots.append(f"$c{number} with {style} lc '{color}' title '{title}'")
    script = "\n".join([
        "set terminal svg size 800,480 font 'sans,13' background '#ffffff'", f"set output '{path}'",
        *data, "set title 'exec on a large machine: a model, not a measurement'",
        "set logscale xy", "set xlabel 'CPUs'", "set ylabel 'exec/s'", "set xrange [1:450]",
        "set xtics (" + ", ".join(str(c) for c in counts) + ")", "set grid lc '#dddddd'",
        "set key left top", "set border 3", "set tics nomirror", "plot " + ", ".join(plots), ""])
    done = subprocess.run([gnuplot], input=script, text=True, capture_output=True, check=False)
    if done.returncode or not Path(path).exists():
        sys.exit(f"model: gnuplot failed: {done.stderr.strip()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="FILE")
    args = parser.parse_args()
    print(table())
    if args.plot:
        plot(args.plot)


if __name__ == "__main__":
    main()
