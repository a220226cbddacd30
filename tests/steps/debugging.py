# SPDX-License-Identifier: GPL-2.0
"""Kernels that turn a quiet mistake into a splat."""

import guest
import report
import series
from harness import (DEBUG, FORCED, IMAGE, LOGS, TOP, all_pass, image_of, in_guest, kunit_results,
                     selftests_in_guest, tap)


def step_debug():
    """the debug kernel: KUnit at boot, a storm, no splat"""
    out = LOGS / "debug"
    job = "#!/usr/bin/busybox sh\nexec ./storm-suite -t 3 /run/out exec fork exec:private\n"
    one = guest.Guest(image_of(DEBUG), IMAGE, mem="4G", append="panic_on_warn=1", timeout=900)
    result = in_guest(one, job, [TOP / "guest/storm-suite"], out=out)
    tap.result(result.ok, "debug kernel: boots and storms without a splat", result.explain())
    locks = sorted((out / "runs").glob("*/fork.lock_stat"))
    classes = report.lock_classes(locks[0]) if locks else {}
    for name in ("&mapping->i_mmap_rwsem", "&i_mmap_shard->lock"):
        tap.result(name in classes, f"debug kernel: lock_stat has {name}", sorted(classes))
    kunit_results("kunit guest", [series.PATCHED / "tools/testing/kunit/kunit.py", "parse",
                                  result.console])
    debug_races("files sharded by contention", "", ["file_rmap", "fault_retry"])


def step_debug_forced():
    """the debug kernel with every file sharded"""
    debug_races("every file sharded", FORCED, ["exec_storm", "file_rmap"])


def debug_races(name, append, categories):
    """Our selftests in the debug kernel: all pass, and no splat."""
    out = LOGS / f"debug races {append}".strip()
    all_pass(f"debug kernel, {name}",
             selftests_in_guest(image_of(DEBUG), IMAGE, out, categories,
                         f"panic_on_warn=1 kunit.enable=0 {append}"), categories)
