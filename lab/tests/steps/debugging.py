# SPDX-License-Identifier: GPL-2.0
"""Kernels that turn a quiet mistake into a splat."""

import collections
import re
import subprocess
from pathlib import Path

import guest
import read
import series
from harness import (DEBUG, FORCED, Fail, LOGS, PATCHED, SHARDED, TOP, all_pass, disk, in_guest,
                     kernel_of, kunit_results, lives, say, selftests_in_guest, tap)

STRICT = "patched-debug-strict-kunit"
DEBUGGERS = {DEBUG: "debug kernel", STRICT: "strict kernel"}

# identify_cpu() forgets for a moment, with interrupts enabled, that the CPU has page tables of
# five levels. KASAN asks for that, and takes what an interrupt reads then for wild.
WARNS = "panic_on_warn=1 no5lvl"
# without KASAN, what is used after it was freed
POISON = "slab_debug=FZP,i_mmap_set,i_mmap_tree"
# file_rmap's fork_truncate takes minutes, in the strict kernel more than eight
SLOW = {DEBUG: {"limit": 1800, "stall": 240}, STRICT: {"limit": 3600, "stall": 480}}


def step_debug():
    """lockdep and tree checks: KUnit at boot, a storm, our selftests, no splat"""
    kunit_and_storm(DEBUG, "kunit guest", POISON)
    debug_races("files sharded by contention", "", ["file_rmap", "fault_retry", "mm_cid_test"], more=POISON)


def kunit_and_storm(kernel, title, more):
    out = LOGS / DEBUGGERS[kernel].split()[0]
    # as many trees as there can be, or KUnit skips what needs more than the guest has nodes
    one = guest.Guest(kernel_of(kernel), disk(), append=f"{WARNS} i_mmap_shards=64 {more}", timeout=1800)
    lives(f"{DEBUGGERS[kernel]}: boots and storms without a splat", one,
          "./storm-suite -t 3 /run/out exec fork exec:private", out=out)
    locks = sorted((out / "runs").glob("*/fork.lock_stat"))
    classes = read.lock_classes(locks[0]) if locks else {}
    for name in ("&mapping->i_mmap_rwsem", "&i_mmap_tree->lock"):
        tap.result(name in classes, f"{DEBUGGERS[kernel]}: lock_stat has {name}", sorted(classes))
    kunit_results(title, "parse", out / "console.log")


def debug_races(name, append, categories, kernel=DEBUG, more="", after=""):
    """Our selftests in the debug kernel: all pass, and no splat."""
    out = LOGS / f"{kernel} races {append}".strip()
    result = selftests_in_guest(kernel_of(kernel), disk(), out, categories,
                                f"{WARNS} kunit.enable=0 {append} {more}".strip(),
                                after=after, **SLOW[kernel])
    all_pass(f"{DEBUGGERS[kernel]}, {name}", result, categories)
    return result


# Sheaves of slab caches are arrays of objects that kmemleak reads, also beyond their end,
# where those are that were handed out: it takes them for pointers, so a set of shards that
# leaks now and then is never missed. Caches that are debugged have no sheaves.
NO_SHEAVES = "slab_debug=FZ,i_mmap_set,i_mmap_tree"
# Inodes have to be gone for their shards to be missed. kmemleak reports what two scans in
# a row found the same, and what only such an object pointed to one scan later.
LEAKS = """echo 3 >/proc/sys/vm/drop_caches
sleep 6
for turn in 1 2 3; do
	echo scan >/sys/kernel/debug/kmemleak || echo "kmemleak is off" >>/run/out/leaks
	sleep 1
done
cat /sys/kernel/debug/kmemleak >>/run/out/leaks"""


def step_strict():
    """KASAN, page table checks, leaks, undefined behaviour: KUnit, a storm, our selftests, no splat"""
    kunit_and_storm(STRICT, "kunit strict", NO_SHEAVES)
    for name, append in SHARDED.items():
        result = debug_races(name, append, ["exec_storm", "fault_storm", "file_rmap", "fault_retry", "rss_stat",
                                            "mm_cid_test"],
                             STRICT, NO_SHEAVES, LEAKS)
        nothing_leaks(f"strict kernel, {name}", result.out / "leaks")


def nothing_leaks(name, leaks):
    tap.result(leaks.exists() and not leaks.read_text(), f"{name}: nothing leaks",
               leaks.read_text() if leaks.exists() else f"no {leaks}")


def step_faults_injected():
    """allocations that fail, one by one and at random, in exec, mmap, fork and promotion"""
    for name, append in SHARDED.items():
        out = LOGS / f"faults_injected {append}".strip()
        one = guest.Guest(kernel_of(STRICT), disk(), timeout=2400,
                          append=f"{WARNS} kunit.enable=0 {append} {NO_SHEAVES}")
        if not lives(f"faults injected, {name}: no splat", one, f"./fault-injection /run/out || exit\n{LEAKS}",
                     [TOP / "lab/tests/fault-injection"], out=out):
            continue
        failed = collections.Counter()
        for line in (out / "injected").read_text().splitlines():
            kind, count, _ = line.split()
            failed[kind] += int(count)
        for kind in ("exec", "fork", "random", "sharding"):
            tap.result(failed[kind], f"faults injected, {name}: {kind}, {failed[kind]} times",
                       (out / "injected").read_text())
        nothing_leaks(f"faults injected, {name}", out / "leaks")


def races(console):
    """{title: report} of what KCSAN found, each pair of functions once, named as in functions_of()."""
    found = {}
    for report_ in re.split(r"={60,}", console):
        title = re.search(r"BUG: KCSAN: (.+)", report_)
        if title:
            # where the other side is not known, an offset is behind the name
            pair = " / ".join(sorted(re.split(r"[.+]", name)[0]
                                     for name in title[1].split(" in ")[-1].split(" / ")))
            found.setdefault(pair, report_)
    return found


SOUGHT = "i_mmap_lock_first"
# Pairs of base's that not every boot of it shows. The series changes none of the accesses that race
LRU = "page_folio() reads compound_info, which is where lru is"
KNOWN = {"reclaim_pages / vm_normal_folio": LRU, "shrink_folio_list / vm_normal_folio": LRU,
         "copy_page_range / migrate_pages_batch": LRU, "__x64_sys_move_pages / do_wp_page": LRU,
         "copy_page_range / folio_remove_rmap_ptes": "_mm_ids is read while another takes the bit lock in it",
         "__folio_freeze_and_split_unmapped / softleaf_entry_wait_on_locked":
             "a split copies flags while a waiter sets PG_waiters",
         "__node_reclaim / kthread_is_per_cpu": "the scheduler reads flags of a task that runs",
         "lruvec_lru_size / mem_cgroup_update_lru_size": "the size is read without the lock that it changes under"}


def functions_of(tree):
    """Names of the functions of the files that the series changes."""
    changed = series.git("diff", "--name-only", "base..series", "--", "*.c").split()
    objects = [tree / Path(file).with_suffix(".o") for file in changed]
    symbols = subprocess.run(["nm", *(one for one in objects if one.exists())], text=True,
                             stdout=subprocess.PIPE, check=True).stdout
    names = {fields[2].split(".")[0] for fields in map(str.split, symbols.splitlines())
             if len(fields) == 3 and fields[1] in "tT"}
    if SOUGHT not in names:
        raise Fail(f"{tree} has no {SOUGHT}(), which the series adds")
    return names


def judged(pair, base, ours):
    """(how tap tells of two functions that race, why)"""
    if pair in base:
        return "same", "the same pair of functions"
    if ours.isdisjoint(pair.split(" / ")):
        return "skip", "neither is in a file that the series changes"
    return ("skip", KNOWN[pair]) if pair in KNOWN else ("fail", "")


# that it is there, and that a test came to its end; base has what mm_cid_test looks for
KCSAN_ON = re.compile(r"kcsan: enabled")
SUMMARY = {"patched": re.compile(r"^# Totals: pass:[1-9]", re.M),
           "base": re.compile(r"^# Totals: (?!pass:0 fail:0 )", re.M)}


def step_kcsan():
    """no data race that base has not, by KCSAN, strict"""
    # mm_cid_test's last_user hangs base
    tests = {"file_rmap": "mm", "rss_stat": "mm", "mm_cid_test": "rseq"}
    job = "./storm-suite -t 20 /run/out exec fork || exit\n" + "".join(
        f"cd /selftests/{folder} && timeout 1200 ./{name} -T last_user >/run/out/{name}\n"
        for name, folder in tests.items()) + "exit 0"
    kernels, found = {side: kernel_of(f"{side}-kcsan") for side in ("base", "patched")}, {}
    ours = functions_of(PATCHED / "kcsan")
    for side, append in (("base", ""), ("patched", ""), ("patched", FORCED)):
        name = f"{side} {append}".strip()
        one = guest.Guest(kernels[side], disk(), append=append, timeout=2400)
        result = in_guest(one, job, out=LOGS / f"kcsan {name}")
        console = guest.console_text(result.console)
        # a race is a BUG to it: that is what is looked at below
        if not tap.result(result.status == 0 and KCSAN_ON.search(console)
                          and all(SUMMARY[side].search((result.out / one).read_text()) for one in tests),
                          f"KCSAN: {name} runs to the end", result.explain()):
            return
        found[name] = races(console)
        say(f"{name}: {len(found[name])} pairs of functions that race")
    for name in [name for name in found if name != "base"]:
        for pair, report in found[name].items():
            how, why = judged(pair, found["base"], ours)
            getattr(tap, how)(f"KCSAN, {name}: {pair}", why or report)
