# SPDX-License-Identifier: GPL-2.0
"""The kernel's selftests, base against patched."""

import re

import guest
import vmtests
from harness import (FORCED, LOGS, PATCHED, TOP, built, disk, in_guest, kernel_of, must, say,
                     selftests_in_guest, tap)

# (side, tree, kernel parameters): the last two are judged by the first
SIDES = (("base", "base", ""), ("patched", "patched", ""), ("sharded", "patched", FORCED))
MORE = "selftests"      # the fragment of configs/ for what guest.config has not


def judge(what, runs, said, ours=()):
    """Print all sides' results as a table; each patched one must be as good as base's."""
    for line in vmtests.table(runs).splitlines():
        say(line)
    for name, found in vmtests.compare(runs):
        base = found["base"]
        for side in ("patched", "sharded"):
            title = f"{what}, {side}: {name}"
            if found[side] == "ok":
                tap.ok(title)
            elif base == found[side] == "skip" and name.split(":")[0] not in ours:
                tap.skip(title, "it skips on this guest, base and patched")
            elif base == found[side] == "absent" and name.split(":")[0] not in ours:
                tap.skip(title, "it ran on neither of the two")
            elif base == found[side] and name.split(":")[0] not in ours:
                tap.same(title, base)
            else:
                tap.fail(title, "\n".join([*said[side].get(name, ()),
                                           f"base: {base}, {side}: {found[side]}"]))


def step_vmtests(categories=vmtests.SHORT, more="", nodes=2):
    """the mm selftests on base, patched, and patched with every file sharded"""
    runs, said = {}, {}
    for side, tree, append in SIDES:
        result = selftests_in_guest(kernel_of(tree + more), disk(), LOGS / f"vmtests-{side}{more}",
                                    categories, append, nodes=nodes)
        if not tap.result(result.ok, f"mm selftests: {side} runs to the end", result.explain()):
            return
        said[side] = {}
        runs[side] = vmtests.results(result.out / "vmtests.log", said[side])
    for category in categories:
        if not any(name.startswith(f"{category}: ") for name in runs["patched"]):
            tap.fail(f"mm selftests: {category}", "run_vmtests.sh has no test of that category")
    judge("mm selftests", runs, said, vmtests.OURS)


def step_vmtests_long():
    """the rest of the mm selftests, minutes each, in four nodes with more configured"""
    if built(f"base-{MORE}", f"patched-{MORE}"):
        step_vmtests(vmtests.LONG, f"-{MORE}", 4)


# run_vmtests.sh wants modules for the last of them, which are built in here
KSELFTESTS = """#!/usr/bin/busybox sh
cd kselftest && ./run_kselftest.sh -f >/run/out/kselftest.log 2>&1
cd /selftests/mm && timeout 600 ./hmm-tests >/run/out/hmm.log 2>&1
exit 0
"""


def kselftest_results(folder, said):
    """{"collection: program": "ok" | "skip" | "fail"} of run_kselftest.sh, and of hmm-tests."""
    found, printed = {}, []
    for log, pattern in (("kselftest.log", r"(ok|not ok) \d+ selftests: (\S+: \S+)(.*)"),
                         ("hmm.log", r"(ok|not ok) \d+ (hmm\S*)(.*)")):
        for line in (folder / log).read_text(errors="replace").splitlines():
            printed.append(line)
            one = re.match(pattern, line)
            if one:
                found[one[2]] = "skip" if "SKIP" in one[3] else "ok" if one[1] == "ok" else "fail"
                said[one[2]], printed = printed, []
    return found


def step_kselftests():
    """selftests of exec, futex, memfd and others that map, and of device memory, on both"""
    if not built(f"base-{MORE}", f"patched-{MORE}") \
            or not must("selftests: build", [TOP / "scripts/kselftest"]):
        return
    runs, said = {}, {}
    for side, tree, append in SIDES:
        one = guest.Guest(kernel_of(f"{tree}-{MORE}"), disk(), cpus=4, mem="4G", append=append,
                          timeout=3600)
        result = in_guest(one, KSELFTESTS, [PATCHED / "kselftest"], out=LOGS / f"kselftests-{side}")
        if not tap.result(result.ok, f"selftests: {side} runs to the end", result.explain()):
            return
        tap.log = result.out / "kselftest.log"
        said[side] = {}
        runs[side] = kselftest_results(result.out, said[side])
        for collection in ("exec", "futex", "memfd", "hmm"):
            if not any(name.startswith(collection) for name in runs[side]):
                tap.fail(f"selftests, {side}: {collection}", f"none ran: {result.out}")
    judge("selftests", runs, said)
