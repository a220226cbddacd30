#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a machine larger than any guest should make of the series: a model.

  model.py                    the tables
  model.py --plot FILE        and a plot of the rates, as SVG
  model.py --tornado FILE     and one of what the answer depends on
  model.py --fit              how the two fitted parameters were found

Nothing here is measured. CPUs exec for ever, one process each. On the way an exec
visits the i_mmap locks of three files and other locks and lines that CPUs share; a
visit lasts as long as the lock is held, as the cache lines take that have to come
from another CPU, and as long as others have to be waited for (queueing.py; the same
event by event: simulation.py).

How many lines a change of the tree waits for is not a parameter: the tree is kept
as the kernel keeps it, and the lines are counted (lines.py). How long a line takes is published
for processors like those. Two numbers are fitted, held and rest, on the published
curve of UnixBench's execl on 128 CPUs. Huang Shijie's two ratios are predictions of
the same numbers, for what his patches share, and so is what is said of the series.

Not in it: who steals a lock that is being handed over, who sleeps (there are no more
processes than CPUs), forks, that an exec clears percpu memory of every CPU, and every
lock of exec that is not named here. A static exec on 192 CPUs shows that some are
missing: without the percpu allocator the model has it gain more than was measured.
"""

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))
import fail                                             # noqa: E402
from lines import EXIT, LINK, MIX, SPLIT, UNLINK, lines # noqa: E402
from queueing import Layout, Line, Lock, solve          # noqa: E402
from simulation import simulate                         # noqa: E402

# index by copies: https://github.com/kdlucas/byte-unixbench/issues/88
PUBLISHED = {1: 1491, 2: 2642, 4: 4604, 8: 8002, 16: 11969, 32: 10794, 64: 8688, 128: 7683}
EXECS_PER_INDEX = 4.3           # UnixBench's baseline of execl, 43.0/s, is index 10
# https://lore.kernel.org/all/20260413062042.804-1-huangsj@hygon.cn (+77 %, ten runs) and
# https://lore.kernel.org/all/20260611061915.2354307-1-huangsj@hygon.cn ("over 400%")
HUANG = {"v1": 1.77, "v2": 5.0}
VISITS = {"libc": 17, "ld.so": 12, "program": 12} # of an exec without fork; counted on 7.2
CORES = "github.com/nviennot/core-to-core-latency"
ASSUMED = "assumed"


@dataclass(frozen=True)
class Parameters:
    """Times in us, or transfers of a line. Each with where it is from."""
    held: float = 0.04          # an i_mmap lock, besides its lines: fitted
    rest: float = 140           # transfers of other lines in an exec: fitted
    alone: float = 1e6 / (PUBLISHED[1] * EXECS_PER_INDEX)   # an exec, nobody else: published
    # A hand-over, counted in rwsem.c and osq_lock.c: who releases gets the line back from
    # who spins on sem->owner; he reads it; he takes it for his cmpxchg. Before he leaves
    # rwsem_optimistic_spin(), he reads node->next and writes next->locked.
    handed: float = 3
    passed: float = 2
    idle: float = 10            # VMAs of libc per CPU that nobody changes: 6,000 in all, Huang
    # How much longer two threads of a core take that both work: assumed
    smt: float = 0.6
    # Operations on a dentry's lockref in an exec's open and close: get in the walk, get in
    # do_dentry_open(), put after the walk, put in fput(), counted; each is 1.25 transfers,
    # since 20 CPUs that stat() one file do 15.7 M/s of them (18a5daf0e497), 64 ns to 51
    lockref: float = 4 * 1.25
    writecount: float = 4       # of the program's inode: counted in exec.c and fork.c
    # The percpu allocator, for mm_cid and rss_stat, two allocations and two frees (7.3 has a
    # third of each, for sched_cache; without posting 4). Ten such
    # visits took 7.5 us where they were the bottleneck of 26 CPUs (14ef95be6f55): 0.75 us
    # each, 0.25 of it the hand-over; assumed that half of the rest are five lines
    percpu: float = 0.25
    percpu_lines: float = 5
    # lruvec lock of a node in release_pages(): what limited the same 26 CPUs next, at
    # 186 k/s, less a hand-over
    lruvec: float = 5.1
    # A folio of libc that all map, by its counts; and memcg's counters: assumed
    folio: float = 6
    memcg: float = 6
    walk: float = 2000          # a walk of 6,000 VMAs, at two lines each: assumed
    # Between CPUs, on the 12 nodes: of a core and across sockets, as EPYC 7R13; of a cache,
    # as Threadripper 1950X; of a node, as Ryzen 2700X's two caches; of a socket, as 1950X's
    # dies. Hygon's are of their lineage; nobody has published its own.
    core: float = 0.0098
    cache: float = 0.025
    node: float = 0.092
    socket: float = 0.154
    far: float = 0.197
    # CPUs of a cache and nodes of a socket there: assumed
    cache_cpus: float = 8
    socket_nodes: float = 6

    @property
    def machine(self):
        return ((self.core, self.cache, self.node, self.socket, self.far),
                round(self.cache_cpus), round(self.socket_nodes))


PARAMETERS = Parameters()
# static programs, all separate, execs per second of 26 CPUs by visits of the percpu
# allocator (14ef95be6f55), of which percpu and lruvec above were made ...
STATIC = {10: 133544, 4: 186062}
STATIC_ALONE = 650 / 1460       # of a dynamic exec: measured in a guest
# ... and what it gained two sockets of 96 cores to keep percpu memory with mm_struct:
# https://lore.kernel.org/all/20250424080755.272925-8-harry.yoo@oracle.com
KEPT = 1.33
# name: what it is, where it is from
VARIED = {
    "idle": ("VMAs of libc a CPU that do not change", "published"),
    "held": ("i_mmap lock held, besides its lines", "fitted"),
    "rest": ("other lines of an exec", "fitted"),
    "smt": ("what a busy sibling costs", ASSUMED),
    "percpu": ("percpu allocator's lock held", "published"),
    "percpu_lines": ("lines of the percpu allocator", ASSUMED),
    "lruvec": ("lruvec lock held, of an exec", "published"),
    "lockref": ("operations on a dentry", "counted"),
    "folio": ("operations on a folio of libc", ASSUMED),
    "memcg": ("operations on memcg's counters", ASSUMED),
    "handed": ("transfers of a hand-over", "counted"),
    "passed": ("transfers to who spins next", "counted"),
    "cache": ("latency in a cache", "published, related"),
    "node": ("latency in a node", "published, related"),
    "socket": ("latency in a socket", "published, related"),
    "far": ("latency across sockets", "published, related"),
    "cache_cpus": ("CPUs of a cache", ASSUMED),
    "socket_nodes": ("nodes of a socket", ASSUMED),
    "alone": ("an exec, nobody else there", "published, related"),
}
NODE_CPUS, LARGE = 32, 384
SIZES = (2, 4, 8, 16, 32, 64, 128, 256, 384, 512)
PER_SHARD = (32, 16, 8)
MISS = 0.1                      # us, what a walk pays for a shard that is not cached
SHARD_BYTES, SET_BYTES, POINTER_BYTES = 64, 24, 8
BASE, SERIES = "base", "series, {} CPUs a shard"
WORD = "its earlier form, {} CPUs"


# --- machines -------------------------------------------------------------------

@lru_cache(maxsize=None)
def xeon(copies):
    """The published curve's: two Xeon 8369B of 32 cores. Copies are spread over the nodes,
    and over cores first. Latencies are those of its twin, the 8375C (see CORES)."""
    node = max(1, copies // 2)
    return Layout(min(2, copies), node, node, 1, (0.0081, 0.051, 0.051, 0.051, 0.108),
                  threads=2 if copies > 64 else 1)


@lru_cache(maxsize=None)
def large(cpus, machine=PARAMETERS.machine):
    """Nodes of 32 CPUs, all at work; 384 CPUs are Huang's 12 nodes."""
    latency, cache_cpus, socket_nodes = machine
    return Layout(max(1, cpus // NODE_CPUS), min(cpus, NODE_CPUS), cache_cpus, socket_nodes,
                  latency)


def think(layout, p):
    """An exec without its stations; its other lines come from anywhere."""
    alone = p.alone - sum(VISITS.values()) * p.held - 4 * p.percpu - p.lruvec
    return alone * (1 + p.smt * (layout.threads > 1)) + p.rest * layout.mean(layout.cpus)


# --- what an exec visits -----------------------------------------------------------

def lock(p, name, visits, hold, group, **touches):
    return Lock(name, visits, hold, group, handed=p.handed, passed=p.passed, **touches)


def percpu_allocator(layout, p, visits=4):
    everybody = layout.cpus
    return lock(p, "percpu allocator", visits,
                p.percpu + p.percpu_lines * layout.mean(everybody), everybody)


def lruvec(layout, p):
    return lock(p, "lruvec lock", 1, p.lruvec, layout.node_cpus)


def others(layout, p, percpu=True):
    """What an exec shares but i_mmap."""
    yield from (Line(f"dentry of {name}", p.lockref) for name in (*VISITS, "ld.so.cache"))
    yield Line("i_writecount of the program", p.writecount)
    yield Line("a folio of libc", p.folio)
    yield Line("memcg's counters", p.memcg)
    yield lruvec(layout, p)
    if percpu:
        yield percpu_allocator(layout, p)


def fetch(layout, group, p):
    """Microseconds in which a visit gets the lines of a tree of so many CPUs."""
    group = min(group, layout.cpus)
    near, far = lines(group, layout.node_cpus, round(p.idle))
    return near * layout.mean(min(group, layout.node_cpus)) + far * layout.mean(group, False)


def imap(layout, p, group, hold, per_visit=1.0, **touches):
    for name, visits in VISITS.items():
        line = Line(f"word of {name}", 0) if touches else None
        yield lock(p, f"i_mmap of {name}", visits * per_visit, hold, group, line=line, **touches)


def base(layout, p):
    return imap(layout, p, layout.cpus, p.held + fetch(layout, layout.cpus, p))


def v1(layout, p):
    """Huang's first: a tree for each node, of which only its CPUs have lines; one lock,
    under which vma_count moves, in the line of address_space.i_mmap."""
    hold = p.held + fetch(layout, layout.node_cpus, p) + layout.mean(layout.cpus)
    return imap(layout, p, layout.cpus, hold)


def v2(layout, p):
    """His second: a tree with a lock of its own for each node. Each insertion and removal
    adds to address_space.vma_count, and each lock, and each change, reads i_mmap in the
    same line first. By kind of visit, read off the patch:"""
    locks = {LINK: 1, UNLINK: 1, SPLIT: 2, EXIT: 6}
    inside = {LINK: 2, UNLINK: 2, SPLIT: 6, EXIT: 12}   # root, then count, for each change
    each = [sum(MIX[kind] * count for kind, count in counts.items()) / sum(MIX)
            for counts in (locks, inside)]
    hold = (p.held + fetch(layout, layout.node_cpus, p)) / each[0]
    return imap(layout, p, layout.node_cpus, hold, each[0], outside=1, inside=each[1] / each[0])


def word(per_shard):
    """down_read and up_read of i_mmap_rwsem around the shard's lock: its line twice."""
    return lambda layout, p: imap(layout, p, per_shard, p.held + fetch(layout, per_shard, p),
                                  outside=2)


def series(per_shard):
    return lambda layout, p: imap(layout, p, per_shard, p.held + fetch(layout, per_shard, p))


VARIANTS = {BASE: base, "Huang's v1": v1, "Huang's v2": v2,
            **{WORD.format(n): word(n) for n in PER_SHARD},
            **{SERIES.format(n): series(n) for n in PER_SHARD}}
UNLIMITED = ", percpu allocator without a lock"


def stations(variant, layout, p, percpu=True):
    return [*VARIANTS[variant](layout, p), *others(layout, p, percpu)]


def execs(variant, layout, p=PARAMETERS, percpu=True):
    """(execs per second, {station: how busy it is})."""
    rate, busy = solve(layout.cpus, think(layout, p), stations(variant, layout, p, percpu), layout)
    return rate * 1e6, busy


def simulated(variant, layout, p=PARAMETERS, percpu=True, rounds=3, walks=0.0):
    """Execs per second, event by event; so many walks of libc a second."""
    walker = ("i_mmap of libc", walks / 1e6, p.walk) if walks else None
    return 1e6 * simulate(layout.cpus, think(layout, p), stations(variant, layout, p, percpu),
                          layout, execs=rounds, walks=walker)


def times_base(variant, p=PARAMETERS, percpu=True):
    layout = large(LARGE, p.machine)
    return execs(variant, layout, p, percpu)[0] / execs(BASE, layout, p)[0]


def cost(cpus, per_shard):
    """(us in which a walk looks at the shards, bytes of a sharded file)."""
    shards = -(-cpus // per_shard)
    return shards * MISS, SET_BYTES + shards * (SHARD_BYTES + POINTER_BYTES)


def static(layout, visits, p=PARAMETERS):
    """Execs per second of static programs that share no file."""
    found = [lruvec(layout, p), *([percpu_allocator(layout, p, visits)] if visits else [])]
    return 1e6 * solve(layout.cpus, p.alone * STATIC_ALONE, found, layout)[0]


def one_socket():
    return Layout(1, 26, 26, 1, (0.051,) * 5, threads=1)


def two_sockets():
    """As two EPYC 7R13, with eight cores to a cache (see CORES)."""
    return Layout(2, 96, 8, 1, (0.023, 0.023, 0.107, 0.107, 0.197), threads=1)


# --- what it says ---------------------------------------------------------------------

def published(copies):
    return PUBLISHED[copies] * EXECS_PER_INDEX


def check_table():
    yield "copies   published exec/s   model exec/s   ratio   (128-CPU Xeon; held, rest fitted)"
    for copies in PUBLISHED:
        rate = execs(BASE, xeon(copies))[0]
        yield (f"{copies:6}   {published(copies):16.0f}   {rate:12.0f}   "
               f"{rate / published(copies):5.2f}")
    yield ""
    yield "12 nodes, 384 CPUs   published times base   model   ratio   (nothing fitted)"
    for name, ratio in HUANG.items():
        model = times_base(f"Huang's {name}")
        yield (f"{name:18}   {'over ' if name == 'v2' else '':>15}{ratio:5.2f}   {model:5.2f}   "
               f"{model / ratio:5.2f}")
    yield ""
    yield "static programs               published   model   ratio"
    for visits, rate in STATIC.items():
        model = static(one_socket(), visits)
        yield (f"26 CPUs, {visits:2} percpu visits   {rate:12.0f} {model:7.0f}   "
               f"{model / rate:5.2f}   (made of it)")
    model = static(two_sockets(), 0) / static(two_sockets(), 4)
    yield f"192 CPUs, none against 4   {KEPT:14.2f} {model:7.2f}   {model / KEPT:5.2f}"


def busiest(busy):
    name = max(busy, key=busy.get)
    return f"{name} {100 * busy[name]:.0f} %"


def rate_table():
    layout = large(LARGE)
    one = execs(BASE, layout)[0]
    yield f"{f'{LARGE} CPUs, 12 nodes':56} exec/s  simulated  times base  the busiest"
    for percpu in (True, False):
        for name in VARIANTS if percpu else [*VARIANTS][3:]:
            rate, busy = execs(name, layout, percpu=percpu)
            told = name + ("" if percpu else UNLIMITED)
            yield (f"{told:54} {rate:8.0f} {simulated(name, layout, percpu=percpu):10.0f} "
                   f"{rate / one:11.1f}  {busiest(busy)}")
    yield ""
    yield f"{f'walks of libc a second, {PARAMETERS.walk / 1000:g} ms each':40} exec/s, simulated"
    for walks in (0, 10, 100):
        rates = [simulated(name, layout, walks=walks) for name in (BASE, SERIES.format(8))]
        yield f"{walks:6}   base {rates[0]:10.0f}   series {rates[1]:10.0f}"


def limits(p=PARAMETERS):
    """{station: the execs per second which it would allow, if there were no other}."""
    layout = large(LARGE, p.machine)
    found = {}
    for per_shard in PER_SHARD:
        name = "i_mmap of libc"
        one = next(one for one in stations(SERIES.format(per_shard), layout, p)
                   if one.name == name)
        found[f"{name}, {per_shard} CPUs a shard"] = LARGE / one.group / busy_for(one, layout)
    for one in others(layout, p):
        found[one.name] = LARGE / getattr(one, "group", LARGE) / busy_for(one, layout)
    return {name: 1e6 * rate for name, rate in sorted(found.items(), key=lambda item: item[1])}


def busy_for(one, layout):
    """How long an exec keeps a station busy, if others always wait there."""
    if isinstance(one, Line):
        return one.visits * one.transfers * layout.mean(layout.cpus)
    return one.visits * (one.hold + (one.handed + one.passed) * layout.mean(one.group))


def limit_table():
    layout = large(LARGE)
    yield f"{f'what limits the series at {LARGE} CPUs':46} exec/s at most"
    yield from (f"{name:46} {rate:14.0f}" for name, rate in limits().items())
    nobody = 1e6 * LARGE / think(layout, PARAMETERS)
    yield f"{f'{LARGE} CPUs that wait for nobody':46} {nobody:14.0f}"


OUTCOMES = (("v1", "Huang's v1", True), ("v2", "Huang's v2", True),
            ("series", SERIES.format(8), True), ("series, no percpu", SERIES.format(8), False),
            ("32 a shard, no percpu", SERIES.format(32), False))


@lru_cache(maxsize=None)
def sensitivity():
    """[(parameter, [times base with half of it], [with twice of it])], by OUTCOMES."""
    rows = []
    for name in VARIED:
        ends = [[times_base(variant, replace(PARAMETERS, **{name: getattr(PARAMETERS, name) * by}),
                            percpu) for _, variant, percpu in OUTCOMES] for by in (0.5, 2)]
        rows.append((name, *ends))
    return rows


def sensitivity_table():
    yield (f"{'times base with half and twice a parameter':58} "
           + "  ".join(f"{title:>21}" for title, *_ in OUTCOMES))
    middle = [times_base(variant, percpu=percpu) for _, variant, percpu in OUTCOMES]
    yield f"{'as they are':58} " + "  ".join(f"{value:21.1f}" for value in middle)
    for name, half, twice in sensitivity():
        what, source = VARIED[name]
        yield (f"{what:38} {getattr(PARAMETERS, name):7.4g}  {source:9.9}  "
               + "  ".join(f"{f'{a:.1f} .. {b:.1f}':>21}" for a, b in zip(half, twice)))


def cost_table():
    yield f"{LARGE} CPUs, CPUs a shard   look at all shards, us   bytes of a sharded file"
    for per_shard in PER_SHARD:
        walk, size = cost(LARGE, per_shard)
        yield f"{per_shard:22}   {walk:22.1f}   {size:23}"


def fit():
    """The worst disagreement with the published curve, by HELD and REST."""
    yield "held, us   rest   worst"
    for held in (0.02, 0.04, 0.06, 0.08, 0.1, 0.15):
        for rest in (60, 100, 140, 180, 220):
            p = replace(PARAMETERS, held=held, rest=rest)
            worst = max(abs(execs(BASE, xeon(copies), p)[0] / published(copies) - 1)
                        for copies in PUBLISHED)
            yield f"{held:8}   {rest:4}   {100 * worst:4.1f} %"


# --- plots ------------------------------------------------------------------------------

def gnuplot(path, script):
    tool = shutil.which("gnuplot")
    if not tool:
        raise fail.Fail("no plot, gnuplot is missing: make setup")
    done = subprocess.run([tool], input=script, text=True, capture_output=True, check=False)
    if done.returncode or not Path(path).exists():
        raise fail.Fail(f"gnuplot failed: {done.stderr.strip()}")


def block(name, rows):
    return "\n".join([f"${name} << EOD", *rows, "EOD"])


COMMON = ["set grid lc '#dddddd'", "set border 3", "set tics nomirror"]


def plot(path):
    """Two panels: what was published against the model, and the large machine."""
    curves = [(BASE, True, "base", "#555555", 1), ("Huang's v1", True, "Huang's v1", "#a6761d", 1),
              ("Huang's v2", True, "Huang's v2", "#d95f02", 1),
              (SERIES.format(8), True, "series, 8 CPUs a shard", "#1b9e77", 1),
              (WORD.format(8), False, "no percpu lock: 8 CPUs a shard, shared word", "#7570b3", 2),
              *((SERIES.format(n), False, f"no percpu lock: {n} CPUs a shard", color, 2)
                for n, color in ((32, "#e7298a"), (16, "#66a61e"), (8, "#1b9e77")))]
    data = [block("seen", [f"{copies} {published(copies)}" for copies in PUBLISHED]),
            block("said", [f"{copies} {execs(BASE, xeon(copies))[0]}" for copies in PUBLISHED])]
    right = []
    for number, (name, percpu, title, color, dash) in enumerate(curves):
        data.append(block(f"c{number}", [f"{n} {execs(name, large(n), percpu=percpu)[0]}"
                                         for n in SIZES]))
        right.append(f"$c{number} with lines lw 2 dt {dash} lc '{color}' title \"{title}\"")
    one = execs(BASE, large(LARGE))[0]
    for (name, ratio), color in zip(HUANG.items(), ("#a6761d", "#d95f02")):
        data.append(block(f"huang_{name}", [f"{LARGE} {one * ratio}"]))
        right.append(f"$huang_{name} with points pt 7 ps 0.8 lc '{color}' "
                     f"title \"published: {ratio:g} times base ({name})\"")
    gnuplot(path, "\n".join([
        "set terminal svg size 1080,480 font 'sans,13' background '#ffffff'",
        f"set output '{path}'", *data, *COMMON, "set multiplot layout 1,2", "set logscale xy",
        "set format y '%.0s%c'", "set ylabel 'exec/s'", "set xlabel 'copies of execl'",
        "set title '128-CPU Xeon: published, and the model'", "set xrange [1:160]",
        "set yrange [5000:100000]", "set key bottom right",
        "set xtics (" + ", ".join(map(str, PUBLISHED)) + ")",
        "plot $said with lines lw 2 lc '#555555' title 'model', "
        "$seen with points pt 7 lc 'black' title 'published'",
        "set title 'nodes of 32 CPUs: a model, not a measurement'", "set xlabel 'CPUs'",
        "set xrange [2:600]", "set yrange [5000:20000000]",
        "set key top left Left reverse samplen 2 font ',11'",
        "set xtics (" + ", ".join(map(str, SIZES[:-2])) + ", 512)",
        "plot " + ", ".join(right), "unset multiplot", ""]))


def tornado(path):
    """Times base, for half and twice of each parameter, the widest on top; once with the
    percpu allocator's lock, and once without."""
    panels = []
    data = []
    for number, at in enumerate((2, 3)):
        title, variant, percpu = OUTCOMES[at]
        middle = times_base(variant, percpu=percpu)
        rows = sorted(((VARIED[name][0], half[at], twice[at])
                       for name, half, twice in sensitivity()),
                      key=lambda row: max(row[1:]) - min(row[1:]))
        data.append(block(f"t{number}", [
            f'"{what}" {y} {half} {twice}' for y, (what, half, twice) in enumerate(rows)]))
        name = "series" if percpu else "series, no percpu lock"
        ends = [end for row in rows for end in row[1:]]
        marks = [mark for mark in (1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 30, 40, 60, 80, 100, 150, 200)
                 if min(ends) / 2 < mark < max(ends) * 1.4]
        panels += [
            f"set xrange [{min(ends) / 2}:{max(ends) * 1.2}]",
            "set xtics (" + ", ".join(map(str, marks)) + ")",
            f"set title '{name}: {middle:.0f} times base'",
            f"set arrow 1 from {middle},-0.7 to {middle},{len(rows) - 0.3} nohead lc '#555555'",
            f"set yrange [-0.7:{len(rows) - 0.3}]",
            f"plot $t{number} using ({middle}):2:({middle}):3:($2-0.32):($2+0.32):ytic(1) "
            f"with boxxyerror fs solid lc '#7570b3' title 'half of it', "
            f"$t{number} using ({middle}):2:({middle}):4:($2-0.32):($2+0.32) "
            f"with boxxyerror fs solid lc '#d95f02' title 'twice of it'"]
    gnuplot(path, "\n".join([
        "set terminal svg noenhanced size 1180,480 font 'sans,12' background '#ffffff'",
        f"set output '{path}'", *data, *COMMON, "set multiplot layout 1,2", "set logscale x",
        "set xlabel 'times base, 384 CPUs'", "set key bottom left Left reverse", *panels,
        "unset multiplot", ""]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="FILE")
    parser.add_argument("--tornado", metavar="FILE")
    parser.add_argument("--fit", action="store_true")
    args = parser.parse_args()
    for number, table in enumerate((fit,) if args.fit else (
            check_table, rate_table, limit_table, sensitivity_table, cost_table)):
        print("\n" * bool(number) + "\n".join(table()), flush=True)
    if args.plot:
        plot(args.plot)
    if args.tornado:
        tornado(args.tornado)


if __name__ == "__main__":
    fail.main("model", main)
