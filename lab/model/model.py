#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a machine larger than any guest should make of the series: a model.

  model.py                    the tables
  model.py --plot FILE        and a plot of the rates, as SVG
  model.py --tornado FILE     and one of what the answer depends on
  model.py --fit              how the fitted parameters were found

Nothing here is measured. CPUs exec for ever, one process each. On the way an exec
visits the i_mmap locks of three files, the percpu allocator's lock, and lines that all
CPUs write; a visit lasts as long as the lock is held, as the cache lines take that come
from another CPU, and as long as others have to be waited for (queueing.py; the same
event by event: simulation.py).

What an exec shares was counted (counts.py), by classes of lines. Those of files' folios
and the rest move a constant number of times in an exec, wherever they come from; percpu
memory in proportion to the CPUs. Those of a tree grow with its depth (lines.py), from
what was counted of a small one. How long a line takes is published for processors like
those. Two numbers are fitted, held and wait, on the published curve of UnixBench's execl
on 128 CPUs; lruvec is made of one published rate. All else that was published is a test.

Not in it: who steals a lock that is being handed over, who sleeps (there are no more
processes than CPUs), forks, walks of a file, and every lock of exec that is not named here.
"""

import argparse
import itertools
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))
import fail                                             # noqa: E402
from counts import CUT, EXEC, FOLIOS, PERCPU, REST, TREE, Counts    # noqa: E402
from lines import EXIT, LINK, MIX, SPLIT, UNLINK, lines # noqa: E402
from queueing import Layout, Line, Lock, solve          # noqa: E402
from simulation import simulate                         # noqa: E402

# index by copies: https://github.com/kdlucas/byte-unixbench/issues/88
PUBLISHED = {1: 1491, 2: 2642, 4: 4604, 8: 8002, 16: 11969, 32: 10794, 64: 8688, 128: 7683}
EXECS_PER_INDEX = 4.3           # UnixBench's baseline of execl, 43.0/s, is index 10
# https://lore.kernel.org/all/20260413062042.804-1-huangsj@hygon.cn (+77 %, ten runs) and
# https://lore.kernel.org/all/20260611061915.2354307-1-huangsj@hygon.cn ("over 400%")
HUANG = {"v1": 1.77, "v2": 5.0}
# Of an exec without fork: libc's as in MIX, the others' as counter.c has base 7.3.4 call down_write()
VISITS = {"libc": sum(MIX), "ld.so": 8, "program": 8}
CORES = "github.com/nviennot/core-to-core-latency"
COUNTS = Counts()
ASSUMED, COUNTED = "assumed", "counted"


@dataclass(frozen=True)
class Parameters:
    """Times in us, or transfers of a line. Each with where it is from."""
    held: float = 0.1           # a lock, besides its lines: fitted
    # The part of a transfer that its CPU waits for, as it fetches several lines at a time: fitted
    wait: float = 0.15
    # ... and the part of a tree's transfers, which follow one another: fitted
    read: float = 0.32
    alone: float = 1e6 / (PUBLISHED[1] * EXECS_PER_INDEX)   # an exec, nobody else: published
    # A hand-over, counted in rwsem.c and osq_lock.c: who releases gets the line back from
    # who spins on sem->owner; he reads it; he takes it for his cmpxchg. Before he leaves
    # rwsem_optimistic_spin(), he reads node->next and writes next->locked.
    handed: float = 3
    passed: float = 2
    idle: float = 10            # VMAs of libc per CPU that nobody changes: 6,000 in all, Huang
    group: float = 8            # CPUs that share a tree of a sharded file: posting 3
    burst: float = 0.1          # part of an exec's time in which ld.so maps a library: assumed
    # How much longer two threads of a core take that both work: assumed
    smt: float = 0.6
    # lruvec lock of a node in release_pages(): what limited 26 CPUs next, at 186 k/s (see
    # STATIC), less a hand-over
    lruvec: float = 5.1
    # What was counted is taken so many times
    folios: float = 1
    hottest: float = 1
    rest: float = 1
    percpu: float = 1
    locks: float = 1
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
# Static programs, all separate, execs per second of 26 CPUs, by allocations and frees of percpu
# memory (14ef95be6f55). An exec has four on 7.3, with the locks that were counted.
STATIC, ALLOCATIONS = {10: 133544, 4: 186062}, 4
STATIC_ALONE = 650 / 1460       # of a dynamic exec: measured in a guest
# What it gained two sockets of 96 cores to keep percpu memory with mm_struct, by programs (it is
# not known whether those 24 ran there):
# https://lore.kernel.org/all/20250424080755.272925-1-harry.yoo@oracle.com
KEPT = {192: 1.33, 24: 1.0456, 1: 1.04}
# name: what it is, where it is from
VARIED = {
    "held": ("a lock held, besides its lines", "fitted"),
    "wait": ("part of a transfer waited for", "fitted"),
    "read": ("part of it, of a tree's lines", "fitted"),
    "folios": ("lines of files' folios", COUNTED),
    "hottest": ("the hottest line of each class", COUNTED),
    "rest": ("other lines of an exec", COUNTED),
    "percpu": ("lines of percpu memory", COUNTED),
    "locks": ("percpu allocator's locks taken", COUNTED),
    "lruvec": ("lruvec lock held, of an exec", "published"),
    "handed": ("transfers of a hand-over", COUNTED),
    "passed": ("transfers to who spins next", COUNTED),
    "group": ("CPUs that share a tree", "posting 3"),
    "burst": ("time to map libc, of an exec", ASSUMED),
    "idle": ("VMAs of libc a CPU that do not change", "published"),
    "smt": ("what a busy sibling costs", ASSUMED),
    "cache": ("latency in a cache", "published, related"),
    "node": ("latency in a node", "published, related"),
    "socket": ("latency in a socket", "published, related"),
    "far": ("latency across sockets", "published, related"),
    "cache_cpus": ("CPUs of a cache", ASSUMED),
    "socket_nodes": ("nodes of a socket", ASSUMED),
    "alone": ("an exec, nobody else there", "published, related"),
}
NODE_CPUS, LARGE = 32, 384
SIZES = (2, 4, 8, 16, 32, 64, 96, 192, 384, 768)
TOLD = SIZES[-4:]


# --- machines -------------------------------------------------------------------

@lru_cache(maxsize=None)
def xeon(copies):
    """The published curve's: two Xeon 8369B of 32 cores. Copies are spread over the nodes,
    and over cores first. Latencies are those of its twin, the 8375C (see CORES). Its kernel
    is not known; one of before 6.2 has no percpu memory in an mm but that of mm_cid."""
    node = max(1, copies // 2)
    return Layout(min(2, copies), node, node, 1, (0.0081, 0.051, 0.051, 0.051, 0.108),
                  threads=2 if copies > 64 else 1, possible=1)


@lru_cache(maxsize=None)
def large(cpus, machine=PARAMETERS.machine):
    """Nodes of 32 CPUs, all at work; 384 CPUs are Huang's 12 nodes."""
    latency, cache_cpus, socket_nodes = machine
    return Layout(max(1, cpus // NODE_CPUS), min(cpus, NODE_CPUS), cache_cpus, socket_nodes,
                  latency)


def one_socket():
    return Layout(1, 26, 26, 1, (0.051,) * 5, threads=1)


def two_sockets(programs):
    """As two EPYC 7R13, with eight cores to a cache (see CORES)."""
    return Layout(min(2, programs), max(1, programs // 2), 8, 1,
                  (0.023, 0.023, 0.107, 0.107, 0.197), threads=1, possible=192)


# --- what an exec visits -----------------------------------------------------------

def fetch(layout, group, p, burst=0):
    """Microseconds in which a visit gets the lines of a tree of so many CPUs, one after the
    other: what was counted in a small guest, grown as the tree of lines.py grows."""
    group = min(group, layout.cpus)
    near, far = lines(group, layout.node_cpus, round(p.idle), burst)
    return p.read * COUNTS.transfers(TREE, "base") / calculated(COUNTS.cpus, p) * (
        near * layout.mean(min(group, layout.node_cpus)) + far * layout.mean(group, False))


def calculated(cpus, p):
    """Lines of a tree that an exec fetches by lines.py, of so many CPUs of the guest, which
    hardly queue."""
    return sum(VISITS.values()) * sum(lines(cpus, COUNTS.pair, burst=p.burst))


def imap(layout, p, group, hold, per_visit=1.0, **touches):
    for name, visits in VISITS.items():
        line = Line(f"word of {name}", 0) if touches else None
        yield Lock(f"i_mmap of {name}", visits * per_visit, hold, group, line=line,
                   handed=p.handed, passed=p.passed, **touches)


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


def sharded(layout, p):
    """A tree and a lock for each group of CPUs; modifiers of two trees write nothing in common."""
    group = round(p.group)
    return imap(layout, p, group, p.held + fetch(layout, group, p, p.burst))


@dataclass(frozen=True)
class Kernel:
    """What is done to i_mmap, and of which column of counts.tsv the rest is."""
    imap: object = base
    percpu: str = "base"
    folios: str = "base"


BASE, SHARDED, ALL = "base", "sharding", "all three"
LONE, FEWER = {"percpu": "patched"}, {"folios": CUT}
KERNELS = {
    BASE: Kernel(),
    SHARDED: Kernel(sharded, folios="patched"),
    "no percpu memory": Kernel(**LONE),
    "folio lines cut": Kernel(**FEWER),
    "sharding, no percpu memory": Kernel(sharded, folios="patched", **LONE),
    "sharding, folio lines cut": Kernel(sharded, **FEWER),
    ALL: Kernel(sharded, **LONE, **FEWER),
    "Huang's v1": Kernel(v1), "Huang's v2": Kernel(v2),
}


def elsewhere(layout):
    """How likely another CPU had a line last, against the guest in which they were counted."""
    return (1 - 1 / layout.cpus) / (1 - 1 / COUNTS.cpus)


def shared_lines(layout, p, of, side, amount):
    """The lines of a class that all CPUs write. A visit reads a line, and then takes it. Of
    the hottest only what came from other nodes was counted."""
    count = round(COUNTS.get(of, "lines", side))
    mean = COUNTS.transfers(of, side) / count
    others = COUNTS.cpus - 1
    hottest = COUNTS.get(of, "hottest", side) * others / (others - COUNTS.pair + 1)
    for name, visits, alike in ((of, amount * mean, count - 1),
                                (f"hottest of {of}", p.hottest * hottest, 1)):
        yield Line(name, visits * elsewhere(layout) / 2, 2, alike, p.wait)


def percpu_allocator(layout, p, times):
    """Its locks; under them are the lines that base has more than the series in the rest."""
    locks = COUNTS.get(PERCPU, "locks", "base") * p.locks
    moved = COUNTS.transfers(REST, "base") - COUNTS.transfers(REST, "patched")
    hold = p.held + p.wait * moved * elsewhere(layout) / locks * layout.mean(layout.cpus)
    return Lock("percpu allocator", times * locks, hold, layout.cpus, handed=p.handed,
                passed=p.passed)


def others(layout, p, times):
    """What an exec shares but i_mmap and folios, with percpu memory or without."""
    yield from shared_lines(layout, p, REST, "patched", p.rest)
    yield Lock("lruvec lock", 1, p.lruvec, layout.node_cpus, handed=p.handed, passed=p.passed)
    if times:
        yield percpu_allocator(layout, p, times)


def work(layout, p, side):
    """Microseconds of an exec that waits for no line, with as many instructions as were counted;
    and of the lines of percpu memory. Both grow with the CPUs that have some."""
    many = (layout.possible or layout.cpus) - 1
    instructions = (COUNTS.get(EXEC, "instructions", side)
                    + many * COUNTS.get(EXEC, "for each CPU", side))
    moved = p.percpu * many * COUNTS.transfers(PERCPU, side) / (COUNTS.cpus - 1)
    return (p.alone * instructions / COUNTS.get(EXEC, "instructions", "base")
            * (1 + p.smt * (layout.threads > 1))
            + p.wait * moved * elsewhere(layout) * layout.mean(layout.cpus))


def parts(name, layout, p):
    """(an exec without its stations, its stations)"""
    kernel = KERNELS[name]
    found = [*kernel.imap(layout, p), *shared_lines(layout, p, FOLIOS, kernel.folios, p.folios),
             *others(layout, p, kernel.percpu == "base")]
    locked = p.lruvec + p.held * (sum(VISITS.values())
                                  + p.locks * COUNTS.get(PERCPU, "locks", kernel.percpu))
    return work(layout, p, kernel.percpu) - locked, found


def execs(name, layout, p=PARAMETERS):
    """(execs per second, {station: how busy it is})."""
    rate, busy = solve(layout.cpus, *parts(name, layout, p), layout)
    return rate * 1e6, busy


def simulated(name, layout, p=PARAMETERS, rounds=3):
    """Execs per second, event by event."""
    return 1e6 * simulate(layout.cpus, *parts(name, layout, p), layout, execs=rounds)


def times_base(name, p=PARAMETERS, cpus=LARGE):
    layout = large(cpus, p.machine)
    return execs(name, layout, p)[0] / execs(BASE, layout, p)[0]


def static(layout, times, side="base", p=PARAMETERS):
    """Execs per second of static programs that share no file."""
    lone = work(layout, p, side) - (1 - STATIC_ALONE) * p.alone - p.lruvec
    return 1e6 * solve(layout.cpus, lone, [*others(layout, p, times)], layout)[0]


# --- what it says ---------------------------------------------------------------------

def published(copies):
    return PUBLISHED[copies] * EXECS_PER_INDEX


def tests():
    """(what was published, the figure, what the model says): it was fitted to none of them."""
    for name, ratio in HUANG.items():
        yield f"384 CPUs, times base: Huang's {name}", ratio, times_base(f"Huang's {name}")
    rates = {visits: static(one_socket(), visits / ALLOCATIONS) for visits in STATIC}
    yield "26 CPUs, static, exec/s with 10 percpu visits", STATIC[10], rates[10]
    yield ("26 CPUs, static, 4 visits against 10 (lruvec is of 4)", STATIC[4] / STATIC[10],
           rates[4] / rates[10])
    yield (f"{COUNTS.cpus} CPUs, sharded: transfers of a tree of {COUNTS.pair}",
           COUNTS.transfers(TREE, "patched"),
           calculated(COUNTS.pair, PARAMETERS) * COUNTS.transfers(TREE, "base")
           / calculated(COUNTS.cpus, PARAMETERS))
    for programs, ratio in KEPT.items():
        layout = two_sockets(programs)
        yield (f"192 CPUs, {programs} at work, static: none against 4", ratio,
               static(layout, 0, "patched") / static(layout, 1))


def check_table():
    yield "copies   published exec/s   model exec/s   ratio   (128-CPU Xeon; held, wait, read fitted)"
    for copies in PUBLISHED:
        rate = execs(BASE, xeon(copies))[0]
        yield (f"{copies:6}   {published(copies):16.0f}   {rate:12.0f}   "
               f"{rate / published(copies):5.2f}")
    yield ""
    yield f"{'not fitted to':54} published    model   ratio"
    for what, figure, model in tests():
        digits = 0 if figure > 1000 else 2
        yield f"{what:54} {figure:9.{digits}f} {model:8.{digits}f}   {model / figure:5.2f}"


def rate_table():
    yield f"{'exec/s, times base':30}" + "".join(f"{f'{cpus} CPUs':>18}" for cpus in TOLD)
    for name in KERNELS:
        cells = [(execs(name, large(cpus))[0], times_base(name, cpus=cpus)) for cpus in TOLD]
        yield f"{name:30}" + "".join(f"{rate:12.0f} {times:5.1f}" for rate, times in cells)
    yield ""
    yield f"{f'{LARGE} CPUs: three lowest limits, exec/s':122} {TOLD[0]} CPUs, against simulated"
    for name in [*KERNELS][:-len(HUANG)]:
        ratio = execs(name, large(TOLD[0]))[0] / simulated(name, large(TOLD[0]))
        least = ", ".join(f"{rate:.0f} {one}" for one, rate in [*limits(name).items()][:3])
        yield f"{name:30} {least:91} {ratio:5.2f}"


def limits(name, p=PARAMETERS):
    """{station: the execs per second which it would allow, if there were no other}."""
    layout, found = large(LARGE, p.machine), {}
    for one in parts(name, layout, p)[1]:
        if isinstance(one, Line):
            busy = one.visits * one.transfers * layout.mean(layout.cpus)
        else:
            busy = one.visits * (one.hold + (one.handed + one.passed) * layout.mean(one.group))
        found[one.name] = 1e6 * LARGE / getattr(one, "group", LARGE) / busy
    return dict(sorted(found.items(), key=lambda item: item[1]))


OUTCOMES = ("Huang's v1", "Huang's v2", SHARDED, "sharding, no percpu memory", ALL)


@lru_cache(maxsize=None)
def sensitivity():
    """[(parameter, [times base with half of it], [with twice of it])], by OUTCOMES."""
    rows = []
    for name in VARIED:
        ends = [[times_base(outcome, replace(PARAMETERS, **{name: getattr(PARAMETERS, name) * by}))
                 for outcome in OUTCOMES] for by in (0.5, 2)]
        rows.append((name, *ends))
    return rows


def sensitivity_table():
    yield (f"{'times base with half and twice a parameter':60} "
           + "  ".join(f"{name:>14.14}" for name in OUTCOMES))
    yield f"{'as they are':60} " + "  ".join(f"{times_base(name):14.1f}" for name in OUTCOMES)
    for name, half, twice in sensitivity():
        what, source = VARIED[name]
        yield (f"{what:40} {getattr(PARAMETERS, name):7.4g}  {source:9.9}  "
               + "  ".join(f"{f'{a:.1f} .. {b:.1f}':>14}" for a, b in zip(half, twice)))


def fit():
    """The disagreement with the published curve, by held, wait and read."""
    yield "held, us   wait   read   worst   root mean square"
    for held, wait, read in itertools.product((0.08, 0.1, 0.12), (0.1, 0.15, 0.2, 0.25), (0.3, 0.32, 0.34)):
        p = replace(PARAMETERS, held=held, wait=wait, read=read)
        found = [execs(BASE, xeon(n), p)[0] / published(n) - 1 for n in PUBLISHED]
        mean = (sum(one * one for one in found) / len(found)) ** 0.5
        yield (f"{held:8}   {wait:4}   {read:4}   {100 * max(map(abs, found)):4.1f} %   "
               f"{100 * mean:4.1f} %")


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
CURVES = {BASE: "#555555", "Huang's v1": "#a6761d", "Huang's v2": "#d95f02", SHARDED: "#7570b3",
          "sharding, no percpu memory": "#e7298a", ALL: "#1b9e77"}


def plot(path):
    """Two panels: what was published against the model, and the large machine."""
    data = [block("seen", [f"{copies} {published(copies)}" for copies in PUBLISHED]),
            block("said", [f"{copies} {execs(BASE, xeon(copies))[0]}" for copies in PUBLISHED])]
    right = []
    for number, (name, color) in enumerate(CURVES.items()):
        data.append(block(f"c{number}", [f"{n} {execs(name, large(n))[0]}" for n in SIZES]))
        right.append(f"$c{number} with lines lw 2 lc '{color}' title \"{name}\"")
    one = execs(BASE, large(LARGE))[0]
    for name, ratio in HUANG.items():
        data.append(block(f"huang_{name}", [f"{LARGE} {one * ratio}"]))
        color = CURVES["Huang's " + name]
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
        "set xrange [2:900]", "set yrange [5000:5000000]",
        "set key top left Left reverse samplen 2 font ',11'",
        "set xtics (" + ", ".join(map(str, SIZES)) + ")",
        "plot " + ", ".join(right), "unset multiplot", ""]))


def tornado(path):
    """Times base, for half and twice of each parameter, the widest on top; of sharding alone,
    and of all."""
    panels = []
    data = []
    for at in (OUTCOMES.index(SHARDED), OUTCOMES.index(ALL)):
        middle = times_base(OUTCOMES[at])
        rows = sorted(((VARIED[name][0], half[at], twice[at])
                       for name, half, twice in sensitivity()),
                      key=lambda row: max(row[1:]) - min(row[1:]))
        data.append(block(f"t{at}", [
            f'"{what}" {y} {half} {twice}' for y, (what, half, twice) in enumerate(rows)]))
        ends = [end for row in rows for end in row[1:]]
        marks = [mark for mark in (1, 2, 4, 8, 16, 32, 64, 128)
                 if min(ends) / 2 < mark < max(ends) * 1.4]
        panels += [
            f"set xrange [{min(ends) / 2}:{max(ends) * 1.2}]",
            "set xtics (" + ", ".join(map(str, marks)) + ")",
            f"set title '{OUTCOMES[at]}: {middle:.1f} times base'",
            f"set arrow 1 from {middle},-0.7 to {middle},{len(rows) - 0.3} nohead lc '#555555'",
            f"set yrange [-0.7:{len(rows) - 0.3}]",
            f"plot $t{at} using ({middle}):2:({middle}):3:($2-0.32):($2+0.32):ytic(1) "
            f"with boxxyerror fs solid lc '#7570b3' title 'half of it', "
            f"$t{at} using ({middle}):2:({middle}):4:($2-0.32):($2+0.32) "
            f"with boxxyerror fs solid lc '#d95f02' title 'twice of it'"]
    gnuplot(path, "\n".join([
        "set terminal svg noenhanced size 1180,480 font 'sans,12' background '#ffffff'",
        f"set output '{path}'", *data, *COMMON, "set multiplot layout 1,2", "set logscale x",
        f"set xlabel 'times base, {LARGE} CPUs'", "set key below", *panels,
        "unset multiplot", ""]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", metavar="FILE")
    parser.add_argument("--tornado", metavar="FILE")
    parser.add_argument("--fit", action="store_true")
    args = parser.parse_args()
    for number, table in enumerate((fit,) if args.fit else
                                   (check_table, rate_table, sensitivity_table)):
        print("\n" * bool(number) + "\n".join(table()), flush=True)
    if args.plot:
        plot(args.plot)
    if args.tornado:
        tornado(args.tornado)


if __name__ == "__main__":
    fail.main("model", main)
