# SPDX-License-Identifier: GPL-2.0
"""Other architectures."""

import shutil
import subprocess
import time
from dataclasses import dataclass

import guest
import series
import vmtests
from harness import (BASE, BUILD, JOBS, LOGS, PATCHED, TOP, all_pass, built, command, image_of,
                     kunit_results, must, say, selftests_in_guest, tap)
from steps.patches import messages

HUGE = "huge pages in the emulator"
# cases that an architecture lets skip, by a word of their name, and what it lacks
LACKS = {
    "ppc64el": {"minor": "userfaultfd for minor faults", "huge_minor": "userfaultfd for minor faults",
                "write_protected": "userfaultfd write protection"},
    "riscv64": {"soft_offline": "memory failure handling",
                "write_protected": "userfaultfd write protection on this CPU"},
    "s390x": {"migrate": "second node", "mremap_migrate": "second node",
              "collapse": HUGE, "share_truncate": HUGE, "huge_missing": HUGE,
              "soft_offline": "memory failure handling",
              "minor": "userfaultfd for minor faults", "huge_minor": "userfaultfd for minor faults",
              "write_protected": "userfaultfd write protection"},
}
# what both series are made of, everywhere
OBJECTS = ("mm/", "kernel/events/", "fs/exec.o", "fs/inode.o", "fs/hugetlbfs/", "fs/proc/")


@dataclass(frozen=True)
class Compiled:
    """A configuration whose OBJECTS are compiled, and a few more that are its own."""
    arch: str
    config: str
    tools: str
    more: tuple = ()
    vma_locks: bool = False

    @property
    def compiler(self):
        name, _, value = self.tools.partition("=")
        return f"clang{value}" if name == "LLVM" else f"{value}gcc"

    @classmethod
    def gcc(cls, arch, config, target, *more, **kw):
        return cls(arch, config, f"CROSS_COMPILE={target}-linux-gnu-", more, **kw)


COMPILED = (
    Compiled.gcc("arm64", "defconfig", "aarch64", "arch/arm64/mm/fault.o",
                 "drivers/gpu/drm/panthor/panthor_gem.o", vma_locks=True),
    Compiled("arm", "multi_v7_defconfig", "CROSS_COMPILE=arm-linux-gnueabihf-",
             ("arch/arm/mm/fault.o",), vma_locks=True),
    Compiled.gcc("powerpc", "ppc64le_defconfig", "powerpc64le", "arch/powerpc/mm/fault.o",
                 vma_locks=True),
    Compiled.gcc("riscv", "defconfig", "riscv64", "arch/riscv/mm/fault.o", vma_locks=True),
    Compiled.gcc("s390", "defconfig", "s390x", "arch/s390/mm/fault.o", vma_locks=True),
    # bookworm has no GCC for it
    Compiled("loongarch", "defconfig", "LLVM=-19", ("arch/loongarch/mm/fault.o",), vma_locks=True),
    Compiled.gcc("mips", "malta_defconfig", "mips", "arch/mips/mm/cache.o"),
    Compiled.gcc("sparc", "sparc64_defconfig", "sparc64", "arch/sparc/mm/init_64.o"),
    Compiled.gcc("parisc", "generic-32bit_defconfig", "hppa", "arch/parisc/kernel/cache.o"),
    Compiled.gcc("sh", "sh7785lcr_defconfig", "sh4", "arch/sh/mm/cache-sh4.o"),
    Compiled.gcc("m68k", "multi_defconfig", "m68k"),
    Compiled.gcc("alpha", "defconfig", "alpha"),
)


OUR_TESTS = ("file_rmap", "fault_retry", "fault_storm")


def selftests_of(arch, flavour):
    """Our selftests on a kernel for an architecture."""
    return selftests_in_guest(image_of(flavour), BUILD / "image" / arch / "root.ext4",
                              LOGS / flavour, OUR_TESTS, arch=arch)


def on_base(arch):
    """What they find on the unpatched kernel, which is built only for that."""
    say(f"{arch}: something failed; does it on base, too?")
    result = selftests_of(arch, f"base-{arch}") if built(f"base-{arch}") else None
    return vmtests.results(result.out / "vmtests.log") if result and result.ok else {}


def step_arches():
    """other architectures, emulated: KUnit and our selftests, without a splat"""
    for arch in guest.FOREIGN:
        flavour = f"patched-{arch}-kunit"
        begin = time.monotonic()
        # both, so that one run tells of all that is missing
        ready = [built(flavour), must(f"{arch}: image", [TOP / "lab/guest/image", arch])]
        if not all(ready):
            continue
        try:
            result = selftests_of(arch, flavour)
        except guest.Fail as why:
            tap.fail(f"{arch}: boots", why)
            continue
        all_pass(arch, result, OUR_TESTS, LACKS.get(arch, {}), lambda: on_base(arch))
        kunit_results(f"kunit {arch}", [series.PATCHED / "tools/testing/kunit/kunit.py", "parse",
                                        result.console])
        say(f"{arch}: {time.monotonic() - begin:.0f}s")


def compiled(one, source, out):
    """(status, output) of compiling it from a source."""
    make = ["make", "-C", source, f"O={out}", f"ARCH={one.arch}", one.tools, f"-j{JOBS}"]
    status, text = command(f"{one.arch}: {one.config}, {source.parent.name}", [*make, one.config])
    if status:
        return status, text
    subprocess.run([source / "scripts/config", "--file", out / ".config", "-e", "WERROR"], check=True)
    return command(f"{one.arch}: compiles, {source.parent.name}",
                   [*make, "olddefconfig", *OBJECTS, *one.more])


def step_compiles():
    """what the series changes compiles on the architectures that it concerns, without a warning"""
    for one in COMPILED:
        name = f"{one.arch}: {one.config} compiles"
        if not shutil.which(one.compiler):
            tap.fail(name, f"{one.compiler} is missing: run lab/host/setup arches")
            continue
        out = PATCHED / f"compile-{one.arch}"
        status, text = compiled(one, series.PATCHED, out)
        log, said = tap.log, messages(text)
        if status and said and said == messages(compiled(one, BASE / "src", BASE / out.name)[1]):
            tap.same(name, text.strip().splitlines()[-1], log)
            continue
        if tap.result(not status, name, text, log) and one.vma_locks:
            config = out / ".config"
            tap.result("CONFIG_PER_VMA_LOCK=y\n" in config.read_text(),
                       f"{one.arch}: VMA locks are on", config, config)
