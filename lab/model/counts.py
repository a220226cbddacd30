#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What an exec shares, as it was counted: counts.tsv, which model.py reads.

  counts.py LINES.json FIGURES.tsv...   writes base and patched from what `make lines`, `make run`
                                        and `make bench LEGS=possible` wrote
  counts.py --posting-6 LINES.json      writes file folios with posting 6 from what
                                        `make lines POSTING=6` wrote

LINES.json is refused if it is of other postings, and for posting 6 if its guest is not the table's.

between, within: transfers of lines between nodes and within one. hottest: those of the line with
most of them. remote: accesses to the percpu memory of each other CPU. locks: of the percpu
allocator, taken. All but "lines" is per exec. Each form keeps what the other one wrote.
"""

import csv
import json
import re
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))
import fail             # noqa: E402

TABLE = Path(__file__).with_name("counts.tsv")
SIDES = ("base", "patched")
CUT = "posting 6"
ALL, SIXTH = "series", "6-folio-lines"      # branches
TREE, LOCK = "i_mmap tree", "i_mmap lock"
FOLIOS, PERCPU, REST, EXEC = "file folios", "percpu", "rest", "exec"
POSSIBLE = 240          # CPUs of the guest of instructions_per_exec_240_possible


class Counts:
    """counts.tsv: get("percpu", "locks", "base"). Of cpus CPUs in so many nodes."""

    def __init__(self, path=TABLE):
        text = path.read_text().splitlines()
        self.head = [line for line in text if line.startswith("#")]
        self.cpus, self.nodes = map(int, re.search(r"(\d+) vCPUs in (\d+) nodes",
                                                   self.head[0]).groups())
        self.pair = self.cpus // self.nodes     # CPUs of a node
        rows = csv.DictReader(text[len(self.head):], delimiter="\t")
        self.rows = {(row.pop("class"), row.pop("what")): row for row in rows}

    def get(self, of, what, side):
        return float(self.rows[of, what][side])

    def transfers(self, of, side):
        return self.get(of, "between", side) + self.get(of, "within", side)


def classes(run):
    """(class, what, value) of a boot. The ranked list says what of i_mmap is VMAs."""
    ranked = run["ranked"]
    for of, whole in run["classes"].items():
        if of in ("total", "interrupts"):
            continue
        parts = {of: lambda name: True}
        if of == "i_mmap":
            parts = {TREE: lambda name: name.startswith("vm_area_struct"),
                     LOCK: lambda name: not name.startswith("vm_area_struct")}
        mine = [one for one in ranked if one["class"] == of]
        listed = sum(one["transfers"] for one in mine)
        for name, has in parts.items():
            rows = [one for one in mine if has(one["name"])]
            # between nodes nothing moves, where it is sharded: what moves is the tree
            part = sum(one["transfers"] for one in rows) / listed if listed else name != LOCK
            yield name, "between", whole["between_nodes"] * part
            yield name, "within", whole["within_nodes"] * part
            for what in ("lines", "atomics"):
                yield name, what, whole[what] if name == of else sum(one[what] for one in rows)
            for what in ("hottest", "hottest_atomics"):
                yield name, what, max((one[what] for one in rows), default=0)
    yield PERCPU, "remote", run["remote_percpu"]


def counted(lines, branch):
    """What is to be told of a lines.json, and {side: [(class, what, value)]} of its median boot"""
    said = json.loads(Path(lines).read_text())
    if said["words"]["branch"] != branch:
        raise fail.Fail(f"{lines} is of branch {said['words']['branch']}, not {branch}")
    middle = {side: sorted(runs, key=lambda run: run["classes"]["total"]["between_nodes"])[len(runs) // 2]
              for side, runs in said["found"]["exec"].items()}
    return (f"{said['words']['measured']}, {said['words']['machine']}",
            {side: list(classes(run)) for side, run in middle.items()})


def write(lines, figures):
    words, sides = counted(lines, ALL)
    found = {}
    for side in SIDES:
        for of, what, value in sides[side]:
            found.setdefault((of, what), {})[side] = f"{value:.6g}"
    measured = {}
    for path in figures:
        with open(path, encoding="utf-8") as file:
            measured |= {row["name"]: row for row in csv.DictReader(file, delimiter="\t")}
    for side in SIDES:
        alone, many = (float(measured[f"instructions_per_exec{suffix}"][side])
                       for suffix in ("", f"_{POSSIBLE}_possible"))
        for of, what, value in ((PERCPU, "locks", float(measured["percpu_locks_per_exec"][side])),
                                (EXEC, "instructions", alone),
                                (EXEC, "for each CPU", (many - alone) / (POSSIBLE - 1))):
            found.setdefault((of, what), {})[side] = f"{value:.6g}"
    kept = Counts(TABLE)
    for key in found.keys() & kept.rows.keys():
        found[key][CUT] = kept.rows[key][CUT]
    save([f"# {words}: written by counts.py, see there", *kept.head[1:]], found)


def write_folios(lines):
    words, sides = counted(lines, SIXTH)
    kept = Counts(TABLE)
    machine = f"{kept.cpus} vCPUs in {kept.nodes} nodes"
    if f", {machine}" not in words:
        raise fail.Fail(f"{lines} is of {words}: make lines POSTING=6 has to count with {machine}")
    for of, what, value in sides["patched"]:
        if of == FOLIOS:
            kept.rows[of, what][CUT] = f"{value:.6g}"
    save([kept.head[0], f"# {CUT}: {words}"], kept.rows)


def save(head, rows):
    out = [*head, "\t".join(["class", "what", *SIDES, CUT])]
    for key, row in rows.items():
        out.append("\t".join([*key, *(row.get(side) or "" for side in (*SIDES, CUT))]))
    TABLE.write_text("\n".join(out) + "\n")


def main():
    try:
        if sys.argv[1] == "--posting-6":
            write_folios(sys.argv[2])
        else:
            write(sys.argv[1], sys.argv[2:])
    except OSError as why:
        raise fail.Fail(f"{why.filename}: {why.strerror}") from None
    except (KeyError, ValueError) as why:
        raise fail.Fail(f"{why}: not there: give lines.json of make lines, and figures.tsv of make run "
                        "and of make bench LEGS=possible") from None


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    fail.main("counts", main)
