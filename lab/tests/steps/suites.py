# SPDX-License-Identifier: GPL-2.0
"""The kernel's selftests, base against patched."""

import re

import guest
import vmtests
from harness import FORCED, LOGS, disk, kernel_of, lives, say, selftests_in_guest, tap

# (side, tree, kernel parameters): the others are judged by the first
SIDES = (("base", "base", ""), ("patched", "patched", ""), ("sharded", "patched", FORCED))
MORE = "selftests"      # the fragment of lab/kernel/configs/ for what guest.config has not


# more runs, on both, of a category in which a side was worse than base: some of the kernel's
# own tests fail by chance, on base as well
AGAIN = 2


def tries(found, said):
    """{name: [(result, what it printed)]}, of the first run."""
    return {name: [(one, said.get(name, ()))] for name, one in found.items()}


def verdict(name, tried, on_base, ours=()):
    """("ok" | "skip" | "same" | "fail", why) of one try, by all of base's."""
    found, printed = tried
    if found == "ok":
        return "ok", None
    if found == "excused":
        return "skip", vmtests.excuse(printed)
    like = [cases for one, cases in on_base if one == found]
    if not like or name.split(":")[0] in ours:
        on_base = ", ".join(dict.fromkeys(one for one, _ in on_base))
        return "fail", "\n".join([*printed, f"base: {on_base}, here: {found}"])
    if found == "skip":
        return "skip", "it skips on this guest, base and patched"
    if found == "absent":
        return "skip", "it ran on neither of the two"
    # but not for a reason that base has not
    more = vmtests.failed_cases(printed).difference(*map(vmtests.failed_cases, like))
    if more:
        return "fail", "\n".join(["it fails on base, too, but these cases do not:", *sorted(more)])
    return "same", found


def verdicts(name, side, runs, ours=()):
    absent = [("absent", ())]
    on_base = runs["base"].get(name, absent)
    return [verdict(name, tried, on_base, ours) for tried in runs[side].get(name, absent)]


def to_run_again(side, runs, ours=()):
    """The categories with a test that failed where base does not, in the one run or in one of
    them: what fails twice, or is ours, is not chance."""
    undecided = []
    for name in dict.fromkeys([*runs["base"], *runs[side]]):
        failed = [how for how, _ in verdicts(name, side, runs, ours)].count("fail")
        if failed == 1 and name.split(":")[0] not in (*ours, vmtests.LEFT_OUT):
            undecided.append(name.split(":")[0])
    return list(dict.fromkeys(undecided))


def add_tries(tried, categories, found, said):
    """What another run of some categories gave, also of what it did not come to."""
    names = dict.fromkeys([*tried, *found])
    for name in names:
        if name.split(":")[0] in categories:
            tried.setdefault(name, []).append((found.get(name, "absent"), said.get(name, ())))


def judge(what, runs, logs, ours=()):
    """Each result of the patched sides must be as good as base's."""
    for name in dict.fromkeys(name for tests in runs.values() for name in tests):
        for side in [one for one in runs if one != "base"]:
            title = f"{what}, {side}: {name}"
            every = verdicts(name, side, runs, ours)
            failed = [why for how, why in every if how == "fail"]
            if len(failed) > 1 or failed and len(every) == 1:
                tap.fail(title, f"in {len(failed)} of {len(every)} runs:\n{failed[0]}", logs[side])
                continue
            for line in "".join(failed).splitlines():
                say(f"{title}, failed once in {len(every)} runs: {line}")
            how, why = next(one for one in every if one[0] != "fail")
            if how == "ok":
                tap.ok(title, logs[side])
            elif how == "skip":
                tap.skip(title, why, logs[side])
            else:
                tap.same(title, why, logs[side])


def step_vmtests(categories=vmtests.SHORT, image="mm", nodes=2, sides=("base", "sharded")):
    """the mm selftests on base, and patched with every file sharded"""
    more = f"-{MORE}" if image == MORE or vmtests.WITH_RSEQ.intersection(categories) else ""
    image = disk(image)

    def run(side, categories, which=""):
        _, tree, append = next(one for one in SIDES if one[0] == side)
        result = selftests_in_guest(kernel_of(tree + more), image,
                                    LOGS / f"vmtests-{side}{more}{which}", categories, append,
                                    nodes=nodes)
        said = {}
        if tap.result(result.ok, f"mm selftests: {side} runs to the end{which}", result.explain()):
            return vmtests.results(result.out / "vmtests.log", said), said
        return None

    runs, logs = {}, {}
    for side in sides:
        # ours are judged by themselves
        those = [one for one in categories if side != "base" or one not in vmtests.OURS]
        ran = run(side, those) if those else ({}, {})
        if not ran:
            return
        runs[side], logs[side] = tries(*ran), tap.log
    for category in categories:
        if not any(name.startswith(f"{category}: ") for name in runs[sides[-1]]):
            tap.fail(f"mm selftests: {category}", "run_vmtests.sh has no test of that category")
    for turn in range(AGAIN):
        for side in sides[1:]:
            undecided = to_run_again(side, runs, vmtests.OURS)
            if not undecided:
                continue
            say(f"worse than base: {side}, in {', '.join(undecided)}; both run again")
            for one in ("base", side):
                ran = run(one, undecided, f", {side} again {turn + 1}")
                if not ran:
                    return
                add_tries(runs[one], undecided, *ran)
    judge("mm selftests", runs, logs, vmtests.OURS)


def step_vmtests_contended():
    """the mm selftests on base, and patched with files sharded by contention"""
    step_vmtests(sides=("base", "patched"))


def step_vmtests_long():
    """the rest of the mm selftests on all three, minutes each, in four nodes with more configured"""
    step_vmtests(vmtests.LONG, MORE, 4, [side for side, _, _ in SIDES])


# run_vmtests.sh wants modules for the last of them, which are built in here
KSELFTESTS = """echo 64 >/proc/sys/vm/nr_hugepages
# it opens its output anew for what the programs print; what it leaves out fails if anything
# on the host makes a thread wait for 50 ms
cd /selftests/kselftest && ./run_kselftest.sh -f -S membarrier:membarrier_rseq_stress \\
	>>/run/out/kselftest.log 2>&1
cd /selftests/mm && timeout 600 ./hmm-tests >/run/out/hmm.log 2>&1
exit 0"""


def kselftest_results(folder):
    """{"collection: program": "ok" | "skip" | "fail"} of run_kselftest.sh, and of hmm-tests,
    and {"collection: program": what it printed}."""
    found, said, printed = {}, {}, []
    for log, pattern in (("kselftest.log", r"(ok|not ok) \d+ selftests: (\S+: \S+)(.*)"),
                         ("hmm.log", r"(ok|not ok) \d+ (hmm\S*)(.*)")):
        for line in (folder / log).read_text(errors="replace").splitlines():
            printed.append(line)
            one = re.match(pattern, line)
            if one:
                found[one[2]] = "skip" if "SKIP" in one[3] else "ok" if one[1] == "ok" else "fail"
                said[one[2]], printed = printed, []
    return found, said


def step_kselftests():
    """selftests of exec, futex, memfd and others that map, and of device memory, on both"""
    image, runs, logs = disk(MORE), {}, {}
    for side, tree, append in SIDES:
        one = guest.Guest(kernel_of(f"{tree}-{MORE}"), image, cpus=4, mem="4G", append=append,
                          timeout=3600)
        result = lives(f"selftests: {side} runs to the end", one, KSELFTESTS, out=LOGS / f"kselftests-{side}")
        if not result:
            return
        tap.log = logs[side] = result.out / "kselftest.log"
        runs[side] = tries(*kselftest_results(result.out))
        for collection in ("exec", "futex", "memfd", "hmm"):
            if not any(name.startswith(collection) for name in runs[side]):
                tap.fail(f"selftests, {side}: {collection}", f"none ran: {result.out}")
    judge("selftests", runs, logs)
