# SPDX-License-Identifier: GPL-2.0
"""The queue: postings/N-name/ and the overlay, and the commits that they make.

A posting is a folder with
  series     its commits, one a line: the patch, then the new files that this commit adds
  patches/   edits to the kernel's own files, one git format-patch file per commit
  on-K/      the same patches as they read with posting K beneath, where that is otherwise
  base       "7.3", or the names of the postings which it stands on; and "rfc" if it is one of
             its own, and not among all postings together
  letter.txt, tests

New files stand in the overlay, at their in-tree path, as all postings together leave them.
Where a later patch edits one, the commit that adds it gets the file with those later edits
taken out again, so that each commit holds what its own moment should.

Commits are made in the object store, with names and dates from the patches only: the same
queue gives the same hashes.
"""

import os
import re
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

from pinned import failure, first_line
from repo import ALL, GITDIR, QUEUE, Fail, git, run


class Entry:
    """One line of a posting's series: a commit."""

    def __init__(self, posting, line):
        words = line.split("#")[0].split()
        self.posting, self.line = posting, line
        self.patch, self.files = words[0], words[1:]

    def forms(self):
        """The folders that hold the patch, those of the highest postings first."""
        found = [path.parent for path in self.posting.path.glob(f"on-*/{self.patch}")]
        return [*sorted(found, key=lambda one: -int(one.name[3:])), self.posting.path / "patches"]

    def form(self, beneath):
        """The patch as it reads with these postings beneath."""
        numbers = {one.number for one in beneath}
        return next(folder / self.patch for folder in self.forms()
                    if folder.name == "patches" or int(folder.name[3:]) in numbers)


class Posting:
    def __init__(self, path):
        self.path, self.name = path, path.name
        self.number = int(path.name.partition("-")[0]) if path.name[0].isdigit() else None
        self.entries = [Entry(self, line) for line in self.lines("series")]
        self.tests = self.lines("tests")
        self.beneath, self.rfc = [], False      # read() fills them in

    def lines(self, name):
        """The lines of a file that are no comment."""
        path = self.path / name
        if not path.exists():
            raise Fail(f"{path} is missing")
        return [line for line in path.read_text().splitlines() if line.split("#")[0].strip()]

    def label(self, path):
        return f"{self.name}/{path.parent.name}/{path.name}"

    def check(self, queue):
        for entry in self.entries:
            if not (self.path / "patches" / entry.patch).exists():
                raise Fail(f"{self.name}/series: patches/{entry.patch} does not exist")
            for name in entry.files:
                if not (queue / name).is_file():
                    raise Fail(f"{self.name}/series: the new file {name} does not exist")
        names = [entry.patch for entry in self.entries]
        for path in sorted(self.path.glob("*/*.patch")):
            if path.name not in names:
                raise Fail(f"{self.label(path)} is not listed in {self.name}/series")
            if path.parent.name != "patches" and not re.fullmatch(r"on-\d+", path.parent.name):
                raise Fail(f"{self.label(path)}: expected patches/ or on-NUMBER/")


def read(queue=QUEUE):
    """The postings, in the order of their numbers."""
    found = [Posting(path) for path in (queue / "postings").glob("[0-9]*-*") if path.is_dir()]
    found.sort(key=lambda one: one.number)
    if not found:
        raise Fail(f"{queue / 'postings'} holds no posting")
    seen, by_name = set(), {}
    for one in found:
        one.check(queue)
        for name in (name for entry in one.entries for name in (f"{one.name}/{entry.patch}", *entry.files)):
            if name in seen:
                raise Fail(f"{one.name}/series: {name} is listed twice")
            seen.add(name)
        if one.number in {other.number for other in by_name.values()}:
            raise Fail(f"postings/: two postings have the number {one.number}")
        base = " ".join(line.split("#")[0] for line in one.lines("base")).split()
        one.rfc = "rfc" in base
        base = [word for word in base if word != "rfc"]
        unknown = [name for name in base if name not in by_name]
        if base != ["7.3"] and (unknown or not base):
            raise Fail(f"{one.name}/base: \"{' '.join(unknown)}\" is no posting with a lower number: "
                       "write 7.3, or names of such")
        for other in found:
            if other.name in base or any(other in by_name[name].beneath for name in base if name in by_name):
                one.beneath.append(other)
        by_name[one.name] = one
    return found


def stacks(found):
    """{branch: the postings that it consists of}"""
    return {ALL: [one for one in found if not one.rfc], **{one.name: [*one.beneath, one] for one in found}}


def pick(found, word):
    """The posting of a number or name, None without a word."""
    mine = [one for one in found if word in (one.name, str(one.number))]
    if word and not mine:
        raise Fail(f"POSTING={word}: there are {', '.join(one.name for one in found)}")
    return mine[0] if word else None


# --- commits ------------------------------------------------------------------

Step = namedtuple("Step", "posting entry path commit")   # path: of the form that was used


def edits(stack):
    """(entry, path) for each commit of a stack of postings, the form that belongs there."""
    return [(entry, entry.form(stack[:place])) for place, one in enumerate(stack)
            for entry in one.entries]


def touches(path):
    """Paths which a patch's own hunks edit."""
    return set(re.findall(r"^diff --git a/\S+ b/(\S+)$", path.read_text(errors="surrogateescape"), re.M))


def new_files(queue, stack):
    """{new file: its blob as the commit that adds it should have it}, for all postings."""
    added, later = {}, {name: [] for one in stack for entry in one.entries for name in entry.files}
    for entry, path in edits(stack):
        for name in touches(path) & later.keys():
            if name not in added or name in entry.files:
                raise Fail(f"{entry.posting.label(path)} edits {name} before or where series adds it")
            later[name].append((entry, path))
        added |= dict.fromkeys(entry.files)
    with tempfile.TemporaryDirectory(prefix="queue-") as tmp:
        return {name: at_its_commit(queue, name, later[name], Path(tmp)) for name in later}


def at_its_commit(queue, name, later, scratch):
    room = scratch / "new"
    shutil.rmtree(room, ignore_errors=True)
    (room / name).parent.mkdir(parents=True)
    shutil.copyfile(queue / name, room / name)
    for entry, path in reversed(later):
        done = run(["git", "apply", "-R", f"--include={name}", path], cwd=room, check=False,
                   env={"GIT_CEILING_DIRECTORIES": str(scratch)})
        if done.returncode:
            raise Fail(f"{name} no longer holds what {entry.posting.label(path)} adds "
                       f"to it ({first_line(done.stderr)}): make that change in "
                       "the tree, then make export")
    mode = "100755" if os.access(queue / name, os.X_OK) else "100644"
    return f"{mode},{git('hash-object', '-w', '--no-filters', room / name)}"


def mailinfo(entry, path, scratch):
    """Message, diff and author of a patch file, as git am reads them."""
    msg, diff = scratch / "msg", scratch / "diff"
    info = run(["git", "mailinfo", "-b", "--encoding=UTF-8", msg, diff],
               stdin=path.read_bytes(), cwd=scratch).stdout.decode()
    field = dict(re.findall(r"^(\w+): (.*)$", info, re.M))
    for need in ("Author", "Email", "Subject", "Date"):
        if not field.get(need):
            raise Fail(f"{entry.posting.label(path)} has no {need} line: "
                       "write it with git format-patch")
    subject = re.sub(r"^\[PATCH[^]]*\] *", "", field["Subject"])
    text = f"{subject}\n\n{msg.read_text().strip(chr(10))}\n"
    who = {}
    for role in ("AUTHOR", "COMMITTER"):
        who[f"GIT_{role}_NAME"] = field["Author"]
        who[f"GIT_{role}_EMAIL"] = field["Email"]
        who[f"GIT_{role}_DATE"] = field["Date"]
    return text, diff, who


def apply(diff, index):
    """If it fails, the index is to be read anew: it may hold conflicts."""
    return run(["git", f"--git-dir={GITDIR}", "apply", "--cached", "--3way", diff], env=index, check=False)


class Builder:
    """Makes commits of postings, each but once: branches have beginnings in common."""

    made = {}

    def __init__(self, files):
        self.files = files

    def build(self, start, stack):
        """A stack of postings as commits on start: a Step for each, in order."""
        steps = []
        with tempfile.TemporaryDirectory(prefix="queue-") as tmp:
            scratch = Path(tmp)
            index = {"GIT_INDEX_FILE": str(scratch / "index")}
            head, holds = start, None
            for entry, path in edits(stack):
                key = head, path.read_bytes(), *(self.files[name] for name in entry.files)
                if key not in self.made:
                    if holds != head:
                        git("read-tree", head, env=index)
                    self.made[key] = holds = self.commit(head, entry, path, scratch, index)
                head = self.made[key]
                steps.append(Step(entry.posting, entry, path, head))
        return steps

    def commit(self, head, entry, path, scratch, index):
        text, diff, who = mailinfo(entry, path, scratch)
        if b"diff --git " in diff.read_bytes(): # else it adds new files only
            done = apply(diff, index)
            if done.returncode:
                raise failure(entry.posting.label(path), diff, done.stderr, index)
        for name in entry.files:
            git("update-index", "--add", "--cacheinfo", f"{self.files[name]},{name}", env=index)
        return git("commit-tree", "-p", head, "-F", "-", git("write-tree", env=index), env=who,
                   stdin=text.encode(errors="surrogateescape"))


def build(start, queue=QUEUE):
    """{branch: its steps} for all branches of a queue."""
    found = read(queue)
    builder = Builder(new_files(queue, found))
    return {name: builder.build(start, stack) for name, stack in stacks(found).items()}
