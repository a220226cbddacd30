# SPDX-License-Identifier: GPL-2.0
"""From the files that measurements leave to figures."""

import json
import re
import statistics
from dataclasses import replace

from figures import Fail, Figure

I_MMAP = "i_mmap"
OUTER = "&mapping->i_mmap_rwsem"
SHARDED_ONLY = "forced"         # suffix of the leg in which every file is sharded
ALL_SHARDED = "sharded"         # ... of figures that have a base
# a bench and its figure
BENCHES = {"truncate": "truncate_{vmas}_maps_us", "reclaim": "reclaim_{vmas}_maps_us",
           "promote": "promotion_{vmas}_vmas_us",
           "migrate": "two_walkers_us", "punch": "instructions_per_empty_punch",
           "punch_one": "instructions_per_empty_punch_one_used",
           "poison": "early_kill_{vmas}_maps_us", "random": "pages_read_at_random_{vmas}_threads",
           "fork": "instructions_per_fork_60_dso", "minor": "instructions_per_minor_fault",
           "minor_shared": "instructions_per_minor_fault_two_threads",
           "first_thread": "instructions_per_first_thread", "second_thread": "instructions_per_second_thread",
           "switch": "instructions_per_switch", "switch_threads": "instructions_per_switch_two_threads"}
WORKLOAD = "workload_"          # how the figures of lab/bench/workloads begin
RECLAIM = "reclaim.hist"        # what lab/bench/reclaim leaves
SLABS = "slab_bytes_per_mapped_file"
# column of lock_classes(), figure, per how many execs, unit
LOCK_FIGURES = (
    (0, "i_mmap_contentions_per_1000_{}", 1000, "1/1000 {}"),
    (1, "i_mmap_bounces_per_1000_{}", 1000, "1/1000 {}"),
    (2, "i_mmap_acquisitions_per_{}", 1, "1/{}"),
    (3, "i_mmap_wait_us_per_{}", 1, "us/{}"),
)
# what an allocation of percpu memory takes, a free, and the life of a percpu counter
PERCPU_LOCKS = ("pcpu_lock", "pcpu_alloc_mutex", "percpu_counters_lock")


def lock_classes(path):
    """{class: [contentions, acq-bounces, acquisitions, us waited]} of a /proc/lock_stat.

    A lock that was taken both ways has two lines, NAME-W and NAME-R, else one."""
    classes = {}
    for line in path.read_text(errors="replace").splitlines():
        name, _, rest = line.rpartition(":")
        numbers = rest.split()
        # con-bounces contentions 4 x waittime acq-bounces acquisitions 4 x holdtime
        if not name.strip() or len(numbers) != 12:
            continue
        values = [float(n) for n in numbers]
        sums = classes.setdefault(re.sub(r"-[WR]$", "", name.strip()), [0] * 4)
        for i, column in enumerate((1, 6, 7, 4)):
            sums[i] += values[column]
    if not classes:
        raise Fail(f"{path} holds no lock class: is it a /proc/lock_stat?")
    return classes


def contended_percent(path):
    """Of a histogram of folio_referenced()'s results: how many were a -1."""
    counts = {int(value): int(count) for value, count in re.findall(
        r"\{ ret:\s*(\d+) \} hitcount:\s*(\d+)", path.read_text())}
    if not counts:
        raise Fail(f"{path} counts no call of folio_referenced()")
    # keys have 64 bits, and no sign
    return 100 * counts.get(2**64 - 1, 0) / sum(counts.values())


def refault_percent(path):
    """Of the pages of files that were reclaimed between two /proc/vmstat: how many came back."""
    before, after = (dict(line.split() for line in (path / f"vmstat.{when}").read_text().splitlines())
                     for when in ("before", "after"))
    refaults, stolen = (int(after[name]) - int(before[name])
                        for name in ("workingset_refault_file", "pgsteal_file"))
    if not stolen:
        raise Fail(f"{path}: no page was reclaimed")
    return 100 * refaults / stolen


class Collection:
    """Figures by name, in the order in which they were first seen. Of two kernels that were
    measured apart, each has its own samples of everything, and none is of the unpatched one."""

    def __init__(self, apart=False):
        self.apart = apart
        self.figures = {}
        self.raw = []
        self.variants = {}      # figure: the one that has its base's samples
        self.lock_runs = {}     # (kind of storm, suffix): [(side, classes, rounds, command)]

    def named(self, plain, suffix):
        """The name of a figure; one with a suffix has the samples of base that the plain has."""
        if suffix:
            self.variants[f"{plain}_{suffix}"] = plain
        return f"{plain}_{suffix}" if suffix else plain

    def add(self, side, name, unit, value, command, better="low", detail=False):
        figure = self.figures.setdefault(
            name, Figure(name, unit, better == "high", command, detail=detail))
        figure.samples[side].append(value)
        self.raw.append({"side": side, "figure": name, "unit": unit, "value": value})

    def faults(self, side, result, command):
        """What fault_storm left: of those who fault, and how long others had to wait."""
        beside = result["beside"]
        disk = "_slow_disk" if result["device"] else ""
        if result["pgmajfault"] <= 0 or not result["io"]:
            raise Fail(f"the faults beside {beside} on {side} did not have to wait")
        suffix = disk if beside == "mmap" else f"_{beside}{disk}"
        self.add(side, f"touches_per_second{suffix}", "1/s", result["touches"] / result["seconds"], command,
                 "high")
        for which in ("p50", "p99", "max"):
            self.add(side, f"touch_latency_{which}{suffix}", "us", result[f"touch_{which}_us"], command)
            self.add(side, f"{beside}_latency_{which}{disk}", "us", result[f"{which}_us"], command)
        per_1000 = 1000 / result["touches"]
        for name, unit, value in (
                ("fault_mmap_lock_reads_per_1000_touches", "1/1000", result["mmap_lock_reads"] * per_1000),
                ("fault_mmap_lock_wait_us", "us/1000", result["mmap_lock_wait_us"] * per_1000),
                ("fault_mmap_lock_across_io", "1", result["io_with_mmap_lock"])):
            self.add(side, name + suffix, unit, value, command)

    def memory(self, side, result, command, suffix):
        """What lab/bench/memory left: of files that were sharded, or could have been."""
        if not suffix:
            self.add_ours(side, "promoted_files_at_boot", "files", [result["promoted_at_boot"]], command)
        elif result["promoted"] < result["files"]:
            raise Fail(f"{result['promoted']} files were sharded of {result['files']}")
        self.add(side, self.named(SLABS, suffix), "bytes", result["slab_bytes"] / result["files"], command)

    def load(self, side, path, result, command, suffix):
        """What a load of file_rmap_bench left: who waited for an i_mmap lock, or, where the kernel
        does not tell, how long each time took."""
        locks = path.with_suffix(".lock_stat")
        if not locks.exists(): # lock_stat's own cost would show
            for which in ("p50_us", "p99_us", "max_us"):
                self.add(side, self.named(f"{result['bench']}_{which}", suffix), "us", result[which], command)
            return
        mine = [values for lock, values in lock_classes(locks).items() if I_MMAP in lock]
        for column, name in ((0, "contentions"), (1, "bounces")):
            self.add(side, self.named(f"i_mmap_{name}_{result['bench']}", suffix), "1/1000 rounds",
                     sum(values[column] for values in mine) * 1000 / result["rounds"], command)

    def add_ours(self, side, name, unit, values, command):
        """Samples of what the unpatched kernel has nothing like."""
        if side == "patched" or self.apart:
            for value in values:
                self.add(side, name, unit, value, command)
            self.figures[name].no_base = not self.apart

    def bench(self, side, path, command, suffix):
        """What a benchmark left: the median of a boot is one sample."""
        result = json.loads(path.read_text())
        if result["bench"] == "faults":
            self.faults(side, result, command)
        elif result["bench"] == "read":
            for name, found in result["patterns"].items():
                self.add(side, f"pages_read_{name}", "pages", found["cached"], command)
                self.add(side, f"major_faults_{name}", "faults", found["major"], command)
        elif result["bench"] == "memory":
            self.memory(side, result, command, suffix)
        elif "rounds" in result:
            self.load(side, path, result, command, suffix)
        else:
            name = self.named(BENCHES[result["bench"]].format(vmas=result["vmas"]), suffix)
            unit = "instructions" if result["unit"] == "tsc" else result["unit"]
            if result["bench"] == "promote":
                self.add_ours(side, name, unit, result["samples"], command)
            else:
                self.add(side, name, unit, statistics.median(result["samples"]), command)

    def workload(self, side, path, command, suffix):
        """What lab/bench/workloads left: a program that is started again and again, or a
        load that was done once, by one process or by several at once."""
        load = json.loads(path.read_text())
        if load["failures"]:
            raise Fail(f"{path}: the load itself failed")
        what, unit, value = ("instructions", "million instructions", load["tsc"] / 1e6) \
            if "tsc" in load else ("seconds", "s", load["seconds"])
        self.add(side, self.named(f"{WORKLOAD}{path.stem}_{what}", suffix), unit, value, command)

    def storm(self, side, path, command, suffix=""):
        storm = json.loads(path.read_text())
        variant = path.stem.partition("-")[2].replace("-", "_")
        variant = variant and f"_{variant}"
        kind = storm["mode"] + variant
        if storm.get("failures"):
            raise Fail(f"{path}: the storm itself failed")
        if storm.get("tsc") is not None:
            # "debian_sharded" is a variant of "debian", which has a base of its own
            kernel, _, variant = suffix.rpartition("_")
            name = f"instructions_per_{kind}" + (f"_{kernel}" if kernel else "")
            self.add(side, self.named(name, variant), "instructions", storm["tsc"] / storm["rounds"],
                     command)
            return
        locks = path.with_suffix(".lock_stat")
        if locks.exists(): # lock_stat's own cost would show as rounds
            self.lock_runs.setdefault((kind, suffix), []).append(
                (side, lock_classes(locks), storm["rounds"], command))
            return
        self.add(side, f"{storm['mode']}_rate{variant}_cpus_{storm['workers']}", "1/s",
                 storm["rate"], command, "high")

    def unixbench(self, side, path, command):
        """The indices in the report of UnixBench's Run, of each number of copies."""
        copies, found = None, False
        for line in path.read_text(errors="replace").splitlines():
            running = re.search(r"running (\d+) parallel cop", line)
            index = re.match(r"(Execl Throughput|Shell Scripts \((\d+) concurrent\))"
                             r"(?: +[\d.]+){2} +([\d.]+)$", line)
            copies = running[1] if running else copies
            if index and copies:
                name = f"shell{index[2]}" if index[2] else "execl"
                self.add(side, f"unixbench_{name}_index_copies_{copies}", "index",
                         float(index[3]), command, "high")
                found = True
        if not found:
            raise Fail(f"{path} has no index: did UnixBench's Run come to its end?")

    def finish(self):
        for (kind, suffix), runs in self.lock_runs.items():
            kernel, _, last = suffix.rpartition("_")
            rounds_of = "execs" if kind == "exec" else f"{kind}_rounds"
            if not self.apart and all(side == "patched" for side, *_ in runs): # then base was run as ...
                plain = kernel if last == SHARDED_ONLY else suffix.partition("_")[0]
                runs = [run for run in self.lock_runs.get((kind, plain), [])
                        if run[0] == "base"] + runs
            if last == SHARDED_ONLY:
                self.shared_writes(rounds_of.removesuffix("s"), runs, kernel and f"_{kernel}")
            else:
                self.locks(rounds_of, runs, suffix and f"_{suffix}")
        self.lock_runs = {}
        for side in ("base", "patched"):
            plain, sharded = (self.figures[name].samples[side] if name in self.figures else []
                              for name in (SLABS, f"{SLABS}_{ALL_SHARDED}"))
            if plain and sharded:
                self.add_ours(side, "bytes_per_promoted_file", "bytes",
                              [statistics.median(sharded) - statistics.median(plain)],
                              self.figures[f"{SLABS}_{ALL_SHARDED}"].command)
        for variant, plain in self.variants.items():
            if plain in self.figures and not self.apart and not self.figures[variant].samples["base"]:
                self.figures[variant].samples["base"] = list(self.figures[plain].samples["base"])
        # One CPU has one shard, so this is what the plain figure says.
        for plain in dict.fromkeys(self.variants.values()):
            if plain in self.figures and plain.startswith("instructions_"):
                name = f"{plain}_one_shard"
                self.figures[name] = replace(self.figures[plain], name=name)
        return self

    def shared_writes(self, round_of, runs, suffix):
        """How often the semaphore of a file is taken, in whatever way, if every
        file is sharded; on base, nothing is, and nothing else is taken."""
        for side, classes, rounds, command in runs:
            taken = sum(values[2] for lock, values in classes.items() if OUTER in lock)
            self.add(side, f"i_mmap_shared_writes_per_{round_of}{suffix}", f"1/{round_of}",
                     taken / rounds, command)

    def locks(self, rounds_of, runs, suffix=""):
        """Sums over the i_mmap classes, and each class by itself. A class that a
        run's lock_stat does not list was not taken in it."""
        every = {name for _, classes, _, _ in runs for name in classes}
        contended = {name for _, classes, _, _ in runs for name, v in classes.items() if v[0]}
        mine = sorted(name for name in every if I_MMAP in name)
        none = [0] * 4
        for side, classes, rounds, command in runs:
            for column, name, per, unit in LOCK_FIGURES:
                of = rounds_of if per > 1 else rounds_of.removesuffix("s")
                name, unit = name.format(of) + suffix, unit.format(of)
                values = {lock: classes.get(lock, none)[column] * per / rounds for lock in mine}
                self.add(side, name, unit, sum(values.values()), command)
                for lock, value in values.items():
                    self.add(side, f"{name}[{lock}]", unit, value, command, detail=True)
            # where a storm ends before its execs do, those that have only begun count above
            taken = sum(classes.get(lock, none)[2] for lock in mine)
            for column, what in ((0, "contentions"), (1, "bounces")) if taken else ():
                self.add(side, f"i_mmap_{what}_per_1000_acquisitions_{rounds_of}{suffix}", "1/1000",
                         sum(classes.get(lock, none)[column] for lock in mine) * 1000 / taken, command)
            of = rounds_of.removesuffix("s")
            self.add(side, f"percpu_locks_per_{of}{suffix}", f"1/{of}",
                     sum(classes.get(lock, none)[2] for lock in PERCPU_LOCKS) / rounds, command)
            for lock in sorted(contended - set(mine)):
                self.add(side, f"contentions_per_1000_{rounds_of}{suffix}[{lock}]", f"1/1000 {rounds_of}",
                         classes.get(lock, none)[0] * 1000 / rounds, command, detail=True)

    def folder(self, side, path, command, suffix=""):
        """What a benchmark, or the runs of a storm-suite, left."""
        benches = sorted(path.glob("bench*.json"))
        for one in benches:
            self.bench(side, one, command, suffix)
        if benches:
            return
        if (path / RECLAIM).exists(): # the storm was there to be in reclaim's way
            end = suffix and f"_{suffix}"
            self.add(side, f"rmap_contended_percent{end}", "%", contended_percent(path / RECLAIM), command)
            self.add(side, f"refault_percent{end}", "%", refault_percent(path), command)
            return
        loads = sorted(path.glob("workloads/*.json"))
        for one in loads:
            self.workload(side, one, command, suffix)
        if (path / "promoted").exists() and not suffix:
            self.add_ours(side, "promoted_files_after_builds", "files",
                          [int((path / "promoted").read_text())], command)
        found = sorted(path.glob("runs/*/*.json"),
                       key=lambda p: (int(p.parent.name), p.stat().st_mtime_ns, p.name))
        if not found and not loads:
            raise Fail(f"{path} holds no runs of storm-suite")
        for one in found:
            self.storm(side, one, command, suffix)
        for one in sorted(path.glob("runs/*/unixbench")):
            self.unixbench(side, one, command)


def boots(path):
    for boot in sorted(path.glob("boots/*/boot.json")):
        yield boot.parent, json.loads(boot.read_text())


def machine_of(boot):
    return f"{boot['cpus']} vCPUs in {boot['nodes']} node(s), {boot['accel']}"


def read_result(path):
    collection, setting, kernels = Collection(), [], {}
    for folder, boot in boots(path):
        where = machine_of(boot) + (" -icount" if boot["icount"] else "")
        if where not in setting:
            setting.append(where)
        kernels[boot["side"]] = boot["kernel"]
        command = " ".join(filter(None, [boot["command"], boot.get("append")]))
        collection.folder(boot["side"], folder, f"{command} ({where})", boot.get("suffix", ""))
    if not collection.finish().figures:
        raise Fail(f"{path} holds no measurement: run make run, or give a folder of storm-suite")
    facts = json.loads((path / "measured.json").read_text())
    return collection, {
        "INCOMPLETE": facts.get("incomplete"),
        "source": facts["source"][0], "checksum": " ".join(facts["source"][1:]).strip(),
        "topologies": "; ".join(setting), "emulator": facts["qemu"],
        "host": facts["host"], "measured": facts["date"], "command": facts["command"],
        "base": kernels.get("base", ""), "patched": kernels.get("patched", ""),
        "order": "alternated boots, A B B A",
    }


class Server:
    """What storm-suite wrote of a machine, of its kernel, and of sharding."""

    def __init__(self, path):
        self.kernel, place, *cmdline = (path / "machine.txt").read_text().splitlines()
        self.path, self.cmdline = path, " ".join(cmdline)
        self.machine = {"storm-suite": place, **{
            name: self.said(name) for name in ("cpu", "governor", "mitigations")}}
        self.sharding = self.said("sharding")
        self.state = self.sharding.partition(":")[0]

    def said(self, name):
        file = self.path / f"{name}.txt"
        return " ".join(file.read_text().split()) if file.exists() else ""

    def doubts(self, other):
        """Why the two are no fair pair, other than for their machines."""
        if (self.kernel, self.cmdline) == (other.kernel, other.cmdline):
            yield "NOT two kernels: release, build and command line are the same"
        for one in (self, other):
            if one.state == "idle":
                yield f"{one.path} did NOT engage: {one.sharding.removeprefix('idle: ')}"
        if self.sharding and other.sharding and "engaged" not in (self.state, other.state):
            yield "NEITHER has sharded a file"


def read_pair(first, second):
    collection, words, machines, servers, doubts = Collection(apart=True), {}, {}, [], []
    for side, path in (("base", first), ("patched", second)):
        if not path.is_dir():
            raise Fail(f"{path} is not a folder")
        if (path / "boots").is_dir():
            host = json.loads((path / "measured.json").read_text())["host"]
            for folder, boot in boots(path):
                if boot["side"] == "patched":
                    machines.setdefault(side, {})[boot["leg"]] = f"{machine_of(boot)}, on {host}"
                    collection.folder(side, folder, boot["command"], boot.get("suffix", ""))
            words[side] = f"{path}, its patched side"
        else:
            collection.folder(side, path, "storm-suite")
            servers.append(Server(path))
            machines[side] = servers[-1].machine
            words[side] = f"{path}: {servers[-1].kernel}" \
                + (f"; sharding {servers[-1].sharding}" if servers[-1].sharding else "")
    for leg, one in machines["base"].items():
        other = machines["patched"].get(leg, one)
        if one != other:
            both = f"{leg}: {one} and {other}"
            doubts.append(f"NOT the same machine: {both if len(both) < 200 else f'{leg} differ'}")
    if len(servers) == 2:
        doubts += servers[0].doubts(servers[1])
    words["note"] = "; ".join(doubts)
    words["order"] = "NOT alternated: one boot after the other, a drift of the machine counts as a difference"
    return collection.finish(), words
