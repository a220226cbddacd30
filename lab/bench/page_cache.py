#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What large folios of programs cost: pages that are read, kept, and read again.

  page_cache.py [--runs N] [--small MIB] [--out DIR]

Builds kernels of base and of posting 6, and boots each with a root on ext4, xfs and btrfs.
There read_bench touches pages of a file that is not cached; each program of the guest is
started once, with nothing cached; and all of them in turn, five times, in a memory cgroup of
so many MiB, which is less than they need. Prints counts of base and posting 6, of each boot.
DIR gets what the guests said, and table.md; default: results/page_cache.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / one) for one in ("guest", "kernel", "host")]
import fail                                     # noqa: E402
import guest                                    # noqa: E402
import variants                                 # noqa: E402
from guest import BUILD, TOP, Fail              # noqa: E402

FLAVOUR = "each-selftests"      # which has these file systems
SIDES = {"base": "base", "posting 6": "6-folio-lines"}
FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
ROUNDS = 5
# What is read of /proc/vmstat and of a cgroup's memory.stat, and how it is called
STARTED = {"nr_file_pages": "pages cached", "pgmajfault": "major faults"}
SMALL = {"pgmajfault": "major faults", "workingset_refault_file": "pages read again", "oom_kill": "killed"}

JOB = """#!/usr/bin/busybox sh
{other_root}
set -e
uncached() {{ sync; echo 3 >/proc/sys/vm/drop_caches; }}
# by the shell alone: nothing is started for it
lines() {{ while read -r line; do echo "$line"; done; }}
programs() {{
	for program in /usr/bin/*; do
		case $program in
		# they need more memory than the cgroup has
		*/python3 | */perl | */busybox) continue ;;
		esac
		[ -L "$program" ] || "$program" --help || :
	done </dev/null >/dev/null 2>&1
}}
/bench/read_bench -d /root -j /run/out/read.json || {may_skip}
uncached
lines </proc/vmstat >/run/out/before
programs
lines </proc/vmstat >/run/out/after

cgroup=/sys/fs/cgroup/small
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir $cgroup
echo {small}M >$cgroup/memory.max
uncached
(
	# $$ is still that of the shell outside
	read -r pid _ </proc/self/stat
	echo $pid >$cgroup/cgroup.procs
	for round in {rounds}; do programs; done
)
lines <$cgroup/memory.stat >/run/out/small
lines <$cgroup/memory.events >>/run/out/small
"""


def job(file_system, small):
    other = "" if file_system == "ext4" else f"[ -e /other-root ] || exec ./other-root {file_system} ./run"
    # its readahead cannot be set
    may_skip = "[ $? = 4 ]" if file_system == "btrfs" else "exit"
    return JOB.format(other_root=other, may_skip=may_skip, small=small, rounds=" ".join(map(str, range(ROUNDS))))


def counts(path):
    """{word: number} of lines of a word and a number"""
    return {word: int(number) for word, number in map(str.split, path.read_text().splitlines())}


def found(out):
    """{(what, figure): count} of a boot"""
    before, after, small = (counts(out / name) for name in ("before", "after", "small"))
    read = (out / "read.json").read_text()
    patterns = json.loads(read)["patterns"] if read.endswith("}\n") else {}
    return {**{(f"read_bench {name}", figure): one[key] for name, one in patterns.items()
               for key, figure in (("cached", "pages cached"), ("major", "major faults"))},
            **{("programs, once", figure): after[name] - before[name] for name, figure in STARTED.items()},
            **{(f"programs, {ROUNDS} times, memory short", figure): small[name] for name, figure in SMALL.items()}}


def boot(image, file_system, small, out):
    with tempfile.NamedTemporaryFile(prefix="root-", dir=BUILD) as disk:
        disk.truncate(4 << 30)
        one = guest.Guest(image, BUILD / "image/selftests/root.ext4", cpus=1, nodes=1, timeout=900,
                          qemu=["-drive", f"file={disk.name},if=virtio,format=raw,cache=unsafe"])
        result = guest.run(one, job(file_system, small), [TOP / "lab/guest/other-root"], out=out)
    if not result.ok:
        raise Fail(f"{file_system}: {result.explain()}")
    return found(out)


def table(samples):
    """A line a figure, as Markdown; of {(side, file system): [boots]}."""
    sides = list(dict.fromkeys(side for side, _ in samples))
    systems = list(dict.fromkeys(system for _, system in samples))
    heads = [f"{system}, {side}" for system in systems for side in sides]
    lines = [f"| what | figure | {' | '.join(heads)} |", "| --- | --- |" + " ---: |" * len(heads)]
    for key in dict.fromkeys(key for boots in samples.values() for one in boots for key in one):
        cells = [" ".join(f"{one[key]:,}" if key in one else "-" for one in samples[side, system])
                 for system in systems for side in sides]
        lines.append(f"| {' | '.join((*key, *cells))} |")
    return "\n".join([*lines, ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=variants.number, default=2)
    parser.add_argument("--small", type=variants.number, default=5, help="MiB of the memory cgroup")
    parser.add_argument("--out", type=Path, default=TOP / "results/page_cache")
    args = parser.parse_args()
    guest.stop_on_signals()
    if not guest.tool(TOP / "lab/guest/image", "selftests"):
        raise Fail("there is no disk for the guests: lab/host/setup selftests installs what it needs")
    images = {side: variants.build(f"page cache, {side}", commit, flavour=FLAVOUR)
              for side, commit in SIDES.items()}
    samples = {(side, system): [] for system in FILE_SYSTEMS for side in SIDES}
    todo = [(run, side, system) for run in range(args.runs) for system in FILE_SYSTEMS for side in SIDES]
    for left, (run, side, system) in zip(range(len(todo) - 1, -1, -1), todo):
        samples[side, system].append(
            boot(images[side], system, args.small, args.out / f"{run + 1}-{system}-{side.replace(' ', '-')}"))
        print(f"{system}, {side}, run {run + 1} of {args.runs}: {left} boots left", flush=True)
        if all(samples.values()):
            (args.out / "table.md").write_text(table(samples))
    print((args.out / "table.md").read_text())


if __name__ == "__main__":
    fail.main("page_cache", main, "interrupted; what was measured is kept")
