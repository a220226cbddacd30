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
import sys
from pathlib import Path

from figures import Fail
from read import read_pair, read_result
from show import write


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
