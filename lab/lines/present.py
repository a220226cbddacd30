# SPDX-License-Identifier: GPL-2.0
"""What was counted, as text, as figures, and as a page with a plot."""

import html
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "bench"))
import show                             # noqa: E402
from analysis import CLASSES, CPU, FOLIO, I_MMAP            # noqa: E402
from figures import Figure              # noqa: E402

ROWS = (*CLASSES, "total", "interrupts")
COLUMNS = (("transfers", "between_nodes"), ("atomics", "atomics"), ("writes", "writes"),
           ("lines", "lines"), ("within a node", "within_nodes"))
COLORS = dict(zip(CLASSES, ("#d95f02", "#7570b3", "#1b9e77", "#999999")))
SUFFIX = {"exec": ""}
MOST = 40


def told(analysis, sources=True):
    """What is kept of a boot."""
    return {"operations": analysis.operations, "classes": analysis.summary(),
            "remote_percpu": analysis.remote_percpu(), "hottest_atomics": analysis.hottest_atomics(),
            "ranked": analysis.ranked(MOST, sources=sources),
            "false_sharing": analysis.ranked(10, CPU, lambda line: line.falsely(), sources)}


def median(runs, *path):
    values = []
    for one in runs:
        for word in path:
            one = one.get(word, 0)
        values.append(one)
    return sorted(values)[len(values) // 2]


def figures(found):
    """Those of exec and of fork, exec and exit, by their names in figures.tsv."""
    for operation, sides in found.items():
        suffix = SUFFIX.get(operation, f"_{operation}")
        for name, *path in (("lines_cross_node_transfers", "classes", "total", "between_nodes"),
                            ("lines_cross_node_atomics", "classes", "total", "atomics"),
                            ("lines_cross_shard_i_mmap", "classes", I_MMAP, "between_shards"),
                            ("lines_cross_node_folio_atomics", "classes", FOLIO, "atomics"),
                            ("lines_cross_node_folio_transfers", "classes", FOLIO, "between_nodes"),
                            ("lines_remote_percpu", "remote_percpu"),
                            ("lines_hottest_atomics", "hottest_atomics")):
            one = Figure(name + suffix, f"1/{operation}", False, f"make lines: {operation}")
            for side, runs in sides.items():
                one.samples[side] = [median([run], *path) for run in runs]
            yield one


def table(operation, sides):
    names = [f"{side}: {title}" for side in sides for title, _ in COLUMNS]
    rows = [[f"{operation}, per operation", *names]]
    for name in ROWS:
        rows.append([name, *(show.number(median(runs, "classes", name, what))
                             for runs in sides.values() for _, what in COLUMNS)])
    for title, *path in (("accesses to one other CPU's percpu memory", "remote_percpu"),
                         ("atomics on the hottest line", "hottest_atomics"),
                         ("i_mmap, between shards", "classes", I_MMAP, "between_shards")):
        rows.append([title, *(cell for runs in sides.values() for cell in
                              (show.number(median(runs, *path)), *[""] * (len(COLUMNS) - 1)))])
    return rows


def as_text(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in
                                                   zip(row[1:], widths[1:]))]).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def spread(runs, *path):
    values = [median([run], *path) for run in runs]
    middle = median(runs, *path)
    return (max(values) - min(values)) / middle if middle else 0


def ranking(entries, most):
    for entry in entries[:most]:
        yield (f"{entry['transfers']:8.2f}  {entry['atomics']:8.2f}  {entry['lines']:5}  "
               f"{entry['hottest']:6.2f}  {entry['class']:11}  {entry['name']}")
        for function, line, field, count in entry["by"]:
            yield f"{'':46}{count:7.2f}  {function}() {field}{line and '  ' + line}"


RANKED = "transfers   atomics  lines  hottest  class      name: by which functions, in which field"


def text(found, words, most=25):
    parts = ["Lines that CPUs share. transfers: a line goes from CPUs of one node to another's; atomics and\n"
             "writes: to lines that CPUs of different nodes use; lines: how many; within a node: transfers\n"
             "between its CPUs. Interrupts are apart, and in no other row."]
    for operation, sides in found.items():
        parts.append(as_text(table(operation, sides)))
        if any(len(runs) > 1 for runs in sides.values()):
            parts.append("spread of the boots: " + "; ".join(
                f"{side} " + ", ".join(f"{name} {100 * spread(runs, 'classes', name, 'between_nodes'):.1f} %"
                                       for name in (*CLASSES, "total")) for side, runs in sides.items()))
    for operation, sides in found.items():
        for side, runs in sides.items():
            parts.append("\n".join([f"{operation}, {side}: lines that nodes share", RANKED,
                                    *ranking(runs[0]["ranked"], most)]))
            if runs[0]["false_sharing"]:
                parts.append("\n".join([f"{operation}, {side}: shared falsely by CPUs", RANKED,
                                        *ranking(runs[0]["false_sharing"], most)]))
    parts.append("\n".join(f"{name}: {value}" for name, value in words.items()))
    return "\n\n".join(parts) + "\n"


def bars(found):
    """A bar for each operation and side: what moves between nodes, by class."""
    rows = [(operation, side, runs) for operation, sides in found.items() for side, runs in sides.items()]
    most = max(median(runs, "classes", "total", "between_nodes") for _, _, runs in rows) or 1
    left, wide, high = 160, 800, 22
    parts = []
    for number, (operation, side, runs) in enumerate(rows):
        y, x = 30 + number * high, left
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{html.escape(operation)}, {side}</text>')
        for name in CLASSES:
            value = median(runs, "classes", name, "between_nodes")
            width = value / most * wide
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{high - 5}" '
                         f'fill="{COLORS[name]}"><title>{name}: {value:.1f}</title></rect>')
            x += width
        parts.append(f'<text x="{x + 5:.1f}" y="{y + 14}">'
                     f'{median(runs, "classes", "total", "between_nodes"):.0f}</text>')
    for number, name in enumerate(CLASSES):
        parts.append(f'<rect x="{left + number * 150}" y="6" width="12" height="12" fill="{COLORS[name]}"/>'
                     f'<text x="{left + number * 150 + 17}" y="17">{name}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + wide + 70} {40 + len(rows) * high}" '
            f'font-family="sans-serif" font-size="13">{"".join(parts)}</svg>')


def cells(row, tag="td"):
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"


def ranked_table(entries):
    rows = [cells(("transfers", "atomics", "lines", "hottest", "class", "name"), "th")]
    for entry in entries:
        by = "".join(f"<li>{count:.2f} {html.escape(function)}() <b>{html.escape(field)}</b> {html.escape(line)}</li>"
                     for function, line, field, count in entry["by"])
        rows.append(cells((f"{entry['transfers']:.2f}", f"{entry['atomics']:.2f}", str(entry["lines"]),
                           f"{entry['hottest']:.2f}", entry["class"])).removesuffix("</tr>")
                    + f"<td><b>{html.escape(entry['name'])}</b><ul>{by}</ul></td></tr>")
    return f"<table>{''.join(rows)}</table>"


def page(found, words):
    parts = []
    for operation, sides in found.items():
        rows = table(operation, sides)
        parts.append(f"<h2>{html.escape(operation)}</h2><table>{cells(rows[0], 'th')}"
                     + "".join(map(cells, rows[1:])) + "</table>")
        for side, runs in sides.items():
            parts.append(f"<details><summary>{html.escape(operation)}, {side}: which lines</summary>"
                         f"{ranked_table(runs[0]['ranked'])}<h3>shared falsely</h3>"
                         f"{ranked_table(runs[0]['false_sharing'])}</details>")
    facts = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in words.items())
    return f"""<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>lines that CPUs share</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; margin: 1em 0 }} td, th {{ padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top }}
td:first-child, th:first-child, td:last-child {{ text-align: left }} ul {{ margin: 0; font-size: 13px }}
dt {{ float: left; clear: left; width: 10em; font-weight: bold }} dd {{ margin-left: 11em }} svg {{ max-width: 100%; height: auto }}
</style>
<h1>Lines that CPUs share</h1>
<p>How often a line goes from the CPUs of one node to those of another, in an operation.</p>
{bars(found)}
<p>atomics, writes: to lines that CPUs of different nodes use; lines: how many; within a node: transfers between
its CPUs. What interrupts do is in no other row.</p>
{''.join(parts)}<h2>What was used</h2><dl>{facts}</dl>
</html>
"""


def write(found, words, out):
    out.mkdir(parents=True, exist_ok=True)
    (out / "lines.json").write_text(json.dumps({"words": words, "found": found}, indent=1) + "\n")
    (out / "lines.txt").write_text(text(found, words))
    (out / "lines.html").write_text(page(found, words))
    (out / "figures.tsv").write_text(show.tsv(figures(found)))
    print()
    print("\n\n".join(as_text(table(operation, sides)) for operation, sides in found.items()))
    print(f"\nin full: {out}/lines.html, {out}/lines.txt")
