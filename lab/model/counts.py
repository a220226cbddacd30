#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What an exec shares, as it was counted: counts.tsv, which model.py reads.

  counts.py LINES.json FIGURES.tsv...   writes it from what `make lines`, `make run` and
                                        `make bench LEGS=possible` wrote

between, within: transfers of lines between nodes and within one. hottest: those of the line with
most of them. remote: accesses to the percpu memory of each other CPU. locks: of the percpu
allocator, taken. All but "lines" is per exec. The column "prototype" is not written here, but
kept: 64 KiB folios for text and no mapcount of a page, 7.3-rc7, by a counter that found 1,318
transfers between nodes without them.
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


def write(lines, figures):
    said = json.loads(Path(lines).read_text())
    found = {}
    for side in SIDES:
        runs = said["found"]["exec"][side]
        for of, what, value in classes(runs[len(runs) // 2]):
            found.setdefault((of, what), {})[side] = value
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
            found.setdefault((of, what), {})[side] = value
    kept = Counts(TABLE).rows if TABLE.exists() else {}
    words = said["words"]
    out = [f"# {words['measured']}, {words['machine']}: written by counts.py, see there",
           "class\twhat\tbase\tpatched\tprototype"]
    for (of, what), row in found.items():
        out.append("\t".join([of, what, *(f"{row[side]:.6g}" for side in SIDES),
                              kept.get((of, what), {}).get("prototype") or ""]))
    TABLE.write_text("\n".join(out) + "\n")


def main():
    try:
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
