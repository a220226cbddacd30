#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""From the samples of two kernels to figures, a table, a plot and a page.

  report.py show DIR              a folder that make run or make bench left
  report.py compare A B [--out D] two kernels measured apart: folders which
                                  storm-suite wrote on a real machine, or two
                                  results (then their patched sides)

Writes figures.tsv (one figure a line), samples.json, table.txt, cover.txt (for
the cover letter), plot.svg and report.html beside the samples, and prints the table. base and patched are
medians. low and high bound the ratio patched/base: the 99 % confidence interval
of the ratio of means (Student's t, Welch's degrees of freedom), so that of a
hundred figures that are the same one is called different. When it holds 1, no
difference was measured, and the table says so; more RUNS make it narrower.
"""

import argparse
import html
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

I_MMAP = "i_mmap"
OUTER = "&mapping->i_mmap_rwsem"
SHARDED_ONLY = "forced"         # suffix of the leg in which every file is sharded
ALL_SHARDED = "sharded"         # ... of figures that have a base
# a bench and its figure
BENCHES = {"truncate": "truncate_{vmas}_maps_us", "reclaim": "reclaim_{vmas}_maps_us",
           "promote": "promotion_{vmas}_vmas_us",
           "migrate": "two_walkers_us", "punch": "instructions_per_empty_punch",
           "fork": "instructions_per_fork_60_dso", "minor": "instructions_per_minor_fault"}
WORKLOAD = "workload_"          # how the figures of lab/bench/workloads begin
RECLAIM = "reclaim.hist"        # what lab/bench/reclaim leaves
CEILING = "_private"
COLORS = {"base": "#555555", "patched": "#1b9e77", "ceiling": "#d95f02"}
SHIFT = {"base": 0.97, "patched": 1.03}     # so that points do not hide each other
# how far two counts of the same kernel's instructions may lie apart, by what they count:
# make check proves it, and a single run of each side is taken for no more exact than that
REPEATS_WITHIN = {"exec": 0.0005, "fork": 0.002}
# column of lock_classes(), figure, per how many execs, unit
LOCK_FIGURES = (
    (0, "i_mmap_contentions_per_1000_{}", 1000, "1/1000 {}"),
    (1, "i_mmap_bounces_per_1000_{}", 1000, "1/1000 {}"),
    (2, "i_mmap_acquisitions_per_{}", 1, "1/{}"),
    (3, "i_mmap_wait_us_per_{}", 1, "us/{}"),
)


class Fail(Exception):
    """One line for the user that says what is wrong and what to do."""


# Student's t, two-sided, 99 %, by degrees of freedom (any table of statistics)
STUDENT_T = ((1, 63.66), (2, 9.925), (3, 5.841), (4, 4.604), (5, 4.032), (6, 3.707), (7, 3.499),
             (8, 3.355), (9, 3.250), (10, 3.169), (12, 3.055), (15, 2.947), (20, 2.845),
             (30, 2.750), (60, 2.660), (math.inf, 2.576))


def student_t(freedom):
    """The value for the next lower tabulated degrees of freedom: never too narrow."""
    return next(t for n, t in reversed(STUDENT_T) if n <= max(1, freedom))


@dataclass
class Figure:
    name: str
    unit: str
    higher_is_better: bool
    command: str
    samples: dict = field(default_factory=lambda: {"base": [], "patched": []})
    detail: bool = False        # one lock class of a sum: not in the short table
    no_base: bool = False       # of something that base does not do

    @property
    def complete(self):
        """Both kernels have it; or only the patched one can."""
        return bool(self.samples["patched"]) and bool(self.samples["base"] or self.no_base)

    def median(self, side):
        return statistics.median(self.samples[side]) if self.samples[side] else None

    @property
    def ratio(self):
        base = self.median("base")
        return self.median("patched") / base if base else None

    @property
    def bounds(self):
        """(low, high) of the ratio, or None where the samples cannot tell."""
        base, patched = self.samples["base"], self.samples["patched"]
        if self.ratio is None:
            return None
        if self.runs == 1:
            if self.unit != "instructions":
                return None
            within = REPEATS_WITHIN["exec" if "_per_exec" in self.name else "fork"]
            return self.ratio * (1 - within), self.ratio * (1 + within)
        mean = statistics.mean(base)
        ratio = statistics.mean(patched) / mean
        # variances of both means, as they go into the ratio
        parts = [statistics.variance(patched) / len(patched) / mean ** 2,
                 ratio ** 2 * statistics.variance(base) / len(base) / mean ** 2]
        freedom = sum(part ** 2 / (len(s) - 1) for part, s in zip(parts, (patched, base)))
        reach = 0
        if freedom:
            reach = student_t(sum(parts) ** 2 / freedom) * math.sqrt(sum(parts))
        return min(max(0, ratio - reach), self.ratio), max(ratio + reach, self.ratio)

    @property
    def runs(self):
        return min(len(s) for s in self.samples.values() if s)

    def verdict(self):
        if self.samples["base"] == self.samples["patched"]:
            return "no difference measured"
        if self.no_base:
            return "base has nothing like it"
        if self.ratio is None:
            return "no ratio: base is 0"
        if self.bounds is None:
            return "one run: its spread is not known"
        low, high = self.bounds
        if low <= 1 <= high:
            return "no difference measured"
        better = (self.ratio > 1) == self.higher_is_better
        return f"{'better' if better else 'WORSE'}: {(self.ratio - 1) * 100:+.2f} %"


# --- reading ----------------------------------------------------------------

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


def fallback_percent(result):
    """Of the faults that were retried: how many took mmap_lock for that."""
    if "vma_lock_retry_locked" not in result:
        return 100      # all do
    fallen_back = sum(result[f"vma_lock_retry_{why}"] for why in ("gone", "again", "mmap"))
    return 100 * fallen_back / (result["vma_lock_retry_locked"] + fallen_back)


class Collection:
    """Figures by name, in the order in which they were first seen. Of two kernels that were
    measured apart, each has its own samples of everything, and none is of the unpatched one."""

    def __init__(self, apart=False):
        self.apart = apart
        self.figures = {}
        self.raw = []
        self.variants = {}      # figure: the one that has its base's samples
        self.lock_runs = {}     # (kind of storm, suffix): [(side, classes, rounds, command)]

    def add(self, side, name, unit, value, command, better="low", detail=False):
        figure = self.figures.setdefault(
            name, Figure(name, unit, better == "high", command, detail=detail))
        figure.samples[side].append(value)
        self.raw.append({"side": side, "figure": name, "unit": unit, "value": value})

    def faults(self, side, result, command):
        """What fault_storm left: with a slow disk, how long others had to wait."""
        beside = result["beside"]
        if result["device"]:
            for which in ("p99", "max"):
                self.add(side, f"{beside}_latency_{which}", "us", result[f"{which}_us"], command)
            return
        suffix = "" if beside == "mmap" else f"_{beside}"
        major = result["pgmajfault"]
        if not (major > 0 and result["vma_lock_retry"] and result["io"]):
            raise Fail(f"the faults beside {beside} on {side} did not have to wait")
        for name, unit, value in (
                ("fault_mmap_lock_reads_per_1000_major", "1/1000", result["mmap_lock_reads"] * 1000 / major),
                ("fault_mmap_lock_wait_us", "us/1000", result["mmap_lock_wait_us"] * 1000 / major),
                ("fault_mmap_lock_across_io", "1", result["io_with_mmap_lock"]),
                ("fault_retry_fallback_percent", "%", fallback_percent(result)),
                ("majflt_error_percent", "%", abs(result["ru_majflt"] - major) * 100 / major)):
            self.add(side, name + suffix, unit, value, command)

    def memory(self, side, result, command, suffix):
        """What lab/bench/memory left: of files that were sharded, or could have been."""
        self.promoted(side, result["promoted_at_boot"], "at_boot", command, suffix)
        plain = "slab_bytes_per_mapped_file"
        name = f"{plain}_{suffix}" if suffix else plain
        if suffix:
            self.variants[name] = plain
            if result["promoted"] < result["files"]:
                raise Fail(f"{result['promoted']} files were sharded of {result['files']}")
        self.add(side, name, "bytes", result["slab_bytes"] / result["files"], command)

    def promoted(self, side, count, when, command, suffix):
        """How many files were sharded because they were contended."""
        if (side == "patched" or self.apart) and not suffix:
            name = f"promoted_files_{when}"
            self.add(side, name, "files", count, command)
            self.figures[name].no_base = not self.apart

    def bench(self, side, path, command, suffix):
        """What a benchmark left: the median of a boot is one sample."""
        result = json.loads(path.read_text())
        if result["bench"] == "faults":
            self.faults(side, result, command)
            return
        if result["bench"] == "memory":
            self.memory(side, result, command, suffix)
            return
        unit = "instructions" if result["unit"] == "tsc" else result["unit"]
        name = BENCHES[result["bench"]].format(vmas=result["vmas"])
        if suffix:
            self.variants[f"{name}_{suffix}"] = name
            name = f"{name}_{suffix}"
        if result["bench"] != "promote":
            self.add(side, name, unit, statistics.median(result["samples"]), command)
        elif side == "patched" or self.apart:
            for one in result["samples"]:
                self.add(side, name, "us", one, command)
            self.figures[name].no_base = not self.apart

    def workload(self, side, path, command, suffix):
        """What lab/bench/workloads left: a program that is started again and again, or a
        load that was done once, by one process or by several at once."""
        load = json.loads(path.read_text())
        if load["failures"]:
            raise Fail(f"{path}: the load itself failed")
        plain = f"{WORKLOAD}{path.stem}_{'instructions' if 'tsc' in load else 'seconds'}"
        name = f"{plain}_{suffix}" if suffix else plain
        if "tsc" in load:
            self.add(side, name, "million instructions", load["tsc"] / 1e6, command)
        else:
            self.add(side, name, "s", load["seconds"], command)
        if suffix:
            self.variants[name] = plain

    def storm(self, side, path, command, suffix=""):
        storm = json.loads(path.read_text())
        variant = path.stem.partition("-")[2]
        kind = storm["mode"] + (f"_{variant.replace('-', '_')}" if variant else "")
        if storm.get("failures"):
            raise Fail(f"{path}: the storm itself failed")
        if storm.get("tsc") is not None:
            name = f"instructions_per_{kind}"
            count = storm["tsc"] / storm["rounds"]
            if suffix: # "debian_sharded" is a variant of "debian"
                kernel, _, variant = suffix.rpartition("_")
                name += f"_{kernel}" if kernel else ""
                self.variants[f"{name}_{variant}"] = name
                name += f"_{variant}"
            self.add(side, name, "instructions", count, command)
            return
        locks = path.with_suffix(".lock_stat")
        if locks.exists(): # lock_stat's own cost would show as rounds
            self.lock_runs.setdefault((kind, suffix), []).append(
                (side, lock_classes(locks), storm["rounds"], command))
            return
        self.add(side, f"{kind.replace('_', '_rate_', 1) if variant else kind + '_rate'}"
                 f"_cpus_{storm['workers']}", "1/s", storm["rate"], command, "high")

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
        for variant, plain in self.variants.items():
            if plain in self.figures and not self.apart and not self.figures[variant].samples["base"]:
                self.figures[variant].samples["base"] = list(self.figures[plain].samples["base"])
        # One CPU has one shard, so this is what the plain figure says.
        for plain in dict.fromkeys(self.variants.values()):
            one = self.figures.get(plain)
            if not one or not plain.startswith("instructions_"):
                continue
            self.figures[f"{plain}_one_shard"] = replace(one, name=f"{plain}_one_shard")
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
                name = name.format(rounds_of if per > 1 else rounds_of.removesuffix("s")) + suffix
                unit = unit.format(rounds_of if per > 1 else rounds_of.removesuffix("s"))
                values = {lock: classes.get(lock, none)[column] * per / rounds for lock in mine}
                self.add(side, name, unit, sum(values.values()), command)
                for lock, value in values.items():
                    self.add(side, f"{name}[{lock}]", unit, value, command, detail=True)
            for lock in sorted(contended - set(mine)):
                self.add(side, f"contentions_per_1000_{rounds_of}{suffix}[{lock}]", f"1/1000 {rounds_of}",
                         classes.get(lock, none)[0] * 1000 / rounds, command, detail=True)

    def boot(self, side, path, command, suffix):
        """What one boot left: of benchmarks, or of a storm-suite."""
        benches = sorted(path.glob("bench*.json"))
        for one in benches:
            self.bench(side, one, command, suffix)
        if not benches:
            self.folder(side, path, command, suffix)

    def folder(self, side, path, command, suffix=""):
        """The runs that one storm-suite left."""
        if (path / RECLAIM).exists(): # the storm was there to be in reclaim's way
            self.add(side, "rmap_contended_percent", "%", contended_percent(path / RECLAIM), command)
            return
        loads = sorted(path.glob("workloads/*.json"))
        for one in loads:
            self.workload(side, one, command, suffix)
        if (path / "promoted").exists():
            self.promoted(side, int((path / "promoted").read_text()), "after_builds", command, suffix)
        if loads:
            return
        found = sorted(path.glob("runs/*/*.json"),
                       key=lambda p: (int(p.parent.name), p.stat().st_mtime_ns, p.name))
        if not found:
            raise Fail(f"{path} holds no runs of storm-suite")
        for one in found:
            self.storm(side, one, command, suffix)


def boots(path):
    for boot in sorted(path.glob("boots/*/boot.json")):
        yield boot.parent, json.loads(boot.read_text())


def read_result(path):
    collection, setting = Collection(), []
    for folder, boot in boots(path):
        where = (f"{boot['cpus']} vCPUs in {boot['nodes']} node(s), {boot['accel']}"
                 + (" -icount" if boot["icount"] else ""))
        if where not in setting:
            setting.append(where)
        command = " ".join(filter(None, [boot["command"], boot.get("append")]))
        collection.boot(boot["side"], folder, f"{command} ({where})", boot.get("suffix", ""))
    if not collection.finish().figures:
        raise Fail(f"{path} holds no measurement: run make run, or give a folder of storm-suite")
    facts = json.loads((path / "measured.json").read_text())
    kernels = {boot["side"]: boot["kernel"] for _, boot in boots(path)}
    return collection, {
        "INCOMPLETE": facts.get("incomplete"),
        "source": facts["source"][0], "checksum": " ".join(facts["source"][1:]).strip(),
        "topologies": "; ".join(setting), "emulator": facts["qemu"],
        "host": facts["host"], "measured": facts["date"], "command": facts["command"],
        "base": kernels.get("base", ""), "patched": kernels.get("patched", ""),
        "order": "alternated boots, A B B A",
    }


def read_pair(first, second):
    collection, words, machines = Collection(apart=True), {}, {}
    for side, path in (("base", first), ("patched", second)):
        if not path.is_dir():
            raise Fail(f"{path} is not a folder")
        if (path / "boots").is_dir():
            host = json.loads((path / "measured.json").read_text())["host"]
            for folder, boot in boots(path):
                if boot["side"] != "patched":
                    continue
                machines.setdefault(side, {})[boot["leg"]] = \
                    f"{boot['cpus']} vCPUs in {boot['nodes']} node(s), {boot['accel']}, on {host}"
                collection.boot(side, folder, boot["command"], boot.get("suffix", ""))
            words[side] = f"{path}, its patched side"
        else:
            collection.folder(side, path, "storm-suite")
            kernel, place = (path / "machine.txt").read_text().splitlines()[:2]
            words[side] = f"{path}: {kernel}"
            machines[side] = {"storm-suite": place}
    for leg in machines["base"].keys() & machines["patched"].keys():
        if machines["base"][leg] != machines["patched"][leg]:
            words["note"] = f"NOT the same machine: {leg}: {machines['base'][leg]} and {machines['patched'][leg]}"
    words["order"] = "NOT alternated: one boot after the other, a drift of the machine counts as a difference"
    return collection.finish(), words


# --- writing ----------------------------------------------------------------

def number(value):
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4g}"


def spread(figure, side):
    values = figure.samples[side]
    if not values:
        return "-"
    if len(values) == 1:
        return number(values[0])
    return f"{number(figure.median(side))} ({number(min(values))}-{number(max(values))})"


def ratio_text(figure):
    if figure.ratio is None:
        return "-"
    digits = 4 if figure.unit.endswith("instructions") else 3
    if figure.bounds is None:
        return f"{figure.ratio:.{digits}f}"
    return f"{figure.ratio:.{digits}f} ({figure.bounds[0]:.{digits}f}-{figure.bounds[1]:.{digits}f})"


def shown(figures):
    """What a screen has room for: every sum, and the classes of contention."""
    rows = [f for f in figures if f.complete and not f.detail]
    classes = [f for f in figures if f.complete and f.detail and "contentions_per" in f.name
               and any(any(s) for s in f.samples.values())]
    classes.sort(key=lambda f: -max(max(s) for s in f.samples.values()))
    return rows, classes


def table(figures, words, classes=6):
    rows, locks = shown(figures)
    lines = [("figure", "base", "patched", "ratio", "")]
    for figure in rows + locks[:classes]:
        lines.append((figure.name, spread(figure, "base"), spread(figure, "patched"),
                      ratio_text(figure), figure.verdict()))
    for figure in rows:
        if CEILING not in figure.name:
            continue
        shared = next((f for f in rows if f.name == figure.name.replace(CEILING, "")), None)
        if shared:
            lines.append((f"  {shared.name} / its ceiling",
                          f"{shared.median('base') / figure.median('base'):.3f}",
                          f"{shared.median('patched') / figure.median('base'):.3f}", "",
                          f"ceiling: base with private files, {number(figure.median('base'))}"))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    text = ["  ".join([line[0].ljust(widths[0]), *(line[i].rjust(widths[i]) for i in (1, 2, 3)),
                       line[4]]).rstrip() for line in lines]
    text.insert(1, "-" * max(len(line) for line in text))
    text += ["", *(f"{key}: {value}" for key, value in words.items() if value)]
    return "\n".join(text) + "\n"


def cover(figures, words):
    """The sums alone, narrow enough for a mail."""
    lines = [f"{'figure':35} {'base':>9} {'patched':>9}  ratio (99 % interval)"]
    for figure in shown(figures)[0]:
        lines.append(f"{figure.name:35} {number(figure.median('base')):>9} "
                     f"{number(figure.median('patched')):>9}  {ratio_text(figure)}")
    lines += ["", *(f"{key}: {words[key]}" for key in ("topologies", "emulator", "host", "measured")
                    if key in words)]
    return "\n".join(lines) + "\n"


def tsv(figures):
    lines = ["name\tunit\tbase\tpatched\tratio\tlow\thigh\truns\tcommand"]
    for figure in figures:
        if not figure.complete:
            continue
        low, high = figure.bounds or (None, None)
        cells = [f"{value:.6g}" if value is not None else "" for value in
                 (figure.median("base"), figure.median("patched"), figure.ratio, low, high)]
        lines.append("\t".join([figure.name, figure.unit, *cells, str(figure.runs), figure.command]))
    return "\n".join(lines) + "\n"


def workload_panels(figures, block):
    """Ratios of the workloads, with the range of patched's runs."""
    kinds = {}
    for figure in figures:
        found = re.fullmatch(rf"{WORKLOAD}(\w+?)_(seconds|instructions)(_\w+)?", figure.name)
        if found and figure.complete:
            kinds.setdefault(found[2] + (found[3] or ""), {})[found[1]] = figure
    names = list(dict.fromkeys(name for loads in kinds.values() for name in loads))
    curves = []
    for turn, (kind, loads) in enumerate(kinds.items()):
        rows = []
        for name, figure in loads.items():
            ends = [edge(figure.samples["patched"]) / figure.median("base") for edge in (min, max)]
            rows.append(f"{names.index(name) + turn / 8} {figure.ratio} {ends[0]} {ends[1]}")
        block(WORKLOAD + kind, rows)
        curves.append(f"${WORKLOAD}{kind} using 1:2:3:4 with yerrorbars lw 1.5 pt 7 ps 0.6 "
                      f"title '{kind.replace('_', ', ')}'")
    if curves:
        yield "\n".join([
            "set title 'workloads: patched / base'", "unset xlabel", "unset logscale x",
            f"set xrange [-0.5:{len(names)}]",
            "set xtics (" + ", ".join(f"'{name}' {x}" for x, name in enumerate(names)) + ")",
            "plot 1 lc '#888888' notitle, " + ", ".join(curves)])


def plot(figures, path):
    """Every rate against the CPUs, and the contentions: points, medians, ranges."""
    gnuplot = shutil.which("gnuplot")
    if not gnuplot:
        print("note: no plot, gnuplot is missing (make setup)", file=sys.stderr)
        return
    rates = {}
    for figure in figures:
        found = re.fullmatch(r"(\w+?)_rate(_\w+)?_cpus_(\d+)", figure.name)
        if found and figure.complete:
            rates.setdefault(found[1], {}).setdefault(found[2] or "", {})[int(found[3])] = figure
    panels, data = [], []

    def block(name, rows):
        data.append(f"${name} << EOD\n" + "\n".join(rows) + "\nEOD")

    def row(x, figure, side):
        return f"{x} {figure.median(side)} {min(figure.samples[side])} {max(figure.samples[side])}"

    for kind, variants in rates.items():
        curves = []
        for variant, points in variants.items():
            for side in ("base", "patched"):
                ceiling = variant == CEILING
                if ceiling and side == "patched":
                    continue # the ceiling is base's
                name = re.sub(r"\W", "_", f"{kind}{variant}_{side}")
                shift = 1 if ceiling else SHIFT[side]
                block(name, [row(cpus * shift, f, side) for cpus, f in sorted(points.items())])
                title = side + (", private files (ceiling)" if ceiling else
                                variant.replace("_", ", ", 1).replace("_", " "))
                color = COLORS["ceiling" if ceiling else side]
                dash = 1 if ceiling or not variant else 3
                curves.append(f"${name} using 1:2:3:4 with yerrorlines lw 1.5 pt 7 ps 0.6 "
                              f"dt {dash} lc '{color}' title '{title}'")
        counts = sorted({c for points in variants.values() for c in points})
        panels.append("\n".join([
            f"set title '{kind}: rounds per second'", "set xlabel 'vCPUs'", "set logscale x 2",
            f"set xrange [{min(counts) * 0.7}:{max(counts) * 1.4}]",
            "set xtics (" + ", ".join(f"'{c}' {c}" for c in counts) + ")",
            "plot " + ", ".join(curves)]))
    for figure in figures:
        if not figure.complete or figure.detail or not figure.name.startswith(I_MMAP):
            continue
        name = figure.name
        curves = []
        for x, side in enumerate(("base", "patched")):
            block(f"{name}_{side}", [row(x, figure, side)])
            curves += [f"${name}_{side} using 1:2 with boxes lc '{COLORS[side]}' notitle",
                       f"${name}_{side} using 1:2:3:4 with yerrorbars lw 1.5 lc black pt 7 ps 0.4 notitle"]
        panels.append("\n".join([
            f"set title '{name.replace('_', ' ').replace('i mmap', I_MMAP)}'", "unset xlabel", "unset logscale x",
            "set xrange [-0.7:1.7]", "set xtics ('base' 0, 'patched' 1)",
            "set boxwidth 0.5", "set style fill solid 0.6", "plot " + ", ".join(curves)]))
    panels += workload_panels(figures, block)
    if not panels:
        return
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    script = "\n".join([
        f"set terminal svg size {440 * columns},{340 * rows} font 'sans,11' "
        "background 'white' noenhanced",
        f"set output '{path}'", "set encoding utf8", *data,
        f"set multiplot layout {rows},{columns}", "set grid ytics lc '#dddddd'",
        "set key below", "set border 3", "set tics nomirror", "set yrange [0:*]", *panels, "unset multiplot", ""])
    done = subprocess.run([gnuplot], input=script, text=True, capture_output=True, check=False)
    if done.returncode or "error" in done.stderr.lower():
        raise Fail(f"gnuplot failed: {done.stderr.strip().splitlines()[-1]}")


def page(figures, words, svg):
    rows, locks = shown(figures)

    def row(figure):
        mark = {"better:": "better", "WORSE:": "worse"}.get(figure.verdict().split()[0], "")
        cells = (figure.name, figure.unit, spread(figure, "base"), spread(figure, "patched"),
                 ratio_text(figure), figure.verdict())
        return (f'<tr class="{mark}" title="{html.escape(figure.command)}">'
                + "".join(f"<td>{html.escape(c)}</td>" for c in cells) + "</tr>")

    head = "<tr>" + "".join(f"<th>{c}</th>" for c in (
        "figure", "unit", "base", "patched", "ratio", "")) + "</tr>"
    facts = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>"
                    for k, v in words.items() if v)
    picture = re.sub(r"^<\?xml.*?\?>|<!DOCTYPE.*?>", "", svg, flags=re.S) if svg else ""
    return f"""<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>exec storm: base and patched</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; margin: 1em 0 }} td, th {{ padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }}
td:first-child, th:first-child {{ text-align: left; font-family: monospace }}
.better td:last-child {{ color: #060; font-weight: bold }} .worse td:last-child {{ color: #a00; font-weight: bold }}
dt {{ float: left; clear: left; width: 8em; font-weight: bold }} dd {{ margin-left: 9em }} svg {{ max-width: 100%; height: auto }}
</style>
<h1>Exec storm: base and patched</h1>
<p>base and patched: median (lowest-highest run). ratio: patched to base, with its 99 %
confidence interval; where that holds 1, no difference was measured.</p>
{picture}
<table>{head}{''.join(row(f) for f in rows)}</table>
<h2>Contended lock classes, per 1,000 execs</h2>
<table>{head}{''.join(row(f) for f in locks)}</table>
<h2>What was used</h2><dl>{facts}</dl>
</html>
"""


def write(collection, words, out):
    figures = list(collection.figures.values())
    if not any(f.complete for f in figures):
        raise Fail("the two sides have no figure in common")
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.tsv").write_text(tsv(figures))
    (out / "samples.json").write_text(json.dumps(collection.raw, indent=1) + "\n")
    text = table(figures, words)
    (out / "table.txt").write_text(text)
    (out / "cover.txt").write_text(cover(figures, words))
    svg = out / "plot.svg"
    svg.unlink(missing_ok=True)
    plot(figures, svg)
    (out / "report.html").write_text(page(figures, words, svg.read_text() if svg.exists() else ""))
    print(text)
    print(f"in full: {out}/report.html, {out}/figures.tsv")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = parser.add_subparsers(dest="command", required=True)
    show = sub.add_parser("show")
    show.add_argument("dir", type=Path)
    compare = sub.add_parser("compare")
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)
    compare.add_argument("--out", type=Path, help="default: comparison-with-A in B")
    args = parser.parse_args()
    if args.command == "show":
        write(*read_result(args.dir), args.dir)
    else:
        out = args.out or args.b / f"comparison-with-{args.a.resolve().name}"
        write(*read_pair(args.a, args.b), out)


if __name__ == "__main__":
    try:
        main()
    except Fail as why:
        sys.exit(f"report: {why}")
    except FileNotFoundError as why:
        sys.exit(f"report: there is no {why.filename}: is this what a measurement left?")
    except (ValueError, KeyError) as why:
        sys.exit(f"report: a file of the measurement is damaged ({why}): measure again")
