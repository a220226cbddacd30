# SPDX-License-Identifier: GPL-2.0
"""Users of what the series takes away or gives another meaning (users.ini has the names).

A patch converts the users of its own day. One that the kernel has got since would be an error
of some compiler, on some architecture, or none at all: it is found by its name.
"""

import configparser
import fnmatch
import re
from pathlib import Path

from repo import BASE, GITDIR, Fail, git, run

NAMES = Path(__file__).with_name("users.ini")
SOURCES = ("*.c", "*.h", "*.S", "*.rs")
COMMENT_OR_STRING = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'""", re.DOTALL)
FUNCTION = re.compile(r"^[a-zA-Z_][\w\s*]*?\b(\w+)\((?![^\n]*;)", re.M)
# what a diff takes out of a header: a macro, or a function at the start of a line
REMOVED = re.compile(r"^-(?:#define\s+(\w+)|(?:[A-Za-z_]\w*[\s*]+)*(\w+)\()", re.M)


class Name:
    def __init__(self, name, about):
        self.name = name
        self.pattern = re.compile(about.get("pattern", rf"\b{name}\b"))
        self.gone_from = about.get("gone from")
        self.since, _, self.words = about.get("since", "").partition(" ")
        self.unless = about.get("unless")
        self.known = [one.partition(":") for one in about.get("known", "").split()]
        self.use = about["use"]

    def counts(self, read):
        """Has a tree gone without the name, or given it its new meaning?"""
        if self.gone_from:
            return self.gone_from in read and not self.pattern.search(code(read[self.gone_from]))
        return self.words in read.get(self.since, "\0")

    def users(self, path, text, plain):
        """(line, function) of each use that is not known to be right."""
        if self.unless and self.unless in text:
            return
        for found in self.pattern.finditer(plain):
            at = plain.rindex(self.name, found.start(), found.end())
            function = ([""] + FUNCTION.findall(plain, 0, at))[-1]
            if not any(fnmatch.fnmatch(path, file) and what in ("", function)
                       for file, _, what in self.known):
                yield plain.count("\n", 0, at) + 1, function


def code(text):
    """Without comments and strings, on the same lines."""
    return COMMENT_OR_STRING.sub(lambda found: "\n" * found[0].count("\n") or " ", text)


def names():
    parser = configparser.ConfigParser(interpolation=None, delimiters="=")
    parser.read(NAMES)
    return [Name(name, parser[name]) for name in parser.sections()]


def check(*commits):
    """Fail with the users in these trees, each on base, that are not as they have to be."""
    if not commits:
        return
    those = names()
    words = [option for one in those for option in ("-e", one.name)]
    in_base = run(["git", "-C", BASE, "grep", "-l", "-w", "-F", *words, "--", *SOURCES],
                  check=False).stdout.decode().splitlines()
    wrong = {}
    for commit in commits:
        listed(commit, those)
        changed = git("diff", "--name-only", "--no-renames", "base", commit, "--", *SOURCES).split("\n")
        read = contents(commit, sorted({*in_base, *changed} - {""}))
        counting = [one for one in those if one.counts(read)]
        for path, text in read.items():
            plain = code(text)
            for one in counting:
                for line, function in one.users(path, text, plain):
                    wrong[f"{path}:{line}"] = (one, function)
    if wrong:
        raise Fail("\n".join(f"{where}: {one.name}{f' in {function}()' if function else ''}: use {one.use}"
                             for where, (one, function) in wrong.items())
                   + f"\n{len(wrong)} new user(s) of what the series changes: convert them in the patch "
                   "that converts the others, or name those that are right in lab/kernel/users.ini")


def contents(commit, paths):
    """{path: text} of those files that a commit has."""
    out = run(["git", f"--git-dir={GITDIR}", "cat-file", "--batch"],
              stdin="".join(f"{commit}:{path}\n" for path in paths).encode()).stdout
    read = {}
    for path in paths:
        head, _, out = out.partition(b"\n")
        if not head.endswith(b" missing"):
            size = int(head.split()[2])
            read[path], out = out[:size].decode(errors="replace"), out[size + 1:]
    return read


def listed(commit, those):
    """Every name that headers of base lose is in the list."""
    diff = git("diff", "-U0", "--no-renames", "base", commit, "--", "*.h", ":!tools")
    diff = re.sub(r"\b__always_inline\b", "inline", diff)   # which changes nothing for its users
    added = set(re.findall(r"^\+(.*)", diff, re.M))
    lost = {found[1] or found[2] for found in REMOVED.finditer(diff)
            if diff[found.start() + 1:].partition("\n")[0] not in added}
    missing = lost - {one.name for one in those}
    if missing:
        raise Fail(f"lab/kernel/users.ini does not have {sorted(missing)[0]}, which the series takes out "
                   "of a header or changes there: say what is to be used instead")
