#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Which cache lines do CPUs share in an operation of the kernel? Of base and patched.

  count.py                                       exec, fork, spawn, mmap, fault; in half an hour
  count.py --operation SYMBOL --command COMMAND  of an operation of yours
  count.py --image BZIMAGE ...                   of this kernel alone
  count.py --fragments debian ...                of base-debian and patched-debian

An operation is from one execution of a function to the next. A guest boots under QEMU's
emulator, which counts (counter.c) so many of each CPU, when all have done it a few
times. COMMAND, a line for the guest's shell, does it again and again on all CPUs;
/bench has the programs of lab/bench, ./operate those of lab/lines. On the patched side
every file is sharded. What was counted goes to $RESULTS/lines: lines.txt, lines.html,
lines.json, figures.tsv.
"""

import argparse
import datetime
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / one) for one in ("host", "guest", "kernel", "bench")] + [str(HERE)]
import fail                                         # noqa: E402
import guest                                        # noqa: E402
import present                                      # noqa: E402
import series                                       # noqa: E402
from analysis import Analysis, Counts               # noqa: E402
from flavour import image_of                        # noqa: E402
from guest import BUILD, TOP, Fail, Guest           # noqa: E402
from layout import Kernel                           # noqa: E402
from memory import DIRECT, Memory                   # noqa: E402

ROOM = BUILD / "lines"
RESULTS = Path(os.environ.get("RESULTS") or TOP / "results").resolve()
FORCED = "i_mmap_shards=force"
NEXT = "__x64_sys_sethostname"    # what lockstep.c calls before each operation
# addresses that memory.py knows; a clock that costs nothing; each slab cache by its own name
APPEND = "nokaslr no5lvl tsc=reliable slab_nomerge"
SECONDS = 600           # at most, for each operation: on a host with other work, too
WINDOW_NS = 2000        # which is as many instructions
STORM = "/bench/exec_storm -m {} -w {{cpus}} -k {{rounds}}"
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"


@dataclass(frozen=True)
class Operation:
    name: str
    symbol: str
    command: str
    warm: int       # times that each CPU has done it before counting begins
    count: int      # times that are counted, for each CPU
    cpus: int = 0   # that do it; 0: all


OPERATIONS = {one.name: one for one in (
    Operation("exec", "begin_new_exec", STORM.format("exec"), 6, 40),
    Operation("fork", "begin_new_exec", STORM.format("fork"), 6, 40),
    Operation("vfork", "begin_new_exec", STORM.format("vfork"), 6, 40),
    Operation("spawn", "begin_new_exec", STORM.format("spawn"), 6, 40),
    Operation("mmap", "__x64_sys_munmap", f"./operate mmap {{rounds}} {LIBC}", 20, 100),
    Operation("fault", "exc_page_fault", f"./operate fault {{rounds}} {LIBC}", 40, 100),
    Operation("change", "__x64_sys_mremap", f"./operate change {{rounds}} {LIBC}", 4, 10),
    Operation("patterns", "__x64_sys_getppid", "./operate patterns {rounds}", 3, 50, 4),
)}
SHORT = ("exec", "fork", "spawn", "mmap", "fault")


@dataclass(frozen=True)
class Machine:
    cpus: int = 8
    nodes: int = 4
    mem: str = "2G"
    window: int = WINDOW_NS

    @property
    def node_of(self):
        return [cpu * self.nodes // self.cpus for cpu in range(self.cpus)]

    @property
    def node_bytes(self):
        return (guest.mem_mib(self.mem) // self.nodes) << 20

    def check(self):
        if guest.mem_mib(self.mem) > 2048:
            raise Fail(f"MEM={self.mem}: up to 2G all memory is below the hole for PCI, "
                       "where the counter knows what is where")
        if self.nodes > 1 and self.cpus % self.nodes:
            raise Fail(f"CPUS={self.cpus} NODES={self.nodes}: every node gets the same number of CPUs")


def said(*argv):
    done = subprocess.run(argv, text=True, capture_output=True, check=False)
    return done.stdout


@functools.cache
def qemu_version():
    found = re.search(r"version (\d+)\.(\d+)", said(guest.QEMU, "--version"))
    if not found:
        raise Fail(f"{guest.QEMU} --version tells no version: make setup")
    return int(found[1]), int(found[2])


def api():
    """The version of the plugin interface that this QEMU takes."""
    return 1 if qemu_version() < (9, 0) else 2 if qemu_version() < (9, 1) else 3


def compiled(name, source, *flags):
    """A program of this folder, compiled anew where it has changed."""
    source = HERE / source
    to = ROOM / name
    if not to.exists() or to.stat().st_mtime < source.stat().st_mtime:
        ROOM.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["gcc", "-O2", "-g", "-Wall", "-Wextra", "-Wno-unused-parameter", *flags, "-o", to,
                               source], text=True, capture_output=True, check=False)
        if done.returncode:
            raise Fail(f"{source} does not compile: {done.stderr.strip()}")
    return to


def turns(machine):
    """What makes vCPUs run in turns of a window, each: (arguments of QEMU, ns).

    Before 8.1, when a turn ends with a timer, the vCPU that is next runs that timer, and then
    it is the one behind it that runs. So between each two there is one that Linux does not
    know. Since 8.1, all share the time to the next timer."""
    if qemu_version() >= (8, 1):
        return [], machine.window * machine.cpus
    cpus, nodes = machine.cpus, machine.nodes
    each = cpus // nodes
    args = ["-smp", f"cpus=1,maxcpus={2 * cpus},sockets={2 * nodes}"]
    for node in range(nodes):
        args += ["-numa", f"cpu,node-id={node},socket-id={nodes + node}"]
    for cpu in range(cpus):
        for one in ([cpu] if cpu else []) + [cpus + cpu]:
            args += ["-device", f"max-x86_64-cpu,rdrand=off,rdseed=off,socket-id={one // each},"
                                f"die-id=0,core-id={one % each},thread-id=0"]
    return args, machine.window


def options(kernel, operations, machine, out):
    symbols = kernel.symbols
    interrupts = [symbols[name] for name in symbols
                  if name.startswith("asm_sysvec_") or name == "asm_common_interrupt"]
    tasks = [kernel.address(name) for name in ("__schedule", "entry_SYSCALL_64")]
    for one in operations:
        cpus = one.cpus or machine.cpus
        yield f"operation={kernel.address(one.symbol):#x}:{cpus}:{one.warm}:{one.count}"
    yield from (f"out={out}", f"next={kernel.address(NEXT):#x}",
                "nodes=" + ":".join(map(str, machine.node_of)), f"memory={machine.node_bytes}",
                f"direct={DIRECT:#x}", *(f"interrupt={at:#x}" for at in interrupts),
                *(f"task={at:#x}" for at in tasks))


def script(operations, machine, window):
    lines = ["#!/usr/bin/busybox sh"]
    for one in operations: # rounds: twice what is needed, as not every COMMAND waits for its slowest CPU
        lines += [f"./lockstep {window} || exit",
                  one.command.format(cpus=machine.cpus, rounds=2 * (one.warm + one.count))]
    return "\n".join(lines) + "\n"


class Stopped(threading.Thread):
    """Looks at the guest each time that the counter has stopped it, and lets it go on."""

    def __init__(self, out, operations, look):
        super().__init__(daemon=True)
        self.out, self.operations, self.look = out, operations, look
        self.found, self.trouble, self.ended = {}, None, threading.Event()
        self.start()

    def run(self):
        for number, operation in enumerate(self.operations):
            counts = self.out / f"counts.{number}"
            while not counts.exists():
                if self.ended.wait(0.05):
                    return
            if not self.trouble:
                try:
                    self.found[operation.name] = self.look(operation, counts)
                except Exception as why: # what it is about is told when the guest has ended
                    self.trouble = why
            try:
                self.go_on()
            except (FileNotFoundError, ProcessLookupError):
                return # its time was over meanwhile, which count() tells

    def go_on(self):
        pid = int((self.out / "pid").read_text())
        while "T" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]:
            time.sleep(0.01) # it stops itself behind the file's last byte
        os.kill(pid, signal.SIGCONT)


def count(image, operations, machine, look, append="", disk=None, keep=None):
    """Boot, count, and have each operation's Analysis looked at while memory stands still:
    {operation: what look(operation, Analysis) says}. With keep, a folder, the files stay."""
    machine.check()
    if not Path(image).is_file():
        raise Fail(f"{image} does not exist: run make kernel")
    kernel = Kernel(image, ROOM / "cache")
    ROOM.mkdir(parents=True, exist_ok=True)
    out = Path(keep or tempfile.mkdtemp(prefix="count-", dir=ROOM))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    plugin = compiled(f"counter-{api()}.so", "counter.c", "-fPIC", "-shared", "-fvisibility=hidden", f"-DAPI={api()}")
    more, window = turns(machine)
    words = [plugin, *options(kernel, operations, machine, out / "counts")]
    one = Guest(image, disk or BUILD / "image/root.ext4", machine.cpus, machine.nodes, machine.mem,
                f"{APPEND} nr_cpus={machine.cpus} {append}", icount=True, memory=out,
                timeout=SECONDS * len(operations),
                qemu=more + ["-pidfile", str(out / "pid"), "-plugin", ",".join(map(str, words))])

    def analyse(operation, counts):
        return look(operation, Analysis(Counts(counts), kernel,
                                        Memory(kernel, out, machine.node_bytes, machine.cpus), machine.node_of))

    stopped = Stopped(out, operations, analyse)
    try:
        result = guest.run(one, script(operations, machine, window),
                           [compiled(one, f"{one}.c", "-static") for one in ("lockstep", "operate")], out=out)
        stopped.ended.set()
        stopped.join()
        if stopped.trouble:
            raise stopped.trouble
        missing = [one.name for one in operations if one.name not in stopped.found]
        if missing:
            raise Fail(f"{missing[0]} was not counted: {result.said or 'no reason given'}\n{result.explain()}")
        return stopped.found
    finally:
        stopped.ended.set()
        if not keep:
            shutil.rmtree(out)


SIDES = (("base", ""), ("patched", FORCED))


def measure(operations, machine, sides, runs=1, sources=True):
    """{operation: {side: [what was found, of each boot]}}"""
    found = {one.name: {} for one in operations}
    todo = [(run, side) for run in range(runs) for side in sides]
    for number, (run, (side, image, append)) in enumerate(todo, 1):
        begin = time.monotonic()
        print(f"[{number}/{len(todo)}] {side}, boot {run + 1} of {runs}:", end="", flush=True)

        def look(operation, analysis, run=run):
            print(f" {operation.name}", end="", flush=True)
            return present.told(analysis, sources and run == 0)

        try:
            for name, one in count(image, operations, machine, look, append).items():
                found[name].setdefault(side, []).append(one)
        except BaseException:
            print(flush=True)
            raise
        print(f", {time.monotonic() - begin:.0f} s", flush=True)
    return found


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", default=" ".join(SHORT), help=f"some of {', '.join(OPERATIONS)}")
    parser.add_argument("--operation", default="", metavar="SYMBOL")
    parser.add_argument("--command", default="")
    parser.add_argument("--warm", type=int)
    parser.add_argument("--count", type=int, help="operations to count, for each CPU")
    parser.add_argument("--cpus", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--mem", default="2G")
    parser.add_argument("--window", type=int, default=WINDOW_NS, help="instructions of a turn")
    parser.add_argument("--runs", type=int, default=1, help="boots of each")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--append", default="", help="more kernel parameters, with --image")
    parser.add_argument("--fragments", default="", help="of lab/kernel/configs, which the two kernels have besides")
    parser.add_argument("--out", type=Path, default=RESULTS / "lines")
    return parser.parse_args()


def wanted(args):
    if bool(args.operation) != bool(args.command):
        raise Fail("OPERATION and COMMAND go together: a function, and what makes every CPU execute it")
    if args.operation:
        those = [Operation(args.operation, args.operation, args.command, 20, 50)]
    else:
        unknown = [name for name in args.operations.split() if name not in OPERATIONS]
        if unknown:
            raise Fail(f"there is no operation {unknown[0]}: {', '.join(OPERATIONS)}")
        those = [OPERATIONS[name] for name in args.operations.split()]
    return [replace(one, warm=args.warm or one.warm, count=args.count or one.count) for one in those]


def main():
    args = parse()
    guest.stop_on_signals()
    machine = Machine(args.cpus, args.nodes, args.mem, args.window)
    machine.check()
    operations = wanted(args)
    sides = [("base", args.image, args.append)] if args.image else \
        [(side, image_of("-".join(filter(None, (side, args.fragments)))), append) for side, append in SIDES]
    if not guest.tool(TOP / "lab/guest/image"):
        raise Fail("there is no disk for the guests")
    begin = time.monotonic()
    found = measure(operations, machine, sides, args.runs)
    words = {"measured": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
             "machine": f"{args.cpus} vCPUs in {args.nodes} nodes, turns of {args.window} instructions",
             "emulator": said(guest.QEMU, "--version").splitlines()[0],
             **{f"kernel, {side}": f"{image} {append}".strip() for side, image, append in sides},
             **({} if args.image else {"branch": series.git_in(series.PATCHED, "branch", "--show-current")}),
             "took": f"{time.monotonic() - begin:.0f} s"}
    present.write(found, words, args.out)
    return 0


if __name__ == "__main__":
    fail.main("count", main)
