# SPDX-License-Identifier: GPL-2.0
"""Other architectures."""

import shutil
import time

import guest
import series
from harness import (BUILD, LOGS, PATCHED, TOP, all_pass, built, command, image_of, kunit_results,
                     must, say, selftests_in_guest, tap)
from steps.patches import CROSS, elsewhere, messages, objects

HUGE = "huge pages in the emulator"
# cases that an architecture lets skip, by a word of their name, and what it lacks
LACKS = {
    "armhf": {"migrate": "second node", "mremap_migrate": "second node", "fork_migrate": "second node",
              "soft_offline": "memory failure handling", "uprobe": "uprobes in Thumb code",
              "share_truncate": "address space", "many_mappings": "sharding", "tmpfs_memory": "sharding",
              "minor": "userfaultfd for minor faults", "huge_minor": "userfaultfd for minor faults",
              "write_protected": "userfaultfd write protection"},
    "ppc64el": {"minor": "userfaultfd for minor faults", "huge_minor": "userfaultfd for minor faults",
                "write_protected": "userfaultfd write protection"},
    "riscv64": {"soft_offline": "memory failure handling",
                "write_protected": "userfaultfd write protection on this CPU"},
    "s390x": {"migrate": "second node", "mremap_migrate": "second node", "fork_migrate": "second node",
              "collapse": HUGE, "share_truncate": HUGE, "huge_missing": HUGE,
              "soft_offline": "memory failure handling",
              "minor": "userfaultfd for minor faults", "huge_minor": "userfaultfd for minor faults",
              "write_protected": "userfaultfd write protection"},
}
# what both series are made of, everywhere
OBJECTS = ("mm/", "kernel/events/", "fs/exec.o", "fs/inode.o", "fs/hugetlbfs/", "fs/proc/")
OUR_TESTS = ("file_rmap", "fault_retry", "fault_storm")
# Where the emulator misses that the code of a static key has changed, and a CPU that spins gives
# its turn away. One of armhf does not, and takes minutes to boot.
TAKES_TURNS = ("arm64",)


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
            result = selftests_in_guest(image_of(flavour), BUILD / "image" / arch / "root.ext4",
                                        LOGS / flavour, OUR_TESTS, arch=arch,
                                        turns=arch in TAKES_TURNS)
        except guest.Fail as why:
            tap.fail(f"{arch}: boots", why)
            continue
        all_pass(arch, result, OUR_TESTS, LACKS.get(arch, {}))
        kunit_results(f"kunit {arch}", "parse", result.console)
        say(f"{arch}: {time.monotonic() - begin:.0f}s")


def step_compiles():
    """what the series changes compiles on the architectures that it concerns, without a warning"""
    changed = objects(series.git("diff", "--name-only", "--diff-filter=d", "base", "series").split())
    for arch, how in CROSS.items():
        config, tools = how.split(":")
        name = f"{arch}: {config} compiles"
        compiler = f"clang{tools.removeprefix('LLVM=')}" if "=" in tools else f"{tools}gcc"
        if not shutil.which(compiler):
            tap.fail(name, f"{compiler} is missing: run lab/host/setup arches")
            continue
        own = [one for one in changed if elsewhere(one) == f"each:{arch}:{how}"]

        def compiled(side):
            return command(f"{name}, {side}", [TOP / "lab/tests/compile", "-c", f"{side}:{arch}:{how}",
                                               *OBJECTS, *own], env={"W": "e"})

        status, text = compiled("patched")
        log, said = tap.log, messages(text)
        if status and said and said == messages(compiled("base")[1]):
            tap.same(name, text.strip().splitlines()[-1], log)
            continue
        if tap.result(not status, name, text, log) and f"arch/{arch}/mm/fault.o" in own:
            config = PATCHED / f"{arch}-{config}/.config"
            tap.result("CONFIG_PER_VMA_LOCK=y\n" in config.read_text(),
                       f"{arch}: VMA locks are on", config, config)
