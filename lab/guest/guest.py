#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Boot a kernel in QEMU, run a job in it, bring its files and status back.

  guest.py run --kernel BZIMAGE --image EXT4 --out DIR [options] SCRIPT [FILE...]
  guest.py shell --kernel BZIMAGE --image EXT4 [options]

A job is a shell script (with files beside it) that the guest finds on its
second disk and runs as ./run; what it writes under /run/out comes back in DIR,
next to console.log. A guest that panics, hangs, runs out of memory or time ends
with one line that says so and the last lines of its console; what the job had
written when it last called send-results comes back nevertheless.

The accelerator is KVM where a KVM guest really boots (tried once, by booting),
else TCG. With --icount a single vCPU runs on TCG and its clock counts
instructions: the same kernel and job give the same figures.
"""

import argparse
import io
import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.append(str(TOP / "lab/host"))
import fail                     # noqa: E402
from fail import Fail           # noqa: E402

BUILD = Path(os.environ.get("BUILD") or TOP / "build").resolve()
QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
# panics that stand for a guest which no longer makes progress
APPEND = ("root=/dev/vda rw init=/init norandmaps panic=-1 oops=panic "
          "hung_task_panic=1 softlockup_panic=1")
TROUBLE = (
    (r"Out of memory: Killed|Out of memory and no killable|panic_on_oom", "ran out of memory"),
    (r"hung_task: blocked tasks|blocked for more than \d+ seconds", "hung (a task blocked for minutes)"),
    (r"soft lockup", "hung (soft lockup)"),
    (r"Kernel panic - not syncing: (.*)", "panicked"),
    (r"Unable to mount root|VFS: Cannot open root", "found no root file system"),
)


@dataclass(frozen=True)
class Machine:
    """What QEMU is told to be, for an architecture as Debian calls it."""
    qemu: str
    name: str
    console: str
    cpu: str
    setup: str = "lab/host/setup arches"     # what installs this QEMU
    numa: bool = True
    append: str = ""
    mem: str = "4G"     # of a guest that runs selftests


MACHINES = {
    "amd64": Machine(QEMU, "q35", "ttyS0", "max", "make setup"),
    "armhf": Machine("qemu-system-arm", "virt,highmem=off", "ttyAMA0", "max", numa=False,
                     mem="2G"),
    # pointer authentication as the architecture has it takes half of the time
    "arm64": Machine("qemu-system-aarch64", "virt", "ttyAMA0", "max,pauth-impdef=on"),
    # without message signalled interrupts, none comes from a second node's controller
    "riscv64": Machine("qemu-system-riscv64", "virt,aia=aplic-imsic", "ttyS0", "rv64"),
    "ppc64el": Machine("qemu-system-ppc64", "pseries", "hvc0", "power9"),
    # a machine without nodes has one shard, unless it is told otherwise. Disks get their
    # names in the order in which they answer: the kernel sees the results' port and the
    # root, and lab/guest/init shows it the others
    "s390x": Machine("qemu-system-s390x", "s390-ccw-virtio", "ttysclp0", "max", numa=False,
                     append="i_mmap_shards=2 cio_ignore=all,!0.0.0000-0.0.0001"),
}
FOREIGN = tuple(arch for arch in MACHINES if arch != "amd64")


@dataclass
class Guest:
    kernel: Path
    image: Path = None
    cpus: int = 8
    nodes: int = 4
    mem: str = "4G"
    append: str = ""
    accel: str = "auto"
    icount: bool = False
    timeout: int = 600
    qemu: list = field(default_factory=list)
    arch: str = "amd64"
    numa: str = ""      # nodes that differ, instead of cpus and nodes: see layout()
    memory: Path = None # a folder for the nodes' memory: it stays there as files node0, node1 ...
    turns: bool = False # vCPUs of TCG take turns: on two threads, one may run the int3 of a static key
                        # that the other has just patched away, and dies of it, or go on without the key

    @property
    def machine(self):
        return MACHINES[self.arch]


@dataclass
class Result:
    status: int            # the job's exit status; None: it never told
    why: str               # why there is none, or what the kernel found wrong; or ""
    out: Path
    seconds: float
    accel: str
    said: str = ""         # by QEMU

    @property
    def console(self):
        return self.out / "console.log"

    @property
    def ok(self):
        return self.status == 0 and not self.why

    def explain(self, lines=25):
        """What a person wants to read of a run that failed."""
        head = self.why or f"the job ended with status {self.status}"
        tail = console_text(self.console).splitlines()[-lines:]
        return "\n".join([f"guest {head}; the end of {self.console}:",
                          *("    " + line for line in tail)])


def console_text(path):
    try:
        text = Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return text.replace("\r", "")


def mem_mib(text):
    size = re.fullmatch(r"(\d+)([MG])i?B?", text, re.I)
    if not size:
        raise Fail(f"MEM={text}: give a size such as 4G or 512M")
    return int(size[1]) << (10 if size[2].upper() == "G" else 0)


def layout(guest):
    """[(CPUs, MiB)] of the nodes. They are equal, unless guest.numa tells the CPUs of each, and
    the memory of some, as in 8,8:1G,2,0 or 4,4:0; the others share what is left of it."""
    spec = f"--numa {guest.numa}"
    if not guest.numa:
        if guest.cpus < 1 or guest.nodes < 1 or guest.cpus % guest.nodes:
            raise Fail(f"CPUS={guest.cpus} NODES={guest.nodes}: every node gets the same "
                       "number of CPUs, at least one")
        told = [(guest.cpus // guest.nodes, None)] * guest.nodes
    elif not re.fullmatch(r"\d+(:\w+)?(,\d+(:\w+)?)*", guest.numa):
        raise Fail(f"{spec}: give the CPUs of each node, and the memory of those that differ, "
                   "as in 8,8:1G,2,0 or 4,4:0")
    elif not guest.machine.numa:
        raise Fail(f"{spec}: a machine of {guest.arch} has no nodes")
    else:
        told = [(int(cpus), 0 if mem == "0" else mem_mib(mem) if mem else None)
                for cpus, _, mem in (node.partition(":") for node in guest.numa.split(","))]
        if not any(cpus for cpus, _ in told) or (0, 0) in told:
            raise Fail(f"{spec}: a node has CPUs or memory, and one of them CPUs")
    share = [mib for _, mib in told].count(None)
    left = mem_mib(guest.mem) - sum(mib or 0 for _, mib in told)
    if share and left < 128 * share:
        raise Fail(f"MEM={guest.mem} leaves less than 128M for each of {share} node(s)")
    return [(cpus, left // share if mib is None else mib) for cpus, mib in told]


def numa(guest):
    """-smp, -m, and each node with a memory backend. A socket's CPUs are of one node."""
    nodes = layout(guest)
    cpus, cores = sum(each for each, _ in nodes), math.gcd(*(each for each, _ in nodes))
    args = ["-smp", f"{cpus},sockets={cpus // cores},cores={cores},threads=1",
            "-m", f"{sum(mib for _, mib in nodes)}M"]
    if not guest.machine.numa:
        return args
    first = 0
    for node, (each, mib) in enumerate(nodes):
        has = f"node,nodeid={node}"
        if each:
            has += f",cpus={first}-{first + each - 1}"
        if mib:
            backend = "memory-backend-ram" if not guest.memory else \
                f"memory-backend-file,share=on,mem-path={quoted(guest.memory)}/node{node}"
            args += ["-object", f"{backend},id=m{node},size={mib}M"]
            has += f",memdev=m{node}"
        args += ["-numa", has]
        first += each
    return args


def accel_args(accel, icount, turns, cpu="max"):
    if icount:
        # no host randomness, no host time: only instructions move the clock
        return ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off",
                "-cpu", "max,rdrand=off,rdseed=off", "-seed", "1",
                "-rtc", "base=2026-01-01T00:00:00,clock=vm"]
    if accel == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", f"tcg,thread={'single' if turns else 'multi'}", "-cpu", cpu]


def ports_only():
    """q35's devices without a BAR in memory. Linux moves each BAR as it looks for devices,
    and when one moves, QEMU 7.2 may take another vCPU's access to a device's memory, a local
    APIC's for one, for an access to the device beside it: it aborts in an assertion, or the
    vCPU has no timer any more. A vCPU that reads a BAR while another moves the one below it
    makes it abort in less than a second."""
    args = ["-machine", "sata=off,smbus=off"]
    for device in ("virtio-blk-pci", "virtio-serial-pci"):
        for setting in ("disable-modern=on", "disable-legacy=off", "vectors=0"):
            args += ["-global", f"{device}.{setting}"]
    return args


def quoted(path):
    """A path within an option of QEMU's, whose parts have commas between them."""
    return str(path).replace(",", ",,")


def command(guest, accel, job, out, shell):
    machine = guest.machine
    if not shutil.which(machine.qemu):
        raise Fail(f"{machine.qemu} is missing: run {machine.setup}")
    for path, how in ((guest.kernel, "make kernel"), (guest.image, "make image")):
        if path and not Path(path).is_file():
            raise Fail(f"{path} does not exist: run {how}")
    args = [machine.qemu, "-machine", machine.name, "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", *accel_args(accel, guest.icount, guest.turns, machine.cpu), *numa(guest),
            "-kernel", str(guest.kernel),
            "-append", " ".join([f"console={machine.console}", APPEND, machine.append,
                                 *(["guest.shell"] if shell else []), guest.append])]
    if guest.arch == "amd64" and accel == "tcg" and not guest.icount:
        args += ports_only()
    console = ("stdio,signal=off" if shell else "null")
    out = quoted(out)
    args += ["-chardev", f"{console},id=console,logfile={out}/console.log",
             "-serial", "chardev:console",
             "-device", "virtio-serial",
             "-chardev", f"file,id=results,path={out}/.results.tar",
             "-device", "virtserialport,chardev=results,name=results"]
    for name, path in (("root", guest.image), ("job", job)):
        if path:
            args += ["-drive", f"file={quoted(path)},if=virtio,format=raw,snapshot=on,id={name}"]
    return args + guest.qemu


def pack(script, files, disk):
    """The job's disk: a tar of whole 512-byte blocks, large enough for a disk."""
    with tarfile.open(disk, "w") as tar:
        for name, path in (("run", script), *((Path(f).name, f) for f in files)):
            if isinstance(path, str) and "\n" in path:
                info = tarfile.TarInfo(name)
                data = path.encode()
                info.size, info.mode = len(data), 0o755
                tar.addfile(info, io.BytesIO(data))
            else:
                tar.add(path, name)
                if name == "run" and not os.access(path, os.X_OK):
                    raise Fail(f"{path} is not executable")
    size = disk.stat().st_size
    os.truncate(disk, max(1 << 20, (size + 4095) & ~4095))


def run(guest, script, files=(), *, out):
    """Boot, run the job (a script's path or its text), return a Result. An emulator that
    fails by itself (see ports_only()) is told and started once more: that says nothing of
    the guest."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    accel = "tcg" if guest.icount else accelerator(guest)
    with tempfile.TemporaryDirectory(prefix="guest-") as tmp:
        disk = Path(tmp) / "job.tar"
        pack(script, files, disk)
        argv = command(guest, accel, disk, out, shell=False)
        for last in (False, True):
            for name in ("console.log", ".results.tar", "status"):
                (out / name).unlink(missing_ok=True)
            begin = time.monotonic()
            code, timed_out, words = emulate(argv, guest.timeout)
            if code != -signal.SIGABRT or last:
                break
            print(f"\nguest: once more, as QEMU aborted: {last_line(words)}", file=sys.stderr)
    return collect(guest, out, accel, time.monotonic() - begin, timed_out, code, words)


def emulate(argv, limit):
    """(status, whether it was stopped after limit seconds, what it said) of QEMU."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as qemu:
        timed_out = False
        try:
            words = qemu.communicate(timeout=limit)[0]
        except subprocess.TimeoutExpired:
            timed_out = True
            qemu.kill()
            words = qemu.communicate()[0]
        except BaseException:
            qemu.kill()
            raise
    return qemu.returncode, timed_out, words.decode(errors="replace").strip()


def last_line(words):
    return (words.splitlines() or ["no reason given"])[-1]


def collect(guest, out, accel, seconds, timed_out, code, words):
    archive = out / ".results.tar"
    status = None
    if archive.exists():
        unpack(archive, out)
        try:
            status = int((out / "status").read_text())
        except (OSError, ValueError):
            pass # died before it had told all
        archive.unlink()
        (out / "status").unlink(missing_ok=True)
    console = console_text(out / "console.log")
    why = trouble(console, timed_out, guest.timeout, code, words) if status is None \
        else complaint(console)
    return Result(status, why, out, seconds, accel, words)


def unpack(archive, out):
    """Of the archives that a guest sent, one after the other: of each file the last that is whole."""
    size = archive.stat().st_size
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    try:
        with tarfile.open(archive, ignore_zeros=True) as tar:
            tar.extractall(out, itertools.takewhile(
                lambda one: one.offset_data + one.size <= size, tar), **safe)
    except tarfile.TarError:
        pass # there is no more


def trouble(console, timed_out, limit, code, words):
    for pattern, meaning in TROUBLE:
        found = re.search(pattern, console)
        if found:
            detail = f" ({found[1].strip()})" if found.groups() else ""
            return meaning + detail
    if timed_out:
        return f"did not finish within {limit} s and was stopped"
    if code:
        return f"could not run: QEMU ended with status {code}: {last_line(words)}"
    return "ended without a word from its job"


def complaint(console):
    """What a kernel that went on found wrong with itself, or ""."""
    found = re.search(r"^\[ *\d+\.\d+\] (?:\S+: )?((?:BUG|WARNING): .*)", console, re.M)
    return f"did its job, but its kernel says {found[1].strip()}" if found else ""


# --- KVM or not -------------------------------------------------------------

def accelerator(guest):
    """kvm where a KVM guest really boots, else tcg; found out once per host boot."""
    if guest.arch in FOREIGN:
        return "tcg"
    if guest.accel in ("kvm", "tcg"):
        return guest.accel
    if guest.accel != "auto":
        raise Fail(f"ACCEL={guest.accel}: it is auto, kvm or tcg")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memo = BUILD / "accel.json"
    try:
        known = json.loads(memo.read_text())
        if known["boot"] == boot:
            return known["accel"]
    except (FileNotFoundError, ValueError, KeyError):
        pass
    accel = "kvm" if kvm_boots(guest.kernel) else "tcg"
    if accel == "tcg":
        print(f"guest: /dev/kvm is there, but {guest.kernel} does not boot with it: emulating "
              f"(TCG) until this host reboots. Was it the kernel's fault, remove {memo}",
              file=sys.stderr)
    memo.write_text(json.dumps({"boot": boot, "accel": accel}))
    return accel


def kvm_boots(kernel):
    """A kernel without a root panics within seconds: that it speaks is enough."""
    with tempfile.TemporaryDirectory(prefix="kvm-") as tmp:
        probe = Guest(kernel=kernel, cpus=1, nodes=1, mem="512M")
        with subprocess.Popen(command(probe, "kvm", None, tmp, shell=False),
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as qemu:
            try:
                qemu.wait(20)
            except subprocess.TimeoutExpired:
                qemu.kill()
        return "Kernel panic" in console_text(Path(tmp) / "console.log")


def stop_on_signals():
    """A lost terminal, unless nohup is to outlive it, or a kill ends QEMU and builds like
    Ctrl-C does."""
    def interrupt(_number, _frame):
        raise KeyboardInterrupt
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def tool(*argv):
    """Whether a script of lab/ ends well. An interruption is told to it, too, and waited for: it stops
    what it has started."""
    with subprocess.Popen(argv) as child:
        try:
            return child.wait() == 0
        except KeyboardInterrupt:
            child.terminate()
            child.wait()
            raise


# --- the command line -------------------------------------------------------

def shell(guest):
    """Interactive; the shell's exit status becomes ours."""
    out = Path(tempfile.mkdtemp(prefix="guest-"))
    accel = accelerator(guest)
    nodes = layout(guest)
    print(f"booting {sum(cpus for cpus, _ in nodes)} CPUs in {len(nodes)} node(s) on {accel}; "
          "exit in the shell ends the guest", flush=True)
    tty = sys.stdin.isatty()
    saved = subprocess.run(["stty", "-g"], stdout=subprocess.PIPE, check=False).stdout if tty else None
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = subprocess.run(command(guest, accel, None, out, shell=True), check=False)
    finally:
        signal.signal(signal.SIGINT, previous)
        if saved:
            subprocess.run(["stty", saved.decode().strip()], check=False)
    result = collect(guest, out, accel, 0, False, done.returncode, "")
    if result.status is None:
        raise Fail(f"the guest {result.why}; its console is in {result.console}")
    shutil.rmtree(out)
    return result.status


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "shell"):
        one = sub.add_parser(name)
        one.add_argument("--kernel", type=Path, required=True)
        one.add_argument("--image", type=Path, default=BUILD / "image/mm/root.ext4")
        one.add_argument("--cpus", type=int, default=8)
        one.add_argument("--nodes", type=int, default=4)
        one.add_argument("--numa", default="", metavar="SPEC", help="instead of --cpus and --nodes, "
                         "CPUs of each node, and memory of those that differ: 8,8:1G,2,0 or 4,4:0")
        one.add_argument("--mem", default="4G", help="for all nodes together")
        one.add_argument("--append", default="", help="more kernel parameters")
        one.add_argument("--qemu", default="", metavar="ARGS", help="more arguments of QEMU, as one "
                         "word: --qemu='-S -s'")
        one.add_argument("--accel", default=os.environ.get("ACCEL") or "auto", help="auto, kvm or tcg")
        one.add_argument("--icount", action="store_true")
        one.add_argument("--timeout", type=int, default=600, help="seconds")
        one.add_argument("--arch", default="amd64", choices=MACHINES, help="the kernel's and image's")
        if name == "run":
            one.add_argument("--out", type=Path, required=True)
            one.add_argument("script")
            one.add_argument("files", nargs="*")
    return parser.parse_args()


def main():
    args = parse()
    stop_on_signals()
    try:
        qemu = shlex.split(args.qemu)
    except ValueError as why:
        raise Fail(f"--qemu {args.qemu}: {why}") from None
    guest = Guest(args.kernel, args.image, args.cpus, args.nodes, args.mem, args.append, args.accel,
                  args.icount, args.timeout, qemu, args.arch, args.numa)
    if args.command == "shell":
        return shell(guest)
    result = run(guest, args.script, args.files, out=args.out)
    if not result.ok:
        print(result.explain(), file=sys.stderr)
    return result.status or (125 if result.why else 0)


if __name__ == "__main__":
    fail.main("guest", main)
