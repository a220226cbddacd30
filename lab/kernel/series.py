#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The postings and the kernel trees that are made from them.

  series.py import        pristine source -> $BUILD/base/src, tag "base"
  series.py tree          postings -> a branch each and branch "series" of all, which is
                          checked out in $BUILD/patched/src (--posting N: that one's branch)
  series.py export        the branch that is checked out -> postings (--check: would it
                          change anything?)
  series.py mail OUT      a folder for git send-email of each posting (--posting N: of one)
  series.py unexported    fails where the tree holds work that the queue does not

Each has its module: tree, export, mail; postings reads the queue, work knows what is not in
it, repo is git.
"""

import argparse
import os

import postings
from export import export
from mail import mail, people
from repo import (ALL, BASE, BUILD, BUILT, EACH, GITDIR, PATCHED, Fail, all_commits, branches, commits_of,
                  each_tree, git, git_in, is_worktree, rev)
from tree import find_worktrees, import_source, make_tree
from work import refuse_to_lose_work
import fail     # where repo has found it

# what the steps of lab/tests and lab/bench use
__all__ = ["ALL", "BASE", "BUILT", "EACH", "GITDIR", "PATCHED", "Fail", "all_commits", "branches", "commits_of", "each_tree",
           "git", "git_in", "is_worktree", "people", "postings", "rev"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = parser.add_subparsers(dest="command", required=True)
    commands = {name: sub.add_parser(name)
                for name in ("import", "tree", "export", "mail", "unexported")}
    for name in ("tree", "mail"):
        commands[name].add_argument("--posting", default=os.environ.get("POSTING", ""),
                                    help="number or name of one posting")
    commands["export"].add_argument("--check", action="store_true", help="write nothing")
    letter = commands["mail"]
    letter.add_argument("out")
    letter.add_argument("--figures", help="folder of the measurement to quote in the cover letter")
    letter.add_argument("--signoff", default="", help="Name <address>")
    letter.add_argument("--version", default="", help="2 for [PATCH v2 ...]")
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    find_worktrees()
    if args.command == "import":
        import_source()
    elif args.command == "tree":
        make_tree(args.posting)
    elif args.command == "export":
        export(args.check)
    elif args.command == "mail":
        mail(args.out, args.posting, args.figures, args.signoff, args.version)
    else:
        refuse_to_lose_work()


if __name__ == "__main__":
    fail.main("series", main, "interrupted; run the same command again")
