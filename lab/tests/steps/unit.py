# SPDX-License-Identifier: GPL-2.0
"""Unit tests of the kernel, and the sizes of what it has many of."""

import os
import re
import shutil

import guest
import series
from harness import (BUILD, JOBS, LOGS, PATCHED, TOP, command, disk, kernel_of, kunit_results, lives, must, tap)


# what kunit.py builds besides, and no test of mm/ has a use for: a fifth of the objects
NO_USE = ("BLOCK", "PCI", "KUNIT_UML_PCI", "IO_URING", "AIO", "INPUT", "SERIO", "HID_SUPPORT", "HWMON")


def kunitconfig():
    """That of mm/tests, which comes with posting 2; without it, the same for those tests that there are."""
    own = series.PATCHED / "mm/tests/.kunitconfig"
    if own.exists():
        return own
    there = "".join((series.PATCHED / one).read_text() for one in ("mm/Kconfig", "mm/Kconfig.debug"))
    lines = [line for line in (TOP / "mm/tests/.kunitconfig").read_text().splitlines()
             if not (test := re.match(r"CONFIG_(\w+_KUNIT_TEST)=", line)) or f"config {test[1]}\n" in there]
    config = PATCHED / "kunitconfig"
    config.write_text("\n".join([*lines, ""]))
    return config


def step_kunit():
    """KUnit under kunit.py, as user-mode Linux"""
    kunit_results("kunit UML", "run", "--kunitconfig", kunitconfig(), "--build_dir", PATCHED / "kunit",
                  "--kconfig_add=CONFIG_EXPERT=y", *(f"--kconfig_add=CONFIG_{one}=n" for one in NO_USE),
                  "--kernel_args", "i_mmap_shards=64", # as many trees as there can be
                  "--jobs", JOBS, "--make_options", "CC=ccache gcc",
                  cwd=series.PATCHED,
                  env={"CCACHE_DIR": os.environ.get("CCACHE_DIR", str(BUILD / "ccache")),
                       "CCACHE_BASEDIR": str(BUILD), "CCACHE_DEPEND": "1"})


def userland(tree, room):
    """tools/testing of a kernel tree where it can be built: it builds in place, and the
    tree stays clean. Links to all that it includes; the folder."""
    tools = room / "tools/testing"
    shutil.rmtree(room, ignore_errors=True)
    tools.mkdir(parents=True)
    for name in ("vma", "shared", "radix-tree"):
        shutil.copytree(tree / "tools/testing" / name, tools / name)
    for name in ("include", "lib", "arch", "build", "scripts"):
        (room / "tools" / name).symlink_to(tree / "tools" / name)
    for name in ("include", "lib", "mm", "scripts", "arch", "kernel"):
        (room / name).symlink_to(tree / name)
    return tools


def step_vma():
    """tools/testing/vma, the userland tests of mm/vma.c"""
    tools = userland(series.PATCHED, PATCHED / "vma")
    if not must("vma: build", ["make", "-C", tools / "vma", f"-j{JOBS}"]):
        return
    status, text = command("vma: run", ["./vma"], cwd=tools / "vma")
    summary = re.search(r"(\d+) tests run, (\d+) passed, (\d+) failed", text)
    tap.result(status == 0 and summary and summary[1] == summary[2] != "0",
               f"vma: {summary[0] if summary else 'run'}", text)


TREES = ("main", "idr-test", "multiorder", "xarray", "maple")


def tree_test(side, program):
    """Status and output of a program of tools/testing/radix-tree; None if it does not build."""
    folder = BUILD / side / "trees/tools/testing/radix-tree"
    if not folder.exists():
        userland(BUILD / side / "src", BUILD / side / "trees")
    status, text = command(f"trees: build {side} {program}", ["make", "-C", folder, f"-j{JOBS}", program])
    if status:
        tap.fail(f"trees: {program} builds on {side}", text)
        return None
    return command(f"trees: {side} {program}", [f"./{program}"], cwd=folder)


def failure(text):
    """What went wrong: the sanitizer's word and the test it was in, else the last line."""
    found = re.search(r"ERROR: AddressSanitizer: (\S+).*?#\d+ \S+ in (\S+) \S*testing/radix-tree/",
                      text, re.S)
    if found:
        return f"{found[1]} in {found[2]}()"
    return (text.strip().splitlines() or ["no output"])[-1]


# of base, before a failure of the series is one of its own: main's iterations race, so that
# it fails in some runs only, and not always at the same instruction
TRIES_ON_BASE = 3


def fails_on_base(program, how):
    """Whether the program fails like that on base, in one of a few runs."""
    for _ in range(TRIES_ON_BASE):
        found = tree_test("base", program)
        if not found: # it does not build, as is said by now
            break
        status, text = found
        if status and failure(text) == how:
            return True
    return False


def step_trees():
    """tools/testing/radix-tree: the XArray and the maple tree, which all of this stands on"""
    for side in ("base", "patched"):
        shutil.rmtree(BUILD / side / "trees", ignore_errors=True)
    for program in TREES:
        found = tree_test("patched", program)
        if not found:
            continue
        (status, text), log = found, tap.log
        if status and fails_on_base(program, failure(text)):
            tap.same(f"trees: {program}", failure(text), log)
        else:
            tap.result(not status, f"trees: {program}", text, log)


# of what gets a VMA, an mm or a mapping: must not grow, must not pack worse
SLABS = ("vm_area_struct", "mm_struct", "inode_cache", "ext4_inode_cache", "shmem_inode_cache",
         "proc_inode_cache", "hugetlbfs_inode_cache", "sock_inode_cache")


def no_worse(base, patched):
    """Objects of patched are no larger, and as many or more are in no larger a slab."""
    (size, objects, order), (now_size, now_objects, now_order) = (
        map(int, one.split()) for one in (base, patched))
    return now_size <= size and now_objects >= objects and now_order <= order


def step_slabs():
    """what there are many of is no larger than on base"""
    sizes = {}
    job = f"""cd /sys/kernel/slab
for slab in {" ".join(SLABS)} i_mmap_set; do
	[ ! -d $slab ] || echo $slab $(cat $slab/object_size $slab/objs_per_slab $slab/order)
done >/run/out/slabs"""
    for side in ("base", "patched"):
        result = lives(f"slabs: {side} boots", guest.Guest(kernel_of(side), disk(), cpus=2, nodes=2, mem="1G"),
                       job, out=LOGS / f"slabs-{side}")
        if not result:
            return
        sizes[side] = dict(line.split(" ", 1) for line in
                           (result.out / "slabs").read_text().splitlines())
    for slab in SLABS:
        base, patched = sizes["base"].get(slab), sizes["patched"].get(slab)
        tap.result(base and patched and no_worse(base, patched), f"slabs: {slab}",
                   f"size, objects per slab, order: {base} on base, {patched} patched")
    # with two groups of CPUs, one for each node
    told = re.search(r"\* - 2\n +- ([\d,]+)\n", (TOP / "Documentation/mm/file_rmap.rst").read_text())[1]
    size = sizes["patched"].get("i_mmap_set", "none").split()[0]
    tap.result(size == told, "slabs: i_mmap_set is as large as file_rmap.rst says", f"{size}, not {told}")
