#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measure base and patched side by side, in alternated boots.

  measure.py run      the counts that make the case, in minutes
  measure.py bench    all that there is to measure, in hours

What that is stands in the table lab/bench/legs. The kernels of the first legs are built,
measured and told of before the others are built.

Each boot leaves a folder results/<date>/boots/NNN with console, samples and boot.json
(side, topology, command). Boots of the two sides alternate A B B A A B ..., so that a
slow drift of the host meets both. results/latest points to the newest measurement that
came to its end; what one has measured that did not is kept and shown, too. The
arithmetic on the samples is report.py's.
"""

import argparse
import datetime
import hashlib
import json
import math
import os
import re
import shlex
import statistics
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / one) for one in ("guest", "kernel")]
import guest                                    # noqa: E402
import possible                                 # noqa: E402
import read                                     # noqa: E402
import series                                   # noqa: E402
import show                                     # noqa: E402
from figures import INSTRUCTION_ROUNDS          # noqa: E402
from flavour import image_of                    # noqa: E402
from guest import BUILD, TOP, Fail, Guest       # noqa: E402

RESULTS = Path(os.environ.get("RESULTS") or TOP / "results").resolve()
SIDES = ("base", "patched")
TABLE = TOP / "lab/bench/legs"
COLUMNS = ("name", "run", "bench", "kernel", "machine", "sides", "patched", "suffix", "commands")
SECONDS = {"run": 3, "bench": 5}    # of each storm
BENCHES = "/bench"
EXTERNAL = BUILD / "execl.tar"
BESIDE = {
    # a file that every exec maps; the guest's disk forgets what is written to it
    "walker": f"{BENCHES}/file_rmap_bench extend /lib/*/libc.so.6",
    "reclaim": "./reclaim /run/out/reclaim.hist",
}
# a disk whose reads take 20 ms; what it holds does not matter
SLOW_DISK = ["-drive", "driver=null-co,read-zeroes=on,size=64M,latency-ns=20000000,if=virtio"]
MANY = 240
WORKLOADS = "workloads"     # the command, and the disk of lab/guest/image-workloads
WORKLOADS_TIMEOUT = 3600
BOOT_SECONDS = 8            # a guess, until one has been measured


@dataclass
class Leg:
    """What one boot of each side measures, and how often."""
    name: str
    commands: list              # for the guest's shell
    cpus: int
    nodes: int
    runs: int
    mem: str
    fragments: str = ""         # of the flavour: "-lock_stat", "-jump_label"
    beside: str = ""            # command line of what runs meanwhile
    icount: bool = False
    qemu: list = field(default_factory=list)    # more of a machine
    possible: int = 0           # CPUs that the kernel allocates for, if not those that there are
    sides: tuple = SIDES
    append: str = ""            # patched's kernel parameters
    suffix: str = ""            # of the figures' names
    storms: int = 1             # how often it goes on for SECONDS_EACH

    @property
    def kind(self):
        return kind_of(self.name)

    @property
    def disk(self):
        """Whose programs are run."""
        return WORKLOADS if self.commands[0].startswith(f"./{WORKLOADS}") else "root"

    def kernel(self, side):
        return image_of(f"{side}{self.fragments}")

    def script(self):
        lines = list(self.commands)
        if self.beside: # which does not end by itself
            lines = [f"{self.beside} &", "meanwhile=$!", *lines, "kill $meanwhile",
                     "wait $meanwhile || :"]
        return "\n".join([*lines, "[ -e /run/out/machine.txt ] || uname -srvm >/run/out/machine.txt", ""])


def kind_of(name):
    return name.replace(",", "").split()[0]


def rows():
    """The table's lines as {column: text}."""
    for line in TABLE.read_text().splitlines():
        if not line.startswith("#"):
            cells = [cell.strip() for cell in line.split("|")]
            yield dict(zip(COLUMNS, ["" if cell == "-" else cell for cell in cells], strict=True))


def kinds(form):
    return list(dict.fromkeys(kind_of(row["name"]) for row in rows() if row[form]))


def topologies(most):
    """CPU counts 1, 2, 4 ... with the nodes each gets: 2 CPUs a node, 16 nodes at most."""
    cpus = 1
    while cpus <= most:
        yield cpus, max(1, min(cpus // 2, 16))
        cpus *= 2


def machines(row, args):
    """The settings of a leg, or of several, for the table's word."""
    if row["machine"] == "each":
        for cpus, nodes in topologies(args.most_cpus):
            if cpus != args.cpus: # which is a leg of its own
                yield {"name": f"{row['name']} {cpus}", "cpus": cpus, "nodes": nodes}
        return
    few = min(args.cpus, os.cpu_count())
    yield {"all": {"cpus": args.cpus, "nodes": args.nodes},
           "one": {"cpus": 1, "nodes": 1, "icount": True},
           "twelve": {"cpus": 12, "nodes": 12, "icount": True},
           "many": {"cpus": 1, "nodes": 1, "icount": True, "possible": MANY},
           "big": {"cpus": 96, "nodes": 12, "mem": "12G"},
           "few": {"cpus": few, "nodes": math.gcd(args.nodes, few), # each has as many
                   "qemu": SLOW_DISK}}[row["machine"]]


def command(text, number, icount, args):
    """A command of the table as the guest's shell has to be told it."""
    program, *words = text.replace("SECONDS", str(args.seconds)).split()
    if program == "storm":
        how = f"-i {args.rounds}" if icount else f"-t {args.seconds}"
        modes = [word for word in words if word != "external" or args.execl]
        return " ".join(["./storm-suite", how, "/run/out", *modes])
    if program == WORKLOADS:
        return f"./{WORKLOADS} {'-i ' if icount else ''}/run/out"
    where = "." if program == "memory" else BENCHES
    return " ".join([f"{where}/{program}", *words, "-j", f"/run/out/bench-{number}.json"])


def legs_of(row, args):
    beside, _, commands = row["commands"].rpartition(" + ")
    commands = commands.split(" ; ")
    for machine in machines(row, args):
        yield Leg(**{
            "name": row["name"], "runs": args.runs or int(row[args.form]), "mem": args.mem,
            "commands": [command(text, number, machine.get("icount"), args)
                         for number, text in enumerate(commands, 1)],
            "storms": sum(max(1, len(text.split()) - 1) if text.startswith("storm ") else 1
                          for text in commands),
            "fragments": row["kernel"] and f"-{row['kernel']}", "beside": BESIDE.get(beside, ""),
            "sides": SIDES if row["sides"] == "both" else (row["sides"],),
            "append": row["patched"], "suffix": row["suffix"], **machine})


def plan(args):
    there = kinds(args.form)
    for kind in args.legs:
        if kind not in there:
            raise Fail(f"LEGS: {kind} is not part of make {args.form}, which has {' '.join(there)}"
                       + (": use make bench" if kind in kinds("bench") else ""))
    wanted = [row for row in rows() if row[args.form] and kind_of(row["name"]) in (args.legs or there)]
    if args.execl and not any("external" in row["commands"] for row in wanted):
        raise Fail("EXECL: none of these legs runs it: use make bench, with LEGS=rates or without")
    return [leg for row in wanted for leg in legs_of(row, args)]


def order(legs):
    """(leg, run, side) with the sides of each leg alternated A B B A."""
    for leg in legs:
        for run in range(leg.runs):
            for side in leg.sides if run % 2 == 0 else leg.sides[::-1]:
                yield leg, run, side


def pack_external(binary):
    """EXECL's binary and the libraries that it loads. UnixBench's executes $UB_BINDIR/execl again
    and again, whatever it is called itself."""
    linked = subprocess.run(["ldd", binary], text=True, capture_output=True, check=False).stdout
    with tarfile.open(EXTERNAL, "w", dereference=True) as tar:
        tar.add(binary, "execl/execl")
        for library in re.findall(r"(/\S+) \(0x", linked):
            tar.add(library, f"usr/{library.removeprefix('/usr').lstrip('/')}")


def boot(leg, side, out, args):
    limit = WORKLOADS_TIMEOUT if leg.disk == WORKLOADS else args.timeout
    qemu, told = possible.machine(leg.possible, BUILD / "possible") if leg.possible else ([], "")
    one = Guest(kernel=leg.kernel(side), image=BUILD / f"image/{leg.disk}.ext4",
                cpus=leg.cpus, nodes=leg.nodes, mem=leg.mem, accel=args.accel,
                append=f"{told} {leg.append if side == 'patched' else ''}".strip(),
                icount=leg.icount, qemu=leg.qemu + qemu, timeout=limit + leg.storms * (args.seconds + 1))
    files = [TOP / "lab/server/storm-suite", TOP / "lab/bench/reclaim", TOP / "lab/bench/memory"]
    if leg.disk == WORKLOADS:
        files = [TOP / "lab/bench/workloads", BUILD / "bench/exec_storm"]
    environment = ""
    if any("external" in one.split() for one in leg.commands):
        files.append(EXTERNAL)
        environment = f"tar -C / -xf {EXTERNAL.name}\nexport EXECL=/execl/execl\n"
    script = f"#!/usr/bin/busybox sh\nset -e\n{environment}{leg.script()}"
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
        "seconds": round(result.seconds, 1), "command": "; ".join(leg.commands),
        "kernel": machine[0],
    }, indent=1))
    return result


class Forecast:
    """How long boots will take: as those of the same leg did, in this measurement or else in
    the last one."""

    def __init__(self, args):
        self.seconds = args.seconds
        self.before, self.now = {}, {}
        for _, told in read.boots(RESULTS / "latest"):
            self.before.setdefault(told["leg"], []).append(told["seconds"])

    def add(self, leg, seconds):
        self.now.setdefault(leg.name, []).append(seconds)

    def boot(self, leg):
        known = self.now.get(leg.name) or self.before.get(leg.name)
        return statistics.mean(known) if known else BOOT_SECONDS + leg.storms * (self.seconds + 1)

    def left(self, todo):
        seconds = sum(self.boot(leg) for leg, _, _ in todo)
        return f"about {seconds:.0f} s left" if seconds < 90 else f"about {seconds / 60:.0f} min left"


def build(legs):
    """The kernels of these legs: what is there already takes seconds."""
    flavours = dict.fromkeys(f"{side}{leg.fragments}" for leg in legs for side in SIDES)
    if not guest.tool(TOP / "lab/kernel/kernel", *flavours):
        raise Fail(f"without kernels {' and '.join(flavours)} there is nothing to measure")


def hashes(legs):
    """{kernel: SHA-256} of what is booted."""
    kernels = {f"{side}{leg.fragments}": leg.kernel(side) for leg in legs for side in leg.sides}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kernels.items()}


def write_facts(room, args, images, begin, incomplete=""):
    (room / "measured.json").write_text(json.dumps({
        "form": args.form, "date": args.date, "series": series.git_in(series.PATCHED, "rev-parse", "HEAD"),
        "images": images, "incomplete": incomplete,
        "seconds": round(time.monotonic() - begin),
        "command": " ".join(["make", args.form, *args.variables]),
        "source": (BUILD / "source/id").read_text().split("\n"),
        "qemu": os.popen(f"{guest.QEMU} --version").readline().strip(),
        "host": f"{os.cpu_count()} CPUs, {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 30} GiB",
    }, indent=1))


def keep_incomplete(room):
    """What was measured until something went wrong, where nobody takes it for a result; and
    a table of it, if it is enough for one."""
    failed = RESULTS / f"{room.name.removeprefix('.unfinished-')}-failed"
    os.replace(room, failed)
    print(f"what was measured until then is kept in {failed}", flush=True)
    if (failed / "measured.json").exists():
        try:
            show.write(*read.read_result(failed), failed)
        except Fail as why:
            print(f"no table of it: {why}", flush=True)


def measure(args):
    legs = plan(args)
    args.date = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    RESULTS.mkdir(parents=True, exist_ok=True)
    room = RESULTS / f".unfinished-{args.date}"
    # kernel by kernel: the first ones are measured before the others are built
    fragments = list(dict.fromkeys(leg.fragments for leg in legs))
    todo = list(order(sorted(legs, key=lambda leg: fragments.index(leg.fragments))))
    if any(leg.disk == WORKLOADS for leg in legs) and not guest.tool(TOP / "lab/guest/image-workloads"):
        raise Fail("without their disk the workloads cannot run")
    if args.execl:
        pack_external(args.execl)
    images = {}
    forecast = Forecast(args)
    begin = time.monotonic()
    done = 0
    try:
        for leg, run, side in todo:
            kernels = [other for other in legs if other.fragments == leg.fragments]
            if f"{side}{leg.fragments}" not in images:
                if done: # what there is, before minutes of building
                    write_facts(room, args, images, begin, f"{done} of {len(todo)} boots: the others follow")
                    show.write(*read.read_result(room), room)
                build(kernels)
                images |= hashes(kernels)
            print(f"[{done + 1}/{len(todo)}] {leg.name}: {side}, {leg.cpus} CPUs in "
                  f"{leg.nodes} node(s), run {run + 1} of {leg.runs}, "
                  f"{forecast.left(todo[done:])}", end="", flush=True)
            result = boot(leg, side, room / "boots" / f"{done + 1:03d}", args)
            print(f": {result.seconds:.0f}s", flush=True)
            forecast.add(leg, result.seconds)
            done += 1
        changed = [name for name, hash_ in hashes(legs).items() if hash_ != images[name]]
        if changed:
            raise Fail(f"kernel {changed[0]} was built anew while it was measured: measure again")
    except BaseException as why:
        print()
        if done:
            what = (str(why) or "interrupted").splitlines()[0]
            write_facts(room, args, images, begin, f"{done} of {len(todo)} boots: {what}")
        if room.exists():
            keep_incomplete(room)
        raise
    write_facts(room, args, images, begin)
    final = RESULTS / args.date
    os.replace(room, final)
    link = RESULTS / ".latest.new"
    link.unlink(missing_ok=True)
    link.symlink_to(args.date)
    os.replace(link, RESULTS / "latest")
    print(f"measured in {time.monotonic() - begin:.0f}s: {final}")


def number(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


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
    parser.add_argument("form", choices=SECONDS)
    parser.add_argument("--legs", type=lambda text: text.replace(",", " ").split(), default=[],
                        help=f"some of {', '.join(kinds('bench'))}; or all")
    parser.add_argument("--cpus", type=number, default=8)
    parser.add_argument("--nodes", type=number, default=4)
    parser.add_argument("--mem", default="4G")
    parser.add_argument("--runs", type=number, help="of each leg, instead of what the table says")
    parser.add_argument("--seconds", type=number, help=f"per storm: {SECONDS}")
    parser.add_argument("--rounds", type=number, default=INSTRUCTION_ROUNDS, help="to count instructions")
    parser.add_argument("--most-cpus", type=number, default=32, help="of the legs scaling")
    parser.add_argument("--execl", default="", help="an external benchmark's binary, too")
    parser.add_argument("--accel", default=os.environ.get("ACCEL") or "auto")
    parser.add_argument("--timeout", type=number, default=900, help="seconds, per boot")
    args = parser.parse_args()
    args.variables = list(variables(parser, args))
    args.seconds = args.seconds or SECONDS[args.form]
    guest.stop_on_signals()
    measure(args)


if __name__ == "__main__":
    try:
        main()
    except (Fail, OSError) as why:
        sys.exit(f"measure: {why}")
    except KeyboardInterrupt:
        sys.exit("measure: interrupted; results/latest is the last complete measurement")
