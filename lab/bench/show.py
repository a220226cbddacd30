# SPDX-License-Identifier: GPL-2.0
"""Figures as a table, for a mail, as TSV, as a plot and as a page."""

import html
import json
import re
import shutil
import subprocess
import sys

from figures import Fail
from read import I_MMAP, WORKLOAD

CEILING = "_private"
COLORS = {"base": "#555555", "patched": "#1b9e77", "ceiling": "#d95f02"}
SHIFT = {"base": 0.97, "patched": 1.03}     # so that points do not hide each other


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
