# SPDX-License-Identifier: GPL-2.0
"""stress-ng, trinity and our storms, with memory short and swapped, and hotplug.

STRESS_SECONDS: of each test, instead of the steps' own. SOAK_HOURS: of the soak.
"""

import os

import stress
from harness import LOGS, SHARDED, TOP, built, disk, kernel_of, must, say, tap

KERNELS = ("patched-stress", "base-stress")
# with fewer workers where they take longer than the test to begin, or to do anything once
BIG = ("exec@8", "fork:vm", "vfork", "mmap:file,async,bytes=64m", "mremap", "munmap", "madvise@4",
       "fault", "userfaultfd", "numa", "mmaphuge", "trinity:vm", "exec_storm:fork")
# that make files contended, promoted, truncated and new while CPUs and memory go
MOVED = ("exec", "exec_storm:fork", "exec_storm:fork:private", "mmap:file,async,bytes=64m",
         "fault_storm:mmap", "file_rmap:storm", "file_rmap:pageout", "file_rmap:truncate")


def seconds(usual):
    return int(os.environ.get("STRESS_SECONDS") or usual)


def ready():
    stress.needed() # before half an hour of building
    return disk() and built(*KERNELS)


def against_base(name, tests, append="", **how):
    """Run tests on the patched kernel, and on base those that are not ok there: that
    takes half of the time, and the others need no comparison. Results of the guests."""
    patched = stress.Stress(kernel_of("patched-stress"), append=append, **how)
    folder = LOGS / name.replace(" ", "-").replace(",", "")
    found, results = patched.run(tests, folder / "patched")
    again = [one.test for one in found if not one.ok]
    base = {}
    if again:
        say(f"{name}: on base, too: {' '.join(again)}")
        base = {one.test: one for one in
                stress.Stress(kernel_of("base-stress"), **how).run(again, folder / "base")[0]}
    for one in found:
        other = base.get(one.test)
        title = f"{name}: {one.test}"
        if one.ok:
            tap.ok(title, one.console)
        elif one.result == "idle" == other.result:
            tap.skip(title, f"no operation finished in {one.seconds} s, nor on base", one.console)
        elif one.result == "skipped" == other.result:
            tap.skip(title, one.note, one.console)
        elif one.same_as(other):
            tap.same(title, str(one), one.console)
        else:
            tap.fail(title, f"{one}\nbase: {other}", one.console)
    for number, result in enumerate(results, 1):
        finished(f"{name}: boot {number}", result, append,
                 any(one.result == "complained" for one in found))
    return results


def finished(name, result, append, complained):
    """A guest that lived to its end: the kernel said nothing that no test was told for,
    and what it counted can be."""
    if result.status is None:
        return      # a test has been told as what it died in
    tap.result(result.status == 0 and (complained or not result.why), f"{name}: nothing else wrong",
               result.explain(), result.console)
    for what, wrong in stress.counted(result, append):
        tap.result(not wrong, f"{name}: {what}", "\n".join(wrong), result.console)


def step_stress():
    """stress-ng, trinity and storms on 8 vCPUs, memory short: nothing fails that base does not"""
    # 50 tests twice, 25 s and some of swapping each: 55 minutes
    if not ready():
        return
    for name, append in SHARDED.items():
        against_base(f"stress, {name}", stress.ALL, append, seconds=seconds(25))


def step_stress_big():
    """a dozen of them on 96 vCPUs in 12 nodes"""
    # three minutes to boot, twice
    if not ready():
        return
    for name, append in SHARDED.items():
        against_base(f"stress big, {name}", BIG, append, seconds=seconds(20), cpus=96, nodes=12, mem="3G",
                     workers=24, boot=900)


def step_hotplug():
    """CPUs, nodes and memory go and come back during storms"""
    if not ready():
        return
    for how, append in SHARDED.items():
        name = f"hotplug, {how}"
        results = against_base(name, MOVED, append, seconds=seconds(30), beside=stress.HOTPLUG)
        went = {}
        for result in results:
            for what, count in stress.hotplug(result.out).items():
                went[what] = went.get(what, 0) + count
        say(f"{name}: " + ", ".join(f"{what} {count}" for what, count in went.items()))
        for what, words in (("cpu_off", "CPUs"), ("node_cpus", "all CPUs of a node"),
                            ("block_off", "blocks of memory"),
                            ("node_memory", "all of a node, CPUs and memory")):
            tap.result(went.get(what), f"{name}: {words} went and came back", str(went))


def step_soak():
    """the soak in its short form: random tests, machines and hotplug until the time is up"""
    if not ready():
        return
    hours = os.environ.get("SOAK_HOURS") or "0.1"
    must("soak", [TOP / "lab/tests/stress.py", "soak", KERNELS[0], "--out", LOGS / "soak",
                  "--hours", hours, "--seconds", seconds(15)], timeout=3600 * (1 + float(hours)))
    last = tap.log.read_text(errors="replace").splitlines()[-1:]
    tap.result(last and last[0].startswith("soak: passed, "), "soak: ends with its sum", str(last))
