# SPDX-License-Identifier: GPL-2.0
"""What the counter of shared cache lines sees."""

import sys
from dataclasses import replace

from harness import FORCED, LOGS, TOP, disk, kernel_of, must, say, tap

sys.path.append(str(TOP / "lab/lines"))
import count                                            # noqa: E402
from analysis import CPU, I_MMAP, NODE, SHARD           # noqa: E402

EXEC = count.OPERATIONS["exec"]
# beside a task that takes CPU 0 from one of its four programs for a while, as any may
PATTERNS_BESIDE = replace(count.OPERATIONS["patterns"], command="\n".join((
    "busybox taskset 1 busybox sh -c 'while :; do :; done' &", count.OPERATIONS["patterns"].command, "kill $!")))
# How far the counts of two boots may be apart: who meets whom at a line is by chance.
REPEATS_WITHIN = {"atomics": 0.01, "between_nodes": 0.06}
# Of base's transfers. A file whose lock hardly anybody finds taken is not sharded.
LEFT_BY_CONTENTION = 0.1
# Who gets the memory of a VMA that another CPU has freed: that is the slab's doing, on many CPUs
ALLOCATION = ("vm_area_alloc", "vm_area_dup", "__refill_objects_node")
# Debian's kernel samples pages, a few of which are a program's. Their trees are walked then, and
# who walks writes their locks.
NOT_SAMPLED = "damon_stat.enabled=N"
# QEMU 7.2 emulates no more than 255 CPUs, and wants twice as many as there are (count.turns())
LARGE = count.Machine(cpus=64, nodes=8)

PATTERNS = 0x200000000000       # lab/lines/operate.c
HANDED_OVER, SHARED_FALSELY, READ, LOCK, PRIVATE = range(5)
PAIRS = ("CPUs of two nodes", "CPUs of one node")


def is_about(value, expected):
    """Two CPUs that share a line do not begin and end at once."""
    return abs(value - expected) <= 2


def known_patterns(analysis):
    """Two pairs of CPUs share lines in ways that are known: it says so."""
    by_address = {line.sites[0].vaddr: line for line in analysis.lines.values()}
    total = 0
    for pair, who in enumerate(PAIRS):
        page = PATTERNS + pair * 4096
        lines = {number: by_address.get(page + 64 * number) for number in range(6)}
        if not all(lines[number] for number in (HANDED_OVER, SHARED_FALSELY, READ, LOCK)):
            tap.fail(f"lines: {who}: all lines of the pattern are seen", lines)
            continue
        each = lines[LOCK].total("atomics")
        total += each
        say(f"{who}: {each} operations")
        for number, name, fetched, upgraded in ((HANDED_OVER, "handed over", each, each),
                                                (SHARED_FALSELY, "shared falsely", each, 0),
                                                (READ, "only read", 0, 0), (LOCK, "a lock", each, 0)):
            line = lines[number]
            for level, between in ((CPU, "CPUs"), (NODE, "nodes")):
                there = pair == 0 or level == CPU
                found = [sum(getattr(one, how)[level] for one in line.sites) for how in ("fetched", "upgraded")]
                good = all(is_about(*both) for both in zip(found, (fetched * there, upgraded * there)))
                tap.result(good, f"lines: {who}, {name}: transfers between {between}",
                           f"{found} of {each} operations")
            tap.result(line.falsely() == (number == SHARED_FALSELY), f"lines: {who}, {name}: false sharing or not",
                       line.falsely())
        tap.result(not lines[PRIVATE] and not lines[PRIVATE + 1], f"lines: {who}: private lines are private",
                   [vars(one) for one in (lines[PRIVATE], lines[PRIVATE + 1]) if one])
    tap.result(abs(total - analysis.operations) <= 4, "lines: each lock is counted",
               f"{total} of {analysis.operations} operations")


def nothing_in_common(name, analysis, except_by=()):
    """VMAs, trees, their locks and sets: used, and nothing moves between shards, but by functions
    that are excepted."""
    found = analysis.summary()[I_MMAP]
    tap.result(found["within_nodes"] > 1, f"lines: {name}: CPUs of a shard share its lines", found)

    def conflict(line):
        return any(one.of == I_MMAP and one.moved[SHARD] and analysis.function(one) not in except_by
                   for one in line.tasks)

    worst = analysis.ranked(8, SHARD, conflict, sources=False)
    tap.result(not worst, f"lines: {name}: CPUs of different shards write no line of i_mmap",
               "\n".join([str(found), *map(str, worst)]))


def step_lines():
    """known sharing of cache lines is counted right; sharded files share none between shards"""
    operations = [PATTERNS_BESIDE] + [count.OPERATIONS[name] for name in ("exec", "fork", "change")]

    def look(operation, analysis):
        if operation.name == "patterns":
            known_patterns(analysis)
        else:
            nothing_in_common(operation.name, analysis)

    count.count(kernel_of("patched"), operations, count.Machine(), look, FORCED, disk())
    must("lines: as make lines does it", [TOP / "lab/lines/count.py", "--image", kernel_of("patched"),
                                          "--operations", "mmap", "--out", LOGS / "lines-mmap"])


def step_lines_more():
    """counts of two boots agree; sharded by contention; 64 CPUs; as Debian configures it"""
    def look(operation, analysis):
        return analysis.summary()

    def counted(side, machine=count.Machine(), operation=EXEC, look=look, append=""):
        return count.count(kernel_of(side), [operation], machine, look, append, disk())[operation.name]

    first, second = counted("base"), counted("base")
    for what, within in REPEATS_WITHIN.items():
        values = first["total"][what], second["total"][what]
        tap.result(abs(values[0] - values[1]) <= within * min(values),
                   f"lines: exec, two boots: {what} agree within {within:.0%}", values)
    warm = replace(EXEC, warm=100)
    left, base = (one[I_MMAP]["between_shards"] for one in (counted("patched", operation=warm), first))
    say(f"i_mmap, transfers between shards: {base:.1f} on base, {left:.1f} if sharded by contention")
    tap.result(left <= LEFT_BY_CONTENTION * base, "lines: exec, sharded by contention: at most "
               f"{LEFT_BY_CONTENTION:.0%} of base's transfers of i_mmap are left", f"{left} of {base}")

    def look_at_large(operation, analysis):
        for name, one in analysis.summary().items():
            say(f"{LARGE.cpus} CPUs, {name}: {one['between_nodes']:.2f} transfers between nodes")
        nothing_in_common(f"exec on {LARGE.cpus} CPUs", analysis, ALLOCATION)

    counted("patched", LARGE, replace(EXEC, warm=2, count=2), look_at_large, FORCED)
    count.count(kernel_of("patched-debian"), [count.OPERATIONS[name] for name in ("exec", "fork", "change")],
                count.Machine(), lambda operation, analysis: nothing_in_common(
                    f"{operation.name}, as Debian configures it", analysis), f"{FORCED} {NOT_SAMPLED}", disk())
