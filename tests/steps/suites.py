# SPDX-License-Identifier: GPL-2.0
"""The kernel's selftests, base against patched."""

import vmtests
from harness import FORCED, IMAGE, LOGS, image_of, say, selftests_in_guest, tap


def step_vmtests(categories=vmtests.SHORT):
    """the mm selftests on base, patched, and patched with every file sharded"""
    runs, logs, said = {}, {}, {}
    for side, flavour, append in (("base", "base", ""), ("patched", "patched", ""),
                                  ("sharded", "patched", FORCED)):
        result = selftests_in_guest(image_of(flavour), IMAGE, LOGS / f"vmtests-{side}", categories, append)
        if not tap.result(result.ok, f"mm selftests: {side} runs to the end", result.explain()):
            return
        logs[side] = result.out / "vmtests.log"
        said[side] = {}
        runs[side] = vmtests.results(logs[side], said[side])
    for line in vmtests.table(runs).splitlines():
        say(line)
    for category in categories:
        if not any(name.startswith(f"{category}: ") for name in runs["patched"]):
            tap.fail(f"mm selftests: {category}", "run_vmtests.sh has no test of that category")
    for name, found in vmtests.compare(runs):
        base = found["base"]
        for side in ("patched", "sharded"):
            title = f"mm selftests, {side}: {name}"
            if found[side] == "ok":
                tap.ok(title)
            elif base == found[side] == "skip" and name.split(":")[0] not in vmtests.OURS:
                tap.skip(title, "it skips on this guest, base and patched")
            elif base == found[side] and name.split(":")[0] not in vmtests.OURS:
                tap.same(title, base)
            else:
                tap.fail(title, "\n".join([*said[side].get(name, ()),
                                           f"base: {base}, {side}: {found[side]}: {logs[side]}"]))


def step_vmtests_long():
    """the rest of the mm selftests, minutes each, on base and patched"""
    step_vmtests(vmtests.LONG)
