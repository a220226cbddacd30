#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a page fault that has to wait should do with its lock: the answers side by side.

  variants.py [--runs N] [--at-once N] [--seconds S] [--only VARIANT,...] [--loads LOAD,...] [--out DIR]

Builds a kernel of each variant (the patches of postings/experiments on base and on posting 5),
boots them in turn, and prints for each load how long those who fault, who change the
mappings, and a third thread take: base's median, and what the others are of it, with the
99 % confidence interval. Guests have no more CPUs than the host, all that run at once taken
together, or what waits would wait for a CPU; without KVM times are an emulator's. DIR gets
samples.json and table.md; default: results/variants.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / one) for one in ("guest", "kernel", "host")]
import fail                                     # noqa: E402
import guest                                    # noqa: E402
import series                                   # noqa: E402
from figures import Figure                      # noqa: E402
from flavour import image_of                    # noqa: E402
from guest import BUILD, TOP, Fail              # noqa: E402

PATCHES = TOP / "postings/experiments"
FLAVOUR = "each-slow"
POSTING = "5-fault-retry"
LOOKUP = "mm: take mmap_lock only for the lookup in lock_fault_vma()"
# name: what it does, from which commit, which patch
VARIANTS = {
    "base": ("drops its lock, is retried under mmap_lock", "base", None),
    "keep": ("keeps the VMA lock", "base", "keep.patch"),
    "keep-lookup": ("... and finds the VMA as posting 5 does", POSTING, "keep.patch"),
    "keep-cow": ("keeps it, and fork() locks only VMAs whose pages it copies", "base", "keep-cow.patch"),
    "by-place": ("drops it; at two places is retried under the VMA lock", "base", "by-place.patch"),
    "posting-5-half": ("drops it, is retried under the VMA lock", "before the lookup", None),
    "posting-5": ("... and takes mmap_lock only to find the VMA", POSTING, None),
}
DISKS_MS = {"/dev/vdc": 20, "/dev/vdd": 2, "/dev/vde": 0.1}
SWAP_MS = 20
# name: arguments of fault_storm; what has to be on for it
LOADS = {
    "mmap elsewhere": "mmap -f /dev/vdc",
    "mprotect of parts": "part -c -f /dev/vdc",
    "mprotect of parts, each ms": "part -c -e 1000 -f /dev/vdc",
    "mprotect of parts, each 100 ms": "part -c -e 100000 -f /dev/vdc",
    "mprotect of parts, disk of 2 ms": "part -c -f /dev/vdd",
    "mprotect of parts, disk of 0.1 ms": "part -c -f /dev/vde",
    "mmap elsewhere, in order": "mmap -o -c -f /dev/vdc",
    "mprotect of parts, in order": "part -o -c -f /dev/vdc",
    "mprotect of parts, two threads": "part -n 2 -c -f /dev/vdc",
    "mmap elsewhere, pages are written": "mmap -w -f /dev/vdc",
    "fork, 1,000 VMAs": "fork -v 1000 -c -f /dev/vdc",
    "fork, 1,000 VMAs, each 50 ms": "fork -v 1000 -c -e 50000 -f /dev/vdc",
    "killed": "kill -f /dev/vdc",
    "swap, killed": "kill -a",
    "swap, mprotect of parts": "part -a -c",
    "swap, fork, 1,000 VMAs": "fork -a -v 1000 -c",
    "zram, mprotect of parts": "part -a -c",
    "zram, fork, 1,000 VMAs": "fork -a -v 1000 -c",
    "mprotect of parts, each ms, by a higher priority": "part -i -c -e 1000 -f /dev/vdc",
}
# how a figure is called in fault_storm's JSON, and in the table; which way is better
FIGURES = (
    ("touches", "pages touched", True), ("touch_p99_us", "touch p99, us", False),
    # p99 of few calls beside p99 of many says nothing: how many there were, and the longest
    ("latencies", "calls made", True), ("p50_us", "call p50, us", False), ("max_us", "longest call, us", False),
    ("third_p99_us", "third thread's p99, us", False), ("mrelease_p50_us", "process_mrelease() p50, us", False),
    ("mmap_lock_reads", "`mmap_lock` taken by faults", False),
    ("mmap_lock_wait_us", "faults' wait for `mmap_lock`, us", False),
    ("io_with_mmap_lock", "reads begun under `mmap_lock`", False),
)


def commit_of(name):
    if not series.rev(POSTING):
        raise Fail(f"there is no branch {POSTING}: run make tree")
    if name != "before the lookup":
        return series.rev(name)
    found = series.git("log", "--format=%H", "--fixed-strings", f"--grep={LOOKUP}", f"base..{POSTING}").split()
    if len(found) != 1:
        raise Fail(f"branch {POSTING} has no commit \"{LOOKUP}\": run make tree")
    return series.rev(f"{found[0]}~1")


def build(name, commit, patch=None, flavour=FLAVOUR):
    """The image of a commit, with a patch, kept until that or the configuration changes."""
    tree, kept = series.each_tree(), BUILD / "variants" / name
    configs = sorted((TOP / "lab/kernel/configs").glob("*.config"))
    stamp = "\n".join([commit_of(commit), (PATCHES / patch).read_text() if patch else "",
                       *(path.read_text() for path in configs)])
    if kept.with_suffix(".stamp").exists() and kept.with_suffix(".stamp").read_text() == stamp:
        return kept
    series.git_in(tree, "checkout", "-q", "--force", "--detach", commit_of(commit))
    series.git_in(tree, "clean", "-qfd")
    if patch:
        series.git_in(tree, "apply", PATCHES / patch)
    try:
        if not guest.tool(TOP / "lab/kernel/kernel", flavour):
            raise Fail(f"the kernel of {name} does not build")
    finally:
        if patch: # others check commits out there, and would refuse to
            series.git_in(tree, "apply", "-R", PATCHES / patch)
    kept.parent.mkdir(exist_ok=True)
    shutil.copy(image_of(flavour), kept)
    kept.with_suffix(".stamp").write_text(stamp)
    return kept


def script(loads, seconds):
    lines = ["#!/usr/bin/busybox sh", "set -e"]
    for number, name in enumerate(loads):
        on = {"swap": "/dev/nullb0", "zram": "/dev/zram0"}.get(name.split(",")[0])
        if on == "/dev/zram0":
            lines.append("echo 256M >/sys/block/zram0/disksize")
        if on:
            lines += [f"busybox mkswap {on} >/dev/null", f"busybox swapon {on}"]
        lines.append(f"/bench/fault_storm {LOADS[name]} -t {seconds} -j /run/out/{number}.json")
        if on:
            lines.append(f"busybox swapoff {on}")
        if on == "/dev/zram0":
            lines.append("echo 1 >/sys/block/zram0/reset")
    return "\n".join([*lines, ""])


def boot(image, loads, args, out):
    """{load: what fault_storm says of it}"""
    disks = [word for ms in DISKS_MS.values() for word in
             ("-drive", f"driver=null-co,read-zeroes=on,size=64M,latency-ns={int(ms * 1e6)},if=virtio")]
    one = guest.Guest(image, BUILD / "image/root.ext4", cpus=max(1, os.cpu_count() // args.at_once), nodes=1,
                      append="null_blk.memory_backed=1 null_blk.irqmode=2 null_blk.gb=1 null_blk.bs=4096 "
                             f"null_blk.completion_nsec={int(SWAP_MS * 1e6)}",
                      qemu=disks, timeout=120 + len(loads) * (args.seconds + 60))
    result = guest.run(one, script(loads, args.seconds), out=out)
    if not result.ok:
        raise Fail(result.explain())
    return {name: json.loads((out / f"{number}.json").read_text()) for number, name in enumerate(loads)}


def cell(figure):
    """The ratio and its interval, bold where that does not hold 1; without a base the median."""
    if figure.ratio is None:
        return f"{figure.median('patched'):,.0f}"
    ratio, bounds = f"{figure.ratio:.2f}", figure.bounds
    if not bounds:
        return ratio
    return f"{ratio if bounds[0] <= 1 <= bounds[1] else f'**{ratio}**'} ({bounds[0]:.2f}-{bounds[1]:.2f})"


def table(samples, variants, loads):
    """A line a figure that any variant has, as Markdown."""
    others = [name for name in variants if name != "base"]
    lines = [f"| load | | base | {' | '.join(others)} |", "| --- | --- | ---: |" + " ---: |" * len(others)]
    for load in loads:
        first = load
        for key, title, higher in FIGURES:
            values = {name: [one[load][key] for one in samples[name] if key in one[load]] for name in variants}
            if not any(map(any, values.values())):
                continue
            figures = [Figure(key, "", higher, "", {"base": values["base"], "patched": values[name]}) for name in others]
            base = statistics.median(values["base"])
            lines.append(f"| {first} | {title} | {base:,.0f} | {' | '.join(map(cell, figures))} |")
            first = ""
    return "\n".join([*lines, ""])


def chosen(text, all_, what):
    names = text.split(",") if text else list(all_)
    unknown = [name for name in names if name not in all_]
    if unknown:
        raise Fail(f"no {what} {unknown[0]}: there are {', '.join(all_)}")
    return names


def number(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=number, default=3)
    parser.add_argument("--at-once", type=number, default=1, help="guests; the host's CPUs are shared out")
    parser.add_argument("--seconds", type=number, default=4, help="of each load")
    parser.add_argument("--only", default="", help=f"some of {', '.join(VARIANTS)}; base is always there")
    parser.add_argument("--loads", default="", help="numbers, from 1, of the loads; or all")
    parser.add_argument("--out", type=Path, default=TOP / "results/variants")
    args = parser.parse_args()
    variants = list(dict.fromkeys(["base", *chosen(args.only, VARIANTS, "variant")]))
    numbers = chosen(args.loads, [str(n + 1) for n in range(len(LOADS))], "load")
    loads = [list(LOADS)[int(n) - 1] for n in numbers]
    guest.stop_on_signals()
    if not guest.tool(TOP / "lab/guest/image"):
        raise Fail("there is no disk for the guests")
    images = {name: build(name, *VARIANTS[name][1:]) for name in variants}
    samples = {name: [] for name in variants}
    todo = [(run, name) for run in range(args.runs) for name in (variants if run % 2 == 0 else variants[::-1])]

    def measure(run, name):
        return boot(images[name], loads, args, args.out / "boots" / f"{run + 1}-{name}")

    with ThreadPoolExecutor(args.at_once) as pool:
        # one after the other in this thread, where a signal ends the guest
        boots = (map if args.at_once == 1 else pool.map)(measure, *zip(*todo))
        for left, (run, name), one in zip(range(len(todo) - 1, -1, -1), todo, boots):
            samples[name].append(one)
            print(f"{name}, run {run + 1} of {args.runs}: {left} boots left", flush=True)
            if all(samples.values()):
                (args.out / "samples.json").write_text(json.dumps(samples, indent=1))
                (args.out / "table.md").write_text(table(samples, variants, loads))
    print((args.out / "table.md").read_text())


if __name__ == "__main__":
    fail.main("variants", main, "interrupted; what was measured is kept")
