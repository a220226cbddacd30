#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The report of all steps of lab/tests/check, as a page and as text.

  evidence.py             write $BUILD/evidence: index.html, report.txt, logs/
  evidence.py --keep      and what was found on this series into lab/tests/evidence/, to commit,
                          with its sums for the cover letters, and for README.md

Each line is a result of the step's last run: pass, fail, skip with its reason, or
the same failure on base; in the page it leads to its log. What has not run here is
taken from lab/tests/evidence/, if it ran elsewhere on the same series: the tree of its last commit
says which it is, not the tests. Steps that ran nowhere, or on another series than the one
that is there now, or only in part, or all of whose tests were skipped, are told as such.
Ends with status 1 unless all steps passed on this series.
"""

import argparse
import html
import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import BUILD, KEPT, SAME, TOP, known, tested_by, tree_of_series, trees_of_commits
import series     # where harness has found it

# make check, which has an hour on two cores; and what make check-all goes on with
SHORT = ("tools", "series", "litmus", "spin", "resume", "kernels", "image", "kunit", "vma", "slabs",
         "guest", "debug", "icount", "vmtests", "run", "package")
LONG = ("litmus_all", "spin_large", "debug_forced", "strict", "faults_injected", "kcsan", "stress",
        "stress_big", "hotplug", "soak", "run_all", "workloads", "objects", "commits",
        "configurations", "static", "bases", "postings", "rfc", "trees", "vmtests_long", "kselftests",
        "without_map_pages", "arches", "compiles", "big", "boots")
# what maintainers ask, in as many words as a letter has room for, and which steps answer
ASKED = (
    ("the tools themselves", ("tools", "resume", "kernels", "image", "package")),
    ("applies to Debian's source, mainline, the newest 7.3.y", ("series", "bases", "postings", "rfc")),
    ("each patch builds and boots; without MMU, SMP, NUMA; RT; 32 bits",
     ("commits", "configurations", "objects")),
    ("sparse, Coccinelle, kernel-doc, Sphinx, get_maintainer.pl", ("static",)),
    ("other architectures: four boot, twelve compile", ("arches", "compiles")),
    ("lockdep, KASAN, page table checks, kmemleak, UBSAN", ("debug", "debug_forced", "strict")),
    ("KCSAN", ("kcsan",)),
    ("allocations that fail", ("faults_injected",)),
    ("stress-ng, trinity, hotplug, a short soak",
     ("stress", "stress_big", "hotplug", "soak", "big", "boots")),
    ("the lock as litmus tests and as a spin model",
     ("litmus", "litmus_all", "spin", "spin_large")),
    ("KUnit, the kernel's selftests, VMA and maple tree tests",
     ("kunit", "vma", "trees", "guest", "vmtests", "vmtests_long", "kselftests",
      "without_map_pages")),
    ("a package's build, git, scripts, a server, large programs", ("workloads",)),
    ("what it costs", ("slabs", "icount", "run", "run_all")),
)
KINDS = {"pass": "passed", "fail": "failed", "same": SAME, "skip": "skipped"}
WORDS = {kind: kind for kind in KINDS} | {"same": SAME}
RAN = ("passed", "failed", "all skipped", "in part")
ORDER = {"fail": 0, "same": 1, "skip": 2, "pass": 3}


def steps():
    """{name: function} of every step there is, in the order in which they run."""
    found = {}
    for path in sorted((TOP / "lab/tests/steps").glob("*.py")):
        module = importlib.import_module(f"steps.{path.stem}")
        found |= {name[5:]: step for name, step in vars(module).items()
                  if name.startswith("step_") and step.__module__ == module.__name__}
    assert set(found) == {*SHORT, *LONG}, f"SHORT and LONG disagree with {sorted(found)}"
    asked = [name for _, names in ASKED for name in names]
    assert sorted(asked) == sorted(found), f"ASKED has not each of {sorted(found)} once"
    return {name: found[name] for name in (*SHORT, *LONG)}


def gather():
    """What each step found last; for those that have not run, no results."""
    for name, step in steps().items():
        entry = next(iter(known(name)), {"step": name, "results": [], "started": 0, "seconds": 0,
                                         "series": ""})
        if "parts" in entry:
            only_now(entry)
        entry["what"] = step.__doc__
        entry["counts"] = {kind: sum(one["result"] == kind for one in entry["results"])
                           for kind in KINDS}
        entry["state"] = ("not run" if not entry["started"] else
                          "of another series" if entry["series"] != tested_by(name) else
                          "failed" if entry["counts"]["fail"] else
                          "all skipped" if not entry["counts"]["pass"] else
                          "in part" if entry.get("parts", trees_of_commits()) != trees_of_commits() else
                          "passed")
        yield entry


def only_now(entry):
    """Of a step that goes by commits: only what it found of those that are there now."""
    now = set(trees_of_commits())
    parts = [part for part in entry["parts"] if part in now]
    if parts:
        # about: how long each of them took was not written down
        entry["seconds"] = round(entry["seconds"] * len(parts) / len(entry["parts"]))
        entry["parts"], entry["series"] = parts, tested_by(entry["step"])
        entry["results"] = [one for one in entry["results"] if one["part"] in now]


def headlines():
    """What was tested, where: (word, value)."""
    def said(*argv):
        done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              check=False)
        return done.stdout.strip()
    git = f"--git-dir={series.GITDIR}"
    try:
        source = (BUILD / "source/id").read_text().splitlines()[0]
    except FileNotFoundError:
        source = "unknown"
    qemu = said(os.environ.get("QEMU", "qemu-system-x86_64"), "--version").splitlines()
    yield "source", source
    yield "series", f"{said('git', git, 'rev-list', '--count', 'base..series')} patches, " \
                    f"tree {tree_of_series()[:12]}"
    yield "here", f"{os.cpu_count()} CPUs, {platform.machine()}, " \
                  f"{qemu[0] if qemu else 'no QEMU'}"
    yield "compiler", (said("gcc", "--version").splitlines() or ["none"])[0]


def when(entry):
    if not entry["started"]:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry["started"]))


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
    rows = [("step", *KINDS.values(), "min", "state")]
    rows += [(entry["step"], *(str(entry["counts"][kind] or "-") for kind in KINDS),
              f"{entry['seconds'] / 60:.0f}", entry["state"]) for entry in entries]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join([row[0].ljust(widths[0]),
                                *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:])),
                                row[-1]]) for row in rows)


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


README_TABLE = re.compile(r"(?<=<!-- evidence -->\n).*?(?=<!-- /evidence -->)", re.S)


def in_readme(entries):
    """The answers as a table of README.md."""
    lines = ["| asked | steps of `lab/tests/check` | " + " | ".join(KINDS.values()) + " |",
             "| --- | --- " + "| ---: " * len(KINDS) + "|"]
    for question, names, counts, missing in answers(entries):
        steps_said = " ".join(f"`{name}`" + (f" ({missing[name]})" if name in missing else "")
                              for name in names)
        lines.append(f"| {question} | {steps_said} | "
                     + " | ".join(str(count or "") for count in counts.values()) + " |")
    return "\n".join(lines) + "\n"


def text(entries):
    lines = ["What was tested", "===============", ""]
    lines += [f"{word + ':':10}{value}" for word, value in headlines()]
    lines += ["", verdict(entries), "", summary(entries)]
    for entry in entries:
        lines += ["", f"{entry['step']}: {entry['what']}",
                  f"  {entry['state']}, {when(entry)} UTC"]
        for one in sorted(entry["results"], key=lambda one: ORDER[one["result"]]):
            lines.append(f"  {WORDS[one['result']]:>5}  {one['name']}")
            lines += [f"         {note}" for note in one["note"].splitlines()]
    return "\n".join(lines) + "\n"


STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse } td, th { padding: .15em .7em; text-align: left }
td.n { text-align: right; font-variant-numeric: tabular-nums } tr { border-bottom: 1px solid #ddd }
.fail { color: #b00020; font-weight: bold } .same { color: #8a5a00 } .skip { color: #666 }
.pass { color: #1b6e3c } pre { background: #f5f5f5; padding: .5em; overflow: auto; margin: .2em 0 }
summary { cursor: pointer } a { color: inherit }
"""


def page(entries, logs):
    """One file; the logs lie beside it."""
    esc = html.escape
    out = ["<!DOCTYPE html><meta charset='utf-8'><title>What was tested</title>",
           f"<style>{STYLE}</style><h1>What was tested</h1><table>"]
    out += [f"<tr><th>{esc(word)}<td>{esc(value)}" for word, value in headlines()]
    out += ["</table>", f"<p><b>{esc(verdict(entries))}</b>", "<table><tr><th>step<th>what holds"]
    out += [f"<th>{esc(word)}" for word in KINDS.values()] + ["<th>minutes<th>when (UTC)<th>state"]
    for entry in entries:
        kind = {"passed": "pass", "failed": "fail"}.get(entry["state"], "skip")
        out.append(f"<tr><td><a href='#{entry['step']}'>{entry['step']}</a><td>{esc(entry['what'])}")
        out += [f"<td class='n {kind if count else ''}'>{count or ''}"
                for kind, count in entry["counts"].items()]
        out.append(f"<td class=n>{entry['seconds'] / 60:.0f}<td>{when(entry)}"
                   f"<td class={kind}>{entry['state']}")
    out.append("</table>")
    for entry in entries:
        shown = "open" if entry["counts"]["fail"] else ""
        out.append(f"<h2 id='{entry['step']}'>{entry['step']}</h2><p>{esc(entry['what'])}"
                   f"<details {shown}><summary>{len(entry['results'])} results</summary><table>")
        for one in sorted(entry["results"], key=lambda one: ORDER[one["result"]]):
            name = esc(one["name"])
            if one.get("log") in logs:
                name = f"<a href='logs/{esc(logs[one['log']])}'>{name}</a>"
            note = f"<pre>{esc(one['note'])}</pre>" if one["note"] else ""
            out.append(f"<tr><td class={one['result']}>{WORDS[one['result']]}"
                       f"<td>{name}{note}")
        out.append("</table></details>")
    return "\n".join(out) + "\n"


def keep_logs(entries, folder):
    """Copy the logs that results name; {where it was: what it is called beside the page}."""
    names = {}
    for entry in entries:
        for one in entry["results"]:
            path = Path(one.get("log") or "")
            if one.get("log") and one["log"] not in names and path.is_file():
                try:
                    name = "-".join(path.relative_to(BUILD).parts)
                except ValueError:
                    name = path.name
                # a browser shows it instead of saving it
                names[one["log"]] = f"{name.removesuffix('.log')}.txt"
                shutil.copyfile(path, folder / names[one["log"]])
    return names


def write(out=BUILD / "evidence"):
    """Write the report into a folder of its own; what the steps found."""
    entries = list(gather())
    new = Path(f"{out}.new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "logs").mkdir(parents=True)
    (new / "report.txt").write_text(text(entries))
    (new / "index.html").write_text(page(entries, keep_logs(entries, new / "logs")))
    shutil.rmtree(out, ignore_errors=True)
    new.rename(out)
    print(f"# the report: {out / 'index.html'}, {out / 'report.txt'}", flush=True)
    return entries


def keep(entries):
    """What was found on this series, without the paths of this machine and its mirror."""
    def bare(text):
        text = text.replace(str(BUILD), "$BUILD").replace(f"{TOP}/", "")
        return re.sub(r"https?://\S+/| *\[IP: [^]]*\]", "", text)
    KEPT.mkdir(exist_ok=True)
    for entry in entries:
        if entry["state"] in RAN:
            kept = {key: entry[key] for key in ("step", "started", "seconds", "series", "parts")
                    if key in entry}
            kept["results"] = [{key: bare(one[key]) if key == "note" else one[key] for key in one
                                if key != "log"} for one in entry["results"]]
            (KEPT / f"{entry['step']}.json").write_text(json.dumps(kept, indent=1) + "\n")
    (KEPT / "report.txt").write_text(bare(text(entries)))
    (KEPT / "letter.txt").write_text(in_letter(entries))
    readme = TOP / "README.md"
    new, count = README_TABLE.subn(lambda _: in_readme(entries), readme.read_text())
    assert count == 1, "README.md has not one place for the table"
    readme.write_text(new)


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
