#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The report of all steps of lab/tests/check.

  evidence.py             write $BUILD/check/report.txt
  evidence.py --keep      and a line or a few for each step into lab/tests/evidence.txt, to
                          commit, its sums for the cover letters, and for lab/prose/evidence.md

Each line of the report is a result of the step's last run: pass, fail, skip with its
reason, or the same failure on base, with its log. Of what has not run here it says what
lab/tests/evidence.txt does, if that was found of the same series: the tree of its last
commit says which it is, not the tests. Steps that ran nowhere, or on another series than
the one that is there now, or only in part, or all of whose tests were skipped, are told
as such. A step that goes by commits or postings is kept with a line for each: those that
stay the same in another series stand. Ends with status 1 unless all steps passed on this
series.
"""

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import (BUILD, KINDS, LOGS, RESULTS, SAME, TOP, commits, parts_of, tested_by,
                     tree_of_all, tree_of_series)
import guest      # where harness has found it

KEPT = TOP / "lab/tests/evidence.txt"
PAGE = TOP / "lab/prose/evidence.md"

# make check, which has an hour on two cores. make check-all goes on with the others of ASKED
SHORT = ("tools", "series", "litmus", "spin", "resume", "kernels", "image", "vma", "slabs",
         "guest", "debug", "icount", "vmtests", "lines", "run")
# what maintainers ask, in as many words as a letter has room for, and which steps answer
ASKED = (
    ("the tools themselves", ("tools", "resume", "kernels", "image", "package")),
    ("applies to Debian's source, mainline, the newest 7.3.y", ("series", "bases", "postings")),
    ("each patch builds and boots; without MMU, SMP, NUMA; RT; 32 bits",
     ("commits", "configurations", "objects")),
    ("sparse, Coccinelle, kernel-doc, Sphinx, get_maintainer.pl", ("static",)),
    ("other architectures: five boot, twelve compile", ("arches", "compiles")),
    ("lockdep, KASAN, page table checks, kmemleak, UBSAN", ("debug", "strict")),
    ("KCSAN", ("kcsan",)),
    ("as Debian configures its kernel", ("distribution",)),
    ("allocations that fail", ("faults_injected",)),
    ("stress-ng, trinity, hotplug, a short soak",
     ("stress", "stress_big", "hotplug", "soak", "big", "boots")),
    ("the lock as litmus tests and as a spin model",
     ("litmus", "litmus_all", "spin", "spin_large")),
    ("KUnit, the kernel's selftests, VMA and maple tree tests",
     ("kunit", "vma", "trees", "guest", "vmtests", "vmtests_contended", "vmtests_long", "kselftests",
      "without_map_pages", "filesystems")),
    ("a package's build, git, scripts, a server, large programs", ("workloads",)),
    ("which cache lines CPUs share", ("lines", "lines_more")),
    ("what it costs", ("slabs", "icount", "run", "run_all")),
)
RAN = ("passed", "failed", "all skipped", "in part")
# a step of KEPT, or a part of one, below which is what did not pass, and why
STEP = re.compile(r"(\w+(?:/\w+)?): (.*); (\d+) s, (\S+ \S+), of (\w+)")


def steps():
    """{name: function} of every step there is, in the order in which they run."""
    found = {}
    for path in sorted((TOP / "lab/tests/steps").glob("*.py")):
        module = importlib.import_module(f"steps.{path.stem}")
        found |= {name[5:]: step for name, step in vars(module).items()
                  if name.startswith("step_") and step.__module__ == module.__name__}
    asked = [name for _, names in ASKED for name in names]
    assert sorted(asked) == sorted(found), f"ASKED has not each of {sorted(found)} once"
    return {name: found[name] for name in dict.fromkeys((*SHORT, *asked))}


def gather():
    """What each step found last; for those that have not run, no results."""
    elsewhere = kept()
    for name, step in steps().items():
        entry = {"when": "-", "seconds": 0, "of": None, "results": [], **found(name, elsewhere)}
        counts = counts_of(entry["results"])
        state = ("not run" if not entry["of"] else
                 "of another series" if entry["of"] != tested_by(name) else
                 "failed" if counts["fail"] else
                 "all skipped" if not counts["pass"] else
                 "in part" if entry.get("in_part") else "passed")
        yield {**entry, "step": name, "what": step.__doc__, "counts": counts, "state": state}


def counts_of(results):
    return {kind: sum(one.get("count", 1) for one in results if one["result"] == kind) for kind in KINDS}


def found(name, elsewhere):
    """What a step found here, else elsewhere; but of this series before another, and a
    finding before a step that skipped all."""
    all_parts = parts_of(name)
    parts = {title: one for title, one in (
        (f"{name}/{part[:12]}", read(RESULTS / name / f"{part}.json") or
         elsewhere.get(f"{name}/{part[:12]}")) for part in all_parts) if one}
    if parts:
        return {"when": max(one["when"] for one in parts.values()), "of": tested_by(name),
                "seconds": sum(one["seconds"] for one in parts.values()),
                "parts": parts, "in_part": len(parts) < len(all_parts),
                "results": [result for one in parts.values() for result in one["results"]]}
    entries = [one for one in (read(RESULTS / f"{name}.json"), elsewhere.get(name)) if one]
    return min(entries, default={}, key=lambda one: (
        one.get("of") != tested_by(name),
        all(result["result"] == "skip" for result in one["results"])))


def read(file):
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError): # it has not run, or was killed just then
        return None


def kept():
    """{step: what it found elsewhere}, of which only sums are known."""
    entries = {}
    for line in KEPT.read_text().splitlines() if KEPT.exists() else ():
        begin, more = STEP.fullmatch(line), re.fullmatch(r"  (\d+) (\w+): (.*)", line)
        if begin:
            passed = re.search(r"(\d+) pass", begin[2])
            results = [{"result": "pass", "count": int(passed[1]), "name": "", "note": ""}] if passed else []
            entries[begin[1]] = {"seconds": int(begin[3]), "when": begin[4], "of": begin[5],
                                 "results": results}
        elif more:
            results.append({"result": more[2], "count": int(more[1]), "name": "", "note": more[3]})
    return entries


def in_kept(entries):
    """What was found on this series: the answers, which a letter quotes, then the steps."""
    lines = [in_letter(entries)]
    for entry in entries:
        if entry["state"] in RAN:
            for name, one in entry.get("parts", {entry["step"]: entry}).items():
                counts = ", ".join(f"{count} {kind}"
                                   for kind, count in counts_of(one["results"]).items() if count)
                lines += [f"{name}: {counts}; {one['seconds']} s, {one['when']}, of {one['of']}",
                          *reasons(one["results"])]
    # without the paths of this machine and its mirror
    text = "\n".join(lines).replace(str(BUILD), "$BUILD").replace(f"{TOP}/", "")
    return re.sub(r"https?://\S+/| *\[IP: [^]]*\]", "", text) + "\n"


def reasons(results):
    """A line for each result that is not a pass; for all skips of one reason, if they are more."""
    groups = {}
    for one in results:
        if one["result"] != "pass":
            note = "".join(one["note"].splitlines()[-1:])
            groups.setdefault((one["result"], note), []).append(one)
    for (kind, note), those in groups.items():
        if kind == "skip" and len(those) > 1:
            yield f"  {len(those)} skip: {note}"
        else:
            yield from (f"  {one.get('count', 1)} {kind}: " + ": ".join(filter(None, (one["name"], note)))
                        for one in those)


def headlines():
    """What was tested, where: (word, value)."""
    def said(*argv):
        done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False)
        return (done.stdout.splitlines() or ["none"])[0]
    yield "source", said("cat", BUILD / "source/id")
    yield "series", f"{len(commits())} patches, tree {tree_of_series()[:12]}"
    yield "here", f"{os.cpu_count()} CPUs, {platform.machine()}, {said(guest.QEMU, '--version')}"
    yield "compiler", said("gcc", "--version")


def totals(entries):
    """How many results of each kind there are, of this series."""
    return {kind: sum(entry["counts"][kind] for entry in entries if entry["state"] in RAN)
            for kind in KINDS}


def verdict(entries):
    """One sentence on the whole."""
    counts = totals(entries)
    words = ", ".join(f"{counts[kind]} {word}" for kind, word in KINDS.items())
    for state in ("all skipped", "in part", "not run", "of another series"):
        names = [entry["step"] for entry in entries if entry["state"] == state]
        if names:
            words += f"; {state}: {', '.join(names)}"
    return words


def summary(entries):
    """A line a step."""
    line = "{:18}{:>7}{:>7}{:>22}{:>8}{:>5}  {}".format
    return "\n".join([line("step", *KINDS.values(), "min", "state"), *(
        line(entry["step"], *(count or "-" for count in entry["counts"].values()),
             round(entry["seconds"] / 60), entry["state"]) for entry in entries)])


def answers(entries):
    """(question, steps, {kind: results}, {step: why it answers nothing on this series})"""
    by_name = {entry["step"]: entry for entry in entries}
    for question, names in ASKED:
        ran = [by_name[name] for name in names if by_name[name]["state"] in RAN]
        mute = {name: by_name[name]["state"] for name in names
                if by_name[name]["state"] not in ("passed", "failed")}
        yield question, names, totals(ran), mute


def in_letter(entries):
    """The answers, as a mail has room for them; the series' tree before them."""
    lines = [tree_of_series()]
    for question, _, counts, missing in answers(entries):
        said = ", ".join(f"{count} {KINDS[kind]}" for kind, count in counts.items() if count)
        lines += [question, f"    {said or 'not run'}" + (", not all run" if said and missing else "")]
    return "\n".join(lines) + "\n"


def as_table(entries):
    """The answers as the table of lab/prose/evidence.md."""
    lines = ["| asked | steps of `lab/tests/check` | " + " | ".join(KINDS.values()) + " |",
             "| --- | --- " + "| ---: " * len(KINDS) + "|"]
    for question, names, counts, missing in answers(entries):
        by_state = {}
        for name in names:
            by_state.setdefault(missing.get(name), []).append(f"`{name}`")
        cells = [question, "; ".join((f"{state}: " if state else "") + " ".join(those)
                                     for state, those in by_state.items()),
                 *(str(count or "") for count in counts.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def text(entries):
    lines = ["What was tested", "===============", ""]
    lines += [f"{word + ':':10}{value}" for word, value in headlines()]
    lines += ["", verdict(entries), "", summary(entries)]
    for entry in entries:
        lines += ["", f"{entry['step']}: {entry['what']}",
                  f"  {entry['state']}, {entry['when']} UTC"]
        for one in sorted(entry["results"], key=lambda one: "fail same skip pass".index(one["result"])):
            word = SAME if one["result"] == "same" else one["result"]
            log = f"  [{one['log']}]" if one.get("log") else ""
            name = one["name"] or f"{one['count']} results"
            lines.append(f"  {word:>5}  {name}{log}")
            lines += [f"         {note}" for note in one["note"].splitlines()]
    return "\n".join(lines) + "\n"


def write():
    """Write the report; what the steps found."""
    entries = list(gather())
    LOGS.mkdir(parents=True, exist_ok=True)
    (LOGS / "report.txt").write_text(text(entries))
    print(f"# the report: {LOGS / 'report.txt'}", flush=True)
    return entries


def keep(entries):
    # without one, or with that of a posting, as in step_postings, all else would be lost
    if not tree_of_all() or tree_of_series() != tree_of_all():
        sys.exit("evidence.py: not the tree of all postings is checked out: wait for the check that "
                 "runs, or run make tree; nothing was kept")
    KEPT.write_text(in_kept(entries))
    new, count = re.subn(r"(?<=<!-- evidence -->\n).*?(?=<!-- /evidence -->)",
                         lambda _: as_table(entries), PAGE.read_text(), flags=re.S)
    assert count == 1, "lab/prose/evidence.md has not one place for the table"
    PAGE.write_text(new)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    entries = write()
    if args.keep:
        keep(entries)
    print(summary(entries))
    print(verdict(entries))
    return 0 if all(entry["state"] == "passed" for entry in entries) else 1


if __name__ == "__main__":
    sys.exit(main())
