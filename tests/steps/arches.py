# SPDX-License-Identifier: GPL-2.0
"""Other architectures."""

import subprocess
import time

import guest
import series
from harness import (BUILD, JOBS, LOGS, PATCHED, TOP, all_pass, image_of, kunit_results, must, say,
                     selftests_in_guest, tap)

# cases that an architecture lets skip, by a word of their name, and what it lacks
LACKS = {
    "riscv64": {"soft_offline": "memory failure handling",
                "write_protected": "userfaultfd write protection on this CPU"},
}
# what page faults are made of that no guest runs: make's ARCH, configuration and tools,
# and more objects than FAULTS
FAULTS = ("mm/filemap.o", "mm/memory.o", "mm/mmap_lock.o")
COMPILED = (
    ("arm64", "defconfig", "CROSS_COMPILE=aarch64-linux-gnu-",
     "drivers/gpu/drm/panthor/panthor_gem.o"),
    ("arm", "multi_v7_defconfig", "CROSS_COMPILE=arm-linux-gnueabihf-"),
    ("powerpc", "ppc64le_defconfig", "CROSS_COMPILE=powerpc64le-linux-gnu-"),
    ("s390", "defconfig", "CROSS_COMPILE=s390x-linux-gnu-"),
    ("loongarch", "defconfig", "LLVM=-19"),     # bookworm has no GCC for it
)


def step_arches():
    """other architectures, emulated: KUnit and our selftests, without a splat"""
    categories = ("file_rmap", "fault_retry")
    for arch in guest.FOREIGN:
        flavour = f"patched-{arch}-kunit"
        begin = time.monotonic()
        # both, so that one run tells of all that is missing
        built = [must(f"{arch}: kernel", [TOP / "scripts/kernel", flavour]),
                 must(f"{arch}: image", [TOP / "scripts/image", arch])]
        if not all(built):
            continue
        try:
            result = selftests_in_guest(image_of(flavour), BUILD / "image" / arch / "root.ext4",
                                 LOGS / arch, categories, arch=arch)
        except guest.Fail as why:
            tap.fail(f"{arch}: boots", why)
            continue
        all_pass(arch, result, categories, LACKS.get(arch, {}))
        kunit_results(f"kunit {arch}", [series.PATCHED / "tools/testing/kunit/kunit.py", "parse",
                                        result.console])
        say(f"{arch}: {time.monotonic() - begin:.0f}s")


def step_compiles():
    """page faults of the architectures that arches does not boot, and of a driver, compile"""
    for arch, config, tools, *more in COMPILED:
        out = PATCHED / f"compile-{arch}"
        make = ["make", "-C", series.PATCHED, f"O={out}", f"ARCH={arch}", tools, f"-j{JOBS}"]
        if not must(f"{arch}: {config}", [*make, config]):
            continue
        subprocess.run([series.PATCHED / "scripts/config", "--file", out / ".config",
                        "-e", "WERROR"], check=True)
        must(f"{arch}: page faults compile", [*make, "olddefconfig", f"arch/{arch}/mm/fault.o",
                                              *FAULTS, *more])
        tap.result("CONFIG_PER_VMA_LOCK=y\n" in (out / ".config").read_text(),
                   f"{arch}: VMA locks are on", out / ".config")
