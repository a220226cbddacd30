# SPDX-License-Identifier: GPL-2.0
"""The series as a distribution configures its kernel."""

import guest
import vmtests
from harness import (LOGS, SHARDED, TOP, all_pass, disk, kernel_of, kunit_results, lives, selftests_in_guest,
                     tap)

DISTRIBUTION = "patched-debian-kunit"
# what must be in use, not only configured: (what, how the guest tells, what it then says)
ACTIVE = (
    ("AppArmor", "cat /sys/module/apparmor/parameters/enabled", lambda said: said == "Y"),
    ("security modules", "cat /sys/kernel/security/lsm",
     lambda said: {"apparmor", "landlock", "yama", "bpf", "ima"} <= set(said.split(","))),
    ("multi-generational LRU", "cat /sys/kernel/mm/lru_gen/enabled", lambda said: int(said or "0", 16) & 1),
    ("NUMA balancing", "cat /proc/sys/kernel/numa_balancing", lambda said: said == "1"),
    # AT_RSEQ_FEATURE_SIZE: as far as mm_cid, whose four bytes end there
    ("rseq with mm_cid", "od -A n -t u8 -w16 /proc/self/auxv | awk '$1 == 27 { print $2 }'",
     lambda said: int(said or 0) >= 28),
    ("memory cgroups", "cat /sys/fs/cgroup/cgroup.controllers", lambda said: "memory" in said.split()),
    ("mitigations", "cat /sys/devices/system/cpu/vulnerabilities/spectre_v1",
     lambda said: said.startswith("Mitigation")),
)
JOB = """mount -t securityfs securityfs /sys/kernel/security
{ask}
exec ./storm-suite -t 5 /run/out exec fork"""


def active(folder):
    """A result for each thing that must be in use."""
    for number, (what, _, holds) in enumerate(ACTIVE):
        said = (folder / f"active.{number}").read_text().strip()
        tap.result(holds(said), f"distribution: {what}", f"the guest says \"{said}\"")


def step_distribution():
    """as Debian configures it: LSMs and all active, KUnit, storms, our selftests, no splat"""
    ask = "\n".join(f"{{ {command}; }} >/run/out/active.{number} 2>/dev/null"
                    for number, (_, command, _) in enumerate(ACTIVE))
    # as many trees as there can be, or KUnit skips what is of several
    one = guest.Guest(kernel_of(DISTRIBUTION), disk(), append="panic_on_warn=1 i_mmap_shards=64",
                      timeout=900, turns=True)
    result = lives("distribution: boots and storms without a splat", one, JOB.format(ask=ask),
                   out=LOGS / "distribution")
    if not result:
        return
    active(result.out)
    kunit_results("kunit distribution", "parse", result.console)
    for name, append in SHARDED.items():
        result = selftests_in_guest(one.kernel, one.image, LOGS / f"distribution {append}".strip(),
                                    vmtests.IN_SERIES, f"panic_on_warn=1 kunit.enable=0 {append}".strip(),
                                    limit=1200, stall=120, turns=True)
        all_pass(f"distribution, {name}", result, vmtests.IN_SERIES)
