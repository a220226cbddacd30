# SPDX-License-Identifier: GPL-2.0
"""The kernel's own mm selftests in a guest: run, read, compare.

run_vmtests.sh runs category by category, each with a time limit of its own, and
every program of a category is one result: ok, skip, fail, or timeout.
"""

import re
from pathlib import Path

import guest

# what a small emulated guest gets through in a minute or two
SHORT = ("mmap", "mremap", "madv_guard", "madv_populate", "process_madv", "vma_merge",
         "mkdirty", "mdwe", "rmap", "soft_dirty", "pagemap", "memfd_secret",
         "process_mrelease", "gup_test", "exec_storm", "file_rmap", "fault_retry")
# brought by the series: these must pass, whatever base does
OURS = ("exec_storm", "file_rmap", "fault_retry")
# minutes each, and what io_uring has to do with pinned pages, which no small kernel has
LONG = ("migration", "hugetlb", "userfaultfd", "thp", "ksm", "ksm_numa", "cow", "mlock",
        "compaction", "pkey", "hugevm", "memory-failure", "pfnmap", "gup_test")
LIMIT = 600     # seconds for one category
STALL = 60      # seconds in which a program that is well gets something done
LEFT_OUT = "left out"   # the category of what run_vmtests.sh says that it does not start

JOB = """#!/usr/bin/busybox sh
# for programs that have pages swapped out
fallocate -l 256M /swap && mkswap /swap >/dev/null && swapon /swap || exit 1
cd /selftests/mm
export STALL={stall}
for category in {categories}; do
	begin=$(date +%s)
	timeout -k 5 {limit} ./run_vmtests.sh -t $category >/tmp/log 2>&1
	status=$?
	{{ echo "category $category"; cat /tmp/log; echo "category $category status $status"; }} >>/run/out/vmtests.log
	echo "vmtests: $category ended with $status after $(($(date +%s) - begin))s"
done
{after}
exit 0
"""


def run(kernel, image, out, categories=SHORT, append="", arch="amd64", after="",
        nodes=2, limit=LIMIT, stall=STALL):
    """All categories in one boot, then what AFTER says; the output is out/vmtests.log."""
    one = guest.Guest(kernel, image, cpus=4, nodes=nodes, mem="4G", append=append,
                      timeout=60 + limit * len(categories), arch=arch)
    job = JOB.format(categories=" ".join(categories), limit=limit, stall=stall, after=after)
    return guest.run(one, job, out=out)


def results(log, said=None):
    """{"category: program and arguments": "ok" | "skip" | "fail" | "timeout"}.

    What each of them printed goes into said, if that is a dictionary.
    """
    found, category, running = {}, "?", None
    printed = case_printed = ()
    if said is None:
        said = {}
    for line in Path(log).read_text(errors="replace").splitlines():
        begin = re.fullmatch(r"category (\S+)", line)
        end = re.fullmatch(r"category (\S+) status (\d+)", line)
        if begin:
            category, running = begin[1], None
            continue
        if end:
            if running: # it was started and gave no result
                found[running], said[running] = "timeout", printed
            continue
        # what it does not start it tells, some of it whatever the category
        left_out = re.fullmatch(r"# (?:\[SKIP\]|SKIP) \./(.+)", line)
        if left_out:
            found[f"{LEFT_OUT}: {left_out[1]}"] = "skip"
            continue
        title = re.fullmatch(r"# running (.+)", line)
        if title:
            # run_vmtests.sh lets mktemp(1) name the place of its file system
            program = re.sub(r"/xfs_dir_\w+", "/xfs_dir", title[1].removeprefix("./"))
            running = unique(found, f"{category}: {program}")
            printed, case_printed = [], []
            continue
        if not running:
            continue
        printed.append(line)
        case_printed.append(line)
        # a program passes with cases that skip: ours are to be seen
        case = re.match(r"#[ #]+(ok|not ok) \d+ (\S+\.\S+)( # SKIP)?", line)
        if case and category in OURS:
            name = f"{running}: {case[2]}"
            found[name] = "fail" if case[1] == "not ok" else "skip" if case[3] else "ok"
            said[name], case_printed = case_printed, []
        verdict = re.match(r"(ok|not ok) \d+ .*?(# SKIP)?$", line)
        if verdict:
            found[running] = ("fail" if verdict[1] == "not ok"
                              else "skip" if verdict[2] else "ok")
            said[running], running = printed, None
    return found


def failed_cases(printed):
    """The cases of which a program said that they failed."""
    cases = (re.match(r"[# ]*not ok \d+ (.+?)( # .*)?$", line) for line in printed)
    return {case[1] for case in cases if case}


def unique(found, name):
    """The same program may run twice with the same arguments."""
    count, title = 1, name
    while title in found:
        count += 1
        title = f"{name} ({count})"
    return title
