#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Stress a kernel in guests whose memory is short and swapped.

  stress.py soak FLAVOUR --out DIR --hours N [--seed S]

runs all tests of lab/tests/stress, stressors of stress-ng, trinity and storms of ours, in
random order, boot after boot, until the time is up. A guest that dies in one is booted anew
for those that remain. soak ends with the first trouble, whose console is kept.
"""

import argparse
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / one) for one in ("guest", "kernel")]
import guest                            # noqa: E402
import fail                             # noqa: E402 (where guest has found it)
from flavour import image_of            # noqa: E402
from guest import BUILD, TOP, Fail      # noqa: E402

# what the file rmap, page tables and page faults are used by
VM = ("mmap", "mmap:file,async,bytes=64m", "mmapaddr", "mmapfixed", "mmapfork", "mmaphuge",
      "mmapmany", "mremap", "munmap", "mprotect", "madvise", "msync", "fault", "userfaultfd",
      "numa", "rmap", "remap", "memfd", "shm", "stack", "swap", "tlb-shootdown", "idle-page",
      "vm:bytes=64m")
PROCESSES = ("exec", "fork:vm", "vfork", "vforkmany", "clone@2", "spawn", "daemon", "dynlib")
FUZZERS = ("trinity:vm", "trinity", "sysinval", "sysbadaddr")
STORMS = ("exec_storm:exec", "exec_storm:fork", "exec_storm:fork:private", "exec_storm:dlopen",
          "fault_storm:mmap", "fault_storm:mprotect", "fault_storm:fork", "file_rmap:storm",
          "file_rmap:migrate", "file_rmap:pageout", "file_rmap:truncate",
          "file_rmap:fork_truncate")
# these name nodes, and take it for a failure if one is not there just then
NAME_NODES = ("numa", "file_rmap:migrate")
ALL = (*PROCESSES, *VM, *FUZZERS, *STORMS)
# what an overcommitted host does to a guest is not a hang
PATIENCE = "no_timer_check watchdog_thresh=60 sysctl.kernel.hung_task_timeout_secs=300"
SWAP = 4 << 30
BLOCK = 128     # MiB that come and go at once
# inodes that may keep their shards when all caches have been dropped
LEFT = 1000
DIED = "died"
HOTPLUG = TOP / "lab/tests/stress-hotplug"
SHARDING = ("", "i_mmap_shards=force", "i_mmap_shards=force,8")


@dataclass(frozen=True)
class Found:
    """What became of a test; result is as in lab/tests/stress, or DIED."""
    test: str
    result: str
    ops: str = ""
    seconds: int = 0
    note: str = ""
    console: Path = None

    @property
    def ok(self):
        return self.result == "ok"

    def same_as(self, other):
        """Whether the other kernel does the same, but for numbers."""
        return self.result == other.result and re.sub(r"[0-9a-f]*\d[0-9a-f]*", "N", self.note) == \
            re.sub(r"[0-9a-f]*\d[0-9a-f]*", "N", other.note)

    def __str__(self):
        return f"{self.result}, {self.ops or '-'} operations in {self.seconds} s" \
            + (f": {self.note}" if self.note else "")


def needed():
    """{name: path} of what is not this project's."""
    paths = {name: shutil.which(name) for name in ("stress-ng", "trinity", "setpriv")}
    for name, path in paths.items():
        if not path:
            raise Fail(f"{name} is missing: run lab/host/setup stress")
    return paths


def programs(archive):
    """stress-ng, trinity and the libraries that they load, as the guest unpacks them."""
    files = {}
    for name, path in needed().items():
        files[f"usr/bin/{name}"] = path
        linked = subprocess.run(["ldd", path], text=True, stdout=subprocess.PIPE, check=True)
        for library in re.findall(r"(/\S+) \(0x", linked.stdout):
            files[f"usr/{library.removeprefix('/usr').lstrip('/')}"] = library
    with tarfile.open(archive, "w", dereference=True) as tar:
        for name, path in sorted(files.items()):
            tar.add(path, name)


@dataclass
class Stress:
    """How to stress: the kernel, the machine, and for how long."""
    kernel: Path
    cpus: int = 8
    nodes: int = 4
    mem: str = "2G"
    append: str = ""
    seconds: int = 30
    workers: int = 4
    percent: int = 12           # of memory, for the tests
    beside: Path = None         # a job of the guest's that runs beside all tests
    new_lru: bool = False
    boot: int = 300             # seconds that booting may take

    def machine(self):
        """Of guest.Guest and QEMU: with hotplug, the last node's memory is a DIMM, all of
        which can go. QEMU takes the later of two sizes of a machine for the right one."""
        if not self.beside:
            return {"cpus": self.cpus, "nodes": self.nodes, "mem": self.mem}, []
        each, node = self.cpus // self.nodes, self.nodes - 1
        size = guest.mem_mib(self.mem) // self.nodes
        first = self.cpus - each
        dimm = max(size // BLOCK, 1) * BLOCK
        return {"cpus": first, "nodes": node, "mem": f"{size * node}M"}, [
            "-smp", f"{self.cpus},sockets={self.nodes},cores={each},threads=1",
            "-m", f"{size * node}M,slots=1,maxmem={size * node + 2 * dimm}M",
            "-numa", f"node,nodeid={node},cpus={first}-{self.cpus - 1}",
            "-object", f"memory-backend-ram,id=dimm,size={dimm}M",
            "-device", f"pc-dimm,memdev=dimm,node={node}"]

    def job(self, tests):
        words = ["./stress", "-s", self.seconds, "-w", self.workers, "-i", "/dev/vdc",
                 "-m", self.percent]
        words += ["-b", self.beside.name] if self.beside else []
        words += ["-l"] if self.new_lru else []
        return "#!/usr/bin/busybox sh\nexec " + " ".join(map(str, [*words, *tests])) + "\n"

    def boot_once(self, tests, out):
        """One boot; guest.Result."""
        with tempfile.TemporaryDirectory(prefix="stress-", dir=BUILD) as tmp:
            swap = Path(tmp) / "swap"
            swap.touch()
            subprocess.run(["truncate", "-s", str(SWAP), swap], check=True)
            archive = Path(tmp) / "programs.tar"
            programs(archive)
            # a test that is late is ended by the guest itself; few are
            limit = self.boot + 900 + len(tests) * (self.seconds * 3 + 60)
            size, more = self.machine()
            one = guest.Guest(self.kernel, BUILD / "image/mm/root.ext4", **size,
                              append=f"{PATIENCE} {self.append}".strip(), timeout=limit,
                              qemu=["-drive", f"file={swap},if=virtio,format=raw,cache=unsafe",
                                    *more])
            files = [TOP / "lab/tests/stress", archive, *([self.beside] if self.beside else [])]
            shutil.rmtree(out, ignore_errors=True)
            return guest.run(one, self.job(tests), files, out=out)

    def run(self, tests, out):
        """Every test, in as many boots as it takes; ([Found], [guest.Result])."""
        found, results, left = [], [], list(tests)
        while left:
            result = self.boot_once(left, Path(out) / str(len(results) + 1))
            results.append(result)
            told = read(result)
            found += told
            left = left[len(told):]
            if left and not (told and told[-1].result == "stuck"):
                # the test that it was in, or none yet
                found.append(Found(left.pop(0), DIED, note=result.why or "ended early",
                                   console=result.console))
        return found, results


def read(result):
    """What a guest told of its tests, also one that died: then its console knows."""
    table = result.out / "results.tsv"
    if result.status is not None and table.exists():
        rows = [line.split("\t", 4) for line in table.read_text(errors="replace").splitlines()]
    else:
        console = guest.console_text(result.console)
        kinds = "ok|failed|skipped|idle|stuck|complained"
        rows = re.findall(rf"stress: (\S+) ({kinds}) (\S+) (\d+) ?(.*)$", console, re.M)
    return [Found(test, kind, "" if ops == "-" else ops, int(seconds), note, result.console)
            for test, kind, ops, seconds, note in rows]


def lines_of(file):
    """Those that the guest wrote, if it came to that."""
    return file.read_text().splitlines() if file.exists() else []


def counters(out):
    """[(test, {counter: value})] of i_mmap_* in /proc/vmstat, after each test."""
    rows = []
    for line in lines_of(out / "i_mmap.tsv"):
        test, name, value = line.split("\t")
        if not rows or rows[-1][0] != test or name in rows[-1][1]:
            rows.append((test, {}))
        rows[-1][1][name] = int(value)
    return rows


def insane(rows, forced):
    """What cannot be true of such counters, a line each."""
    wrong, before = [], {}
    for test, now in rows:
        for name, value in now.items():
            if value < before.get(name, 0) or value >= 1 << 62:
                wrong.append(f"{name} went from {before.get(name, 0)} to {value} in {test}")
        before = now
    if not rows:
        return ["there are none"]
    last = rows[-1][1]
    if forced and not last["i_mmap_shard"]:
        wrong.append("no file was sharded though all are to be")
    for name in ("i_mmap_walk_wait", "i_mmap_modify_wait", "i_mmap_mixed"):
        if last[name] and not last["i_mmap_shard"]:
            wrong.append(f"{name} is {last[name]} though no file was sharded")
    return wrong


def leaked(out, number):
    """Whether sets stay behind: with the caches dropped, few inodes are left to have one."""
    active = [int(line.split()[1]) for line in lines_of(out / "slabinfo") if line.startswith("i_mmap_tree ")]
    if not active:
        return ["slabinfo has no i_mmap_tree"]
    return [f"{active[0]} trees are left, of {number} a file at most"] if active[0] > LEFT * number else []


def hotplug(out):
    """How often stress-hotplug took what away and gave it back; {} if it did not run."""
    return {name: int(count) for name, count in (line.split("\t") for line in lines_of(out / "hotplug.tsv"))}


def shards(console):
    """For how many groups of CPUs the kernel says that it shards files; 0: it does not say."""
    told = re.search(r"contended files are sharded for (\d+) group", guest.console_text(console))
    return int(told[1]) if told else 0


def counted(result, append):
    """(what is looked at in a guest that lived to its end, what is wrong with it)"""
    number = shards(result.console)
    yield "counters", insane(counters(result.out), "force" in append)
    yield "shards left", leaked(result.out, number)


def trouble_of(found, results, append):
    """All that is wrong with a run, [(name, why, console)]."""
    wrong = [(one.test, str(one), one.console) for one in found if one.result not in
             ("ok", "skipped", "idle")]
    for result in results:
        if result.status not in (0, None) or (result.status == 0 and result.why):
            wrong.append(("the guest", result.explain(), result.console))
        if result.status == 0 and shards(result.console):
            wrong += [(what, why, result.console) for what, whys in counted(result, append)
                      for why in whys]
    return wrong


# --- the command line -------------------------------------------------------

def soak_round(args, number, random_of, deadline):
    """One boot of random tests on a random machine; what was wrong."""
    cpus, nodes = random_of.choice(((8, 4), (8, 2), (4, 4), (6, 3)))
    append = random_of.choice(SHARDING) if args.flavour.startswith("patched") else ""
    beside = random_of.choice((None, HOTPLUG))
    left = deadline - time.monotonic()
    tests = [test for test in random_of.sample(ALL, len(ALL))
             if not beside or test not in NAME_NODES]
    tests = tests[:max(1, min(args.tests, int(left / args.seconds / 2)))]
    stress = Stress(image_of(args.flavour), cpus, nodes, "2G", append, args.seconds,
                    workers=random_of.choice((2, 4, 8)), beside=beside,
                    new_lru=random_of.choice((False, True)))
    out = Path(args.out) / f"{number:04d}"
    machine = f"{cpus} CPUs, {nodes} nodes, {append or 'sharded by contention'}, " \
              f"{stress.workers} workers, {'new' if stress.new_lru else 'old'} LRU" \
              + (", hotplug" if beside else "")
    begin = time.monotonic()
    found, results = stress.run(tests, out)
    wrong = trouble_of(found, results, append)
    kinds = {kind: sum(one.result == kind for one in found) for kind in ("ok", "skipped", "idle")}
    print(f"[{number}] {machine}: {kinds['ok']} tests ok, {kinds['skipped']} skipped, "
          f"{kinds['idle']} idle, {len(wrong)} troubles in {time.monotonic() - begin:.0f} s",
          flush=True)
    if not wrong:
        shutil.rmtree(out)
    return len(found), wrong


def soak(args):
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    random_of = random.Random(seed)
    begin = time.monotonic()
    deadline = begin + args.hours * 3600
    print(f"soak: {args.flavour}, {args.hours:g} hours, seed {seed}", flush=True)
    number = tests = 0
    wrong = []
    while not wrong and (not number or time.monotonic() < deadline):
        number += 1
        done, wrong = soak_round(args, number, random_of, deadline)
        tests += done
    for name, why, console in wrong:
        print(f"soak: {name}: {why}\nsoak: see {console}", flush=True)
    print(f"soak: {'FAILED' if wrong else 'passed'}, {tests} tests in {number} boots, "
          f"{(time.monotonic() - begin) / 3600:.2f} hours, seed {seed}", flush=True)
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["soak"])
    parser.add_argument("flavour")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hours", type=float, required=True)
    parser.add_argument("--seconds", type=int, default=30, help="of each test")
    parser.add_argument("--tests", type=int, default=20, help="of one boot")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have its order again")
    args = parser.parse_args()
    if min(args.hours, args.seconds, args.tests) <= 0:
        raise Fail("--hours, --seconds and --tests are greater than 0")
    guest.stop_on_signals()
    return soak(args)


if __name__ == "__main__":
    fail.main("stress", main)
