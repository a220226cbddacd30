# SPDX-License-Identifier: GPL-2.0
"""The kernel's own mm selftests in a guest: run, read, compare.

run_vmtests.sh runs category by category, each with a time limit of its own, and
every program of a category is one result: ok, skip, fail, or timeout. Three more
categories are of lab/tests/programs.
"""

import re
import shutil
import tempfile
from pathlib import Path

import guest

# what a small emulated guest gets through in a minute or two
SHORT = ("mmap", "mremap", "madv_guard", "madv_populate", "process_madv", "vma_merge",
         "mkdirty", "mdwe", "rmap", "soft_dirty", "pagemap", "memfd_secret",
         "process_mrelease", "gup_test", "file_rmap", "fault_retry", "rss_stat", "exec_storm", "fault_storm")
# what run_vmtests.sh does not know
PROGRAMS = guest.TOP / "lab/tests/programs"
# ours: these must pass, whatever base does, which mm_cid_test locks up
IN_SERIES = ("exec_storm", "fault_storm", "file_rmap", "fault_retry", "rss_stat", "mm_cid_test")
OURS = (*IN_SERIES, "text_folios")      # that one's posting is in no tree with the others
WITH_RSEQ = {"mm_cid_test"}   # which guest.config has not
# minutes each, and what io_uring has to do with pinned pages, which no small kernel has
LONG = ("migration", "hugetlb", "userfaultfd", "thp", "ksm", "ksm_numa", "cow", "mlock",
        "compaction", "pkey", "hugevm", "memory-failure", "pfnmap", "gup_test")
# for which reasons cases of ours may skip, with which configurations
EXCUSES = {
    "what could not be read is not read from swap again": lambda options: True,
    "who writes to private pages is not throttled": lambda options: True,
    "/dev/hmm_dmirror0: No such file or directory": lambda options: "CONFIG_TEST_HMM=y" not in options,
    "locks are larger with lockdep": lambda options: "CONFIG_LOCKDEP=y" in options,
}
LIMIT = 600     # seconds for one category
STALL = 60      # seconds in which a program that is well gets something done
OTHER_ROOT = guest.TOP / "lab/guest/other-root"
LEFT_OUT = "left out"   # the category of what run_vmtests.sh says that it does not start

JOB = """#!/usr/bin/busybox sh
{before}
# for programs that have pages swapped out
fallocate -l 256M /swap && mkswap /swap >/dev/null && swapon /swap || exit 1
cd /selftests/mm
export STALL={stall}
for category in {categories}; do
	begin=$(date +%s)
	case $category in
	*_storm | mm_cid_test) set -- /run/job/programs ;;
	*) set -- ./run_vmtests.sh -t ;;
	esac
	timeout -k 5 {limit} "$@" $category >/tmp/log 2>&1
	status=$?
	{{ echo "category $category"; cat /tmp/log; echo "category $category status $status"; }} >>/run/out/vmtests.log
	send-results
	echo "vmtests: $category ended with $status after $(($(date +%s) - begin))s"
done
{after}
exit 0
"""


def run(kernel, image, out, categories=SHORT, append="", arch="amd64", after="",
        nodes=2, limit=LIMIT, stall=STALL, root="", turns=False):
    """All categories in one boot, then what AFTER says; the output is out/vmtests.log. With
    root, the name of a file system, on a copy of the guest's root on a disk of that."""
    one = guest.Guest(kernel, image, cpus=4, nodes=nodes, mem=guest.MACHINES[arch].mem, append=append,
                      turns=turns, timeout=60 + limit * len(categories), arch=arch)
    job = JOB.format(before=root and f"[ -e /other-root ] || exec ./other-root {root} ./run",
                     categories=" ".join(categories), limit=limit, stall=stall, after=after)
    with tempfile.NamedTemporaryFile(prefix="root-", dir=guest.BUILD) as disk:
        if root:
            disk.truncate(4 << 30)
            one.qemu = ["-drive", f"file={disk.name},if=virtio,format=raw,cache=unsafe"]
        result = guest.run(one, job, [PROGRAMS, OTHER_ROOT], out=out)
    built = next(parent for parent in Path(kernel).parents if (parent / ".config").exists())
    shutil.copyfile(built / ".config", out / "config")
    return result


def results(log, said=None):
    """{"category: program and arguments": "ok" | "skip" | "excused" | "fail" | "timeout"}.

    What each of them printed goes into said, if that is a dictionary.
    """
    options = (Path(log).parent / "config").read_text().splitlines()
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
        case = re.match(r"#[ #]+(ok|not ok) \d+ (\S+\.\S+)(?: # SKIP (.*))?", line)
        if case and category in OURS:
            name = f"{running}: {case[2]}"
            found[name] = "fail" if case[1] == "not ok" else "ok" if case[3] is None else how_skips(case[3], options)
            said[name], case_printed = case_printed, []
        verdict = re.match(r"(ok|not ok) \d+ .*?(# SKIP)?$", line)
        if verdict:
            found[running] = ("fail" if verdict[1] == "not ok"
                              else "skip" if verdict[2] else "ok")
            said[running], running = printed, None
    return found


def how_skips(why, options):
    """Whether a case of ours may skip for a reason with this .config."""
    return "excused" if why in EXCUSES and EXCUSES[why](options) else "skip"


def excuse(printed):
    """Why a case skipped, of what it printed."""
    return printed[-1].partition(" # SKIP ")[2]


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
