#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure base and patched side by side, in alternated boots.

  measure.py run      the short form, on one topology
  measure.py bench    1, 2, 4 ... CPUs and every mode of the storm

With --flavours it only says which kernels that takes.

Each boot runs lab/server/storm-suite and leaves a folder results/<date>/boots/NNN
with console, samples and boot.json (side, topology, command). Boots of the two
sides alternate A B B A A B ..., so that a slow drift of the host meets both.
results/latest points to the newest measurement that came to its end. The
arithmetic on the samples is report.py's.
"""

import argparse
import datetime
import hashlib
import json
import math
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / one) for one in ("guest", "kernel")]
import guest                                    # noqa: E402
import report                                   # noqa: E402
import series                                   # noqa: E402
from guest import BUILD, TOP, Fail, Guest       # noqa: E402

RESULTS = Path(os.environ.get("RESULTS") or TOP / "results").resolve()
SIDES = ("base", "patched")
BENCH_ROUNDS = 10
KINDS = ("rates", "lock_stat", "shards", "reclaim", "instructions", "truncate", "walkers",
         "promotion", "memory", "faults", "workloads")
# what make run leaves out unless LEGS names it: it takes an hour
BY_NAME = ("workloads",)
# one CPU has one shard, so that sharding is off; so say how many, and for the
# cost of a sharded file shard them all, which otherwise takes contention
UNSHARDED = "i_mmap_shards=4"
SHARDED = "i_mmap_shards=4,force"
MANY_SHARDS = "i_mmap_shards=12,force"
BENCHES = "/selftests/mm"
# a file that every exec maps; the guest's disk forgets what is written to it
WALKER = f"{BENCHES}/file_rmap_bench extend /lib/*/libc.so.6 &"
MEMORY = "./memory"
RECLAIM = "./reclaim /run/out/reclaim.hist &"
# a disk whose reads take 20 ms; what it holds does not matter
SLOW_DISK = ["-drive", "driver=null-co,read-zeroes=on,size=64M,latency-ns=20000000,if=virtio"]
# a disk of lab/guest/image-workloads
WORKLOADS = "workloads"
# of 96 CPUs, so that 32, 16 and 4 of them share one
BIG_SHARDS = (3, 6, 24)


@dataclass
class Leg:
    """What one boot of each side measures, and how often."""
    name: str
    modes: list
    cpus: int
    nodes: int
    runs: int
    fragments: str = ""         # of the flavour: "-lock_stat", "-jump_label"
    seconds: int = 0            # per mode; or
    rounds: int = 0             # ... rounds, to count instructions; or
    bench: str = ""             # ... a benchmark of the selftests with its arguments
    beside: str = ""            # command line of what runs meanwhile
    mem: str = ""               # if that of the others is not enough
    disk: str = "root"          # whose programs are run
    timeout: int = 0            # seconds, if that of the others is not enough
    qemu: list = field(default_factory=list)    # more of a machine
    sides: tuple = SIDES
    append: str = ""            # patched's kernel parameters
    suffix: str = ""            # of the figures' names

    @property
    def kind(self):
        return self.name.replace(",", "").split()[0]

    def kernel(self, side):
        rest = self.fragments.lstrip("-") or "guest"
        return BUILD / side / rest / "arch/x86/boot/bzImage"

    def command(self):
        if self.disk == WORKLOADS:
            return f"./workloads {'-i ' if self.rounds else ''}/run/out"
        if self.bench:
            return self.bench if self.bench == MEMORY else f"{BENCHES}/{self.bench}"
        suite = ["./storm-suite"]
        suite += ["-i", self.rounds] if self.rounds else ["-t", self.seconds]
        return shlex.join(str(word) for word in [*suite, "/run/out", *self.modes])


def topologies(most):
    """CPU counts 1, 2, 4 ... with the nodes each gets: 2 CPUs a node, 16 nodes at most."""
    cpus = 1
    while cpus <= most:
        yield cpus, max(1, min(cpus // 2, 16))
        cpus *= 2


def big_legs(args):
    """How many CPUs should share a shard? The default and others, on 96 CPUs."""
    big = {"modes": ["exec"], "cpus": 96, "nodes": 12, "mem": "12G", "runs": args.runs,
           "fragments": "-lock_stat", "seconds": args.seconds}
    return [Leg("shards", **big, suffix="96"),
            *(Leg(f"shards, {number}", **big, sides=("patched",),
                  append=f"i_mmap_shards={number}", suffix=f"96_{number}_shards")
              for number in BIG_SHARDS)]


def workload_legs(args):
    """Instructions on one vCPU, seconds on all; of patched, with every file sharded, too."""
    for name, shape, shards in (
            (", instructions", {"cpus": 1, "nodes": 1, "rounds": 1, "fragments": "-jump_label"},
             SHARDED),
            ("", {"cpus": args.cpus, "nodes": args.nodes}, "i_mmap_shards=force")):
        shape |= {"modes": [], "runs": args.runs, "disk": WORKLOADS, "timeout": 3600}
        yield Leg(WORKLOADS + name, **shape)
        yield Leg(f"{WORKLOADS}{name}, sharded", **shape, sides=("patched",), append=shards,
                  suffix="sharded")


def plan(args):
    legs = []
    modes = ["exec", "fork", "exec:private"]
    if args.execl:
        modes.append("external")
    if args.form == "run":
        legs.append(Leg("rates", modes, args.cpus, args.nodes, args.runs,
                        seconds=args.seconds))
    else:
        modes += ["exec:static", "vfork", "spawn", "script", "dlopen"]
        for cpus, nodes in topologies(args.most_cpus):
            legs.append(Leg(f"rates {cpus}", modes, cpus, nodes, args.runs,
                            seconds=args.seconds))
    legs.append(Leg("rates, with a walker", ["exec:with_walker"], args.cpus, args.nodes,
                    args.runs, seconds=args.seconds, beside=WALKER))
    legs.append(Leg("lock_stat", ["exec"], args.cpus, args.nodes, args.runs,
                    "-lock_stat", seconds=args.seconds))
    legs.append(Leg("lock_stat, forced", ["exec"], args.cpus, args.nodes, args.runs,
                    "-lock_stat", seconds=args.seconds, sides=("patched",),
                    append="i_mmap_shards=force", suffix=report.SHARDED_ONLY))
    if args.form == "bench":
        legs += big_legs(args)
    legs.append(Leg("reclaim", ["exec:with_reclaim"], args.cpus, args.nodes, args.runs,
                    "-lock_stat", seconds=args.seconds, beside=RECLAIM))
    legs.append(Leg("instructions", ["exec", "fork"], 1, 1, args.runs, "-jump_label",
                    rounds=args.rounds))
    for suffix, append in (("unsharded", UNSHARDED), ("sharded", SHARDED)):
        legs.append(Leg(f"instructions, {suffix}", ["exec", "fork"], 1, 1, args.runs,
                        "-jump_label", rounds=args.rounds, sides=("patched",),
                        append=append, suffix=suffix))
    for bench, append in ((f"file_rmap_bench punch -r {BENCH_ROUNDS}", MANY_SHARDS),
                          (f"file_rmap_bench fork -r {BENCH_ROUNDS}", SHARDED),
                          ("fault_storm minor", "")):
        legs.append(Leg(f"instructions, {bench.split()[1]}", [], 1, 1, args.runs, "-jump_label",
                        rounds=BENCH_ROUNDS, bench=bench, append=append))
    for kind, bench, runs, sides in (("truncate", "truncate", args.runs, SIDES),
                                     ("walkers", "migrate", args.runs, SIDES),
                                     ("walkers, reclaim", "reclaim -d /root", args.runs, SIDES),
                                     ("promotion", "promote", 1, ("patched",))):
        legs.append(Leg(kind, [], args.cpus, args.nodes, runs, sides=sides,
                        bench=f"file_rmap_bench {bench} -r {BENCH_ROUNDS}",
                        append="" if kind == "promotion" else "i_mmap_shards=force"))
        if bench in ("truncate", "reclaim -d /root"):
            legs.append(replace(legs[-1], name=f"{kind}, unsharded", sides=("patched",),
                                append="i_mmap_shards=off", suffix="unsharded"))
    for suffix, append in (("", ""), (report.ALL_SHARDED, "i_mmap_shards=force")):
        legs.append(Leg(f"memory {suffix}".strip(), [], args.cpus, args.nodes, 1, bench=MEMORY,
                        sides=SIDES if not suffix else ("patched",), append=append, suffix=suffix))
    for beside in ("mmap", "mprotect"):
        legs.append(Leg(f"faults, {beside}", [], args.cpus, args.nodes, args.runs,
                        bench=f"fault_storm {beside} -t {args.seconds} -d {BENCHES}"))
    # how long something takes is of interest where all that may run has a CPU to run on:
    # where vCPUs take turns, it waits for threads that waited for mmap_lock before
    cpus = min(args.cpus, os.cpu_count())
    nodes = math.gcd(args.nodes, cpus) # each has as many
    for beside in ("fork", "mprotect"):
        legs.append(Leg(f"faults, {beside}, slow disk", [], cpus, nodes, args.runs,
                        bench=f"fault_storm {beside} -t {args.seconds} -f /dev/vdc",
                        qemu=SLOW_DISK))
    legs += workload_legs(args)
    wanted = args.legs or [kind for kind in KINDS if args.form == "bench" or kind not in BY_NAME]
    missing = set(args.legs) - {leg.kind for leg in legs}
    if missing:
        raise Fail(f"LEGS: {min(missing)} is not part of make {args.form}: use make bench")
    return [leg for leg in legs if leg.kind in wanted]


def order(legs):
    """(leg, run, side) with the sides of each leg alternated A B B A."""
    for leg in legs:
        for run in range(leg.runs):
            for side in leg.sides if run % 2 == 0 else leg.sides[::-1]:
                yield leg, run, side


def boot(leg, side, out, args):
    one = Guest(kernel=leg.kernel(side), image=BUILD / f"image/{leg.disk}.ext4",
                cpus=leg.cpus, nodes=leg.nodes, mem=leg.mem or args.mem, accel=args.accel,
                append=leg.append if side == "patched" else "",
                icount=bool(leg.rounds), qemu=leg.qemu,
                timeout=(leg.timeout or args.timeout) + (len(leg.modes) or 1) * (args.seconds + 1))
    files = [TOP / "lab/server/storm-suite", TOP / "lab/bench/reclaim", TOP / "lab/bench/memory"]
    if leg.disk == WORKLOADS:
        files = [TOP / "lab/bench/workloads", BUILD / "patched/mm-selftests/exec_storm"]
    environment = ""
    if args.execl:
        files.append(args.execl)
        environment = f"export EXECL=/run/job/{Path(args.execl).name}\n"
    command = leg.command()
    if leg.bench:
        command = f"{command} -j /run/out/bench.json\nuname -srvm >/run/out/machine.txt"
    elif leg.beside: # which does not end by itself
        command = f"{leg.beside}\nmeanwhile=$!\n{command}\nkill $meanwhile\nwait $meanwhile || :"
    else:
        command = f"exec {command}"
    script = f"#!/usr/bin/busybox sh\nset -e\n{environment}{command}\n"
    result = guest.run(one, script, files, out=out)
    if result.status != 0:
        raise Fail(f"{side}, {leg.name}: {result.explain()}")
    machine = (out / "machine.txt").read_text().splitlines()
    if not machine:
        raise Fail(f"{side}, {leg.name}: the guest wrote an empty machine.txt: is its disk full?")
    if result.why: # to be known, but no reason to throw away an hour of measurements
        print(f" (the guest {result.why})", end="")
    (out / "boot.json").write_text(json.dumps({
        "side": side, "leg": leg.name, "cpus": leg.cpus, "nodes": leg.nodes,
        "append": one.append, "suffix": leg.suffix,
        "mem": one.mem, "accel": result.accel, "icount": one.icount,
        "seconds": round(result.seconds, 1), "command": leg.command(),
        "kernel": machine[0],
    }, indent=1))
    return result


def hashes(legs):
    """{kernel: SHA-256} of what is booted."""
    kernels = {f"{side}{leg.fragments}": leg.kernel(side) for leg in legs for side in leg.sides}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in kernels.items() if path.is_file()}


def measure(args):
    legs = plan(args)
    date = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    RESULTS.mkdir(parents=True, exist_ok=True)
    room = RESULTS / f".unfinished-{date}"
    todo = list(order(legs))
    if any(leg.disk == WORKLOADS for leg in legs) and \
            subprocess.run([TOP / "lab/guest/image-workloads"], check=False).returncode:
        raise Fail("without their disk the workloads cannot run")
    images = hashes(legs)
    begin = time.monotonic()
    try:
        for number, (leg, run, side) in enumerate(todo, 1):
            print(f"[{number}/{len(todo)}] {leg.name}: {side}, {leg.cpus} CPUs in "
                  f"{leg.nodes} node(s), run {run + 1} of {leg.runs}", end="", flush=True)
            result = boot(leg, side, room / "boots" / f"{number:03d}", args)
            print(f": {result.seconds:.0f}s", flush=True)
        changed = [name for name, hash_ in hashes(legs).items() if hash_ != images[name]]
        if changed:
            raise Fail(f"kernel {changed[0]} was built anew while it was measured: measure again")
    except BaseException:
        print()
        if room.exists():
            failed = RESULTS / f"{date}-failed"
            os.replace(room, failed)
            print(f"what was measured until then is kept in {failed}", file=sys.stderr)
        raise
    (room / "measured.json").write_text(json.dumps({
        "form": args.form, "date": date, "series": series.git_in(series.PATCHED, "rev-parse", "HEAD"),
        "images": images,
        "seconds": round(time.monotonic() - begin),
        "command": " ".join(["make", args.form, *args.variables]),
        "source": (BUILD / "source/id").read_text().split("\n"),
        "qemu": os.popen(f"{guest.QEMU} --version").readline().strip(),
        "host": f"{os.cpu_count()} CPUs, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GiB",
    }, indent=1))
    final = RESULTS / date
    os.replace(room, final)
    link = RESULTS / ".latest.new"
    link.unlink(missing_ok=True)
    link.symlink_to(date)
    os.replace(link, RESULTS / "latest")
    print(f"measured in {time.monotonic() - begin:.0f}s: {final}")


def number(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def kinds(text):
    words = text.replace(",", " ").split()
    for word in words:
        if word not in KINDS:
            raise argparse.ArgumentTypeError(f"{word} is none of {', '.join(KINDS)}")
    return words


class Parser(argparse.ArgumentParser):
    """One that says what is wrong in a line: make gives it the arguments, not the user."""

    def error(self, message):
        for option, variable in VARIABLES.items():
            message = message.replace(f"argument --{option.replace('_', '-')}", variable)
        raise Fail(message)


# the variables of make that the arguments come from
VARIABLES = {"legs": "LEGS", "cpus": "CPUS", "nodes": "NODES", "mem": "MEM", "runs": "RUNS",
             "seconds": "SECONDS_EACH", "most_cpus": "MOST_CPUS", "execl": "EXECL", "accel": "ACCEL"}


def variables(parser, args):
    """What make was given that is not its default."""
    for option, name in VARIABLES.items():
        value = getattr(args, option)
        if value != parser.get_default(option):
            yield f"{name}={shlex.quote(' '.join(value) if isinstance(value, list) else str(value))}"


def main():
    parser = Parser(description=__doc__.split("\n")[0])
    parser.add_argument("form", choices=("run", "bench"))
    parser.add_argument("--validate", action="store_true", help="only look at the arguments")
    parser.add_argument("--flavours", action="store_true", help="only name the kernels")
    parser.add_argument("--legs", type=kinds, default=[], help=f"some of {', '.join(KINDS)}; or all")
    parser.add_argument("--cpus", type=number, default=8)
    parser.add_argument("--nodes", type=number, default=4)
    parser.add_argument("--mem", default="4G")
    parser.add_argument("--runs", type=number, default=3)
    parser.add_argument("--seconds", type=number, default=5, help="per storm")
    parser.add_argument("--rounds", type=number, default=1000, help="to count instructions")
    parser.add_argument("--most-cpus", type=number, default=32, help="of bench")
    parser.add_argument("--execl", default="", help="an external benchmark's binary, too")
    parser.add_argument("--accel", default=os.environ.get("ACCEL") or "auto")
    parser.add_argument("--timeout", type=number, default=900, help="seconds, per boot")
    args = parser.parse_args()
    args.variables = list(variables(parser, args))
    if args.execl and not os.access(args.execl, os.X_OK):
        raise Fail(f"EXECL={args.execl} is not an executable file")
    guest.numa(Guest(Path(), cpus=args.cpus, nodes=args.nodes, mem=args.mem))
    plan(args)
    if args.validate: # before hours of building, not after
        return
    if args.flavours:
        print(*dict.fromkeys(f"{side}{leg.fragments}" for leg in plan(args) for side in SIDES))
        return
    guest.stop_on_signals()
    measure(args)


if __name__ == "__main__":
    try:
        main()
    except (Fail, OSError) as why:
        sys.exit(f"measure: {why}")
    except KeyboardInterrupt:
        sys.exit("measure: interrupted; results/latest is the last complete measurement")
