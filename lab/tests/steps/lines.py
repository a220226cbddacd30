# SPDX-License-Identifier: GPL-2.0
"""What the counter of shared cache lines sees."""

import sys

from harness import FORCED, TOP, disk, kernel_of, say, tap

sys.path.append(str(TOP / "lab/lines"))
import count                                            # noqa: E402
from analysis import CPU, I_MMAP, NODE, SHARD           # noqa: E402

PATTERNS = 0x200000000000       # lab/lines/operate.c
HANDED_OVER, SHARED_FALSELY, READ, LOCK, PRIVATE = range(5)
PAIRS = ("CPUs of two nodes", "CPUs of one node")


def is_about(value, expected):
    """An operation of each CPU may be half done when counting begins, and when it ends."""
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


def nothing_in_common(name, analysis):
    """VMAs, trees, their locks and sets: used, and nothing moves between shards."""
    found = analysis.summary()[I_MMAP]
    tap.result(found["within_nodes"] > 1, f"lines: {name}: CPUs of a shard share its lines", found)
    worst = analysis.ranked(8, SHARD, lambda line: any(one.of == I_MMAP and one.moved[SHARD] for one in line.tasks),
                            sources=False)
    tap.result(found["between_shards"] == 0, f"lines: {name}: CPUs of different shards write no line of i_mmap",
               "\n".join([str(found), *map(str, worst)]))


def step_lines():
    """known sharing of cache lines is counted right; sharded files share none between shards"""
    operations = [count.OPERATIONS[name] for name in ("patterns", "exec", "fork", "change")]

    def look(operation, analysis):
        if operation.name == "patterns":
            known_patterns(analysis)
        else:
            nothing_in_common(operation.name, analysis)

    count.count(kernel_of("patched"), operations, count.Machine(), look, FORCED, disk())
