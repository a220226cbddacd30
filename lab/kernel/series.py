#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""The patch queue and the kernel tree that is made from it.

The queue is the overlay (whole new files, at their in-tree path), patches/
(edits to the kernel's own files, one git format-patch file per commit) and
series (their order). From it this script makes a git tree of the kernel, one
commit per entry on top of the pristine source, and takes commits made in that
tree back:

  series.py import        pristine source -> $BUILD/base/src, tag "base"
  series.py tree          queue -> branch "series" in $BUILD/patched/src
  series.py export        branch "series" -> queue (--check: would it change anything?)
  series.py mail OUT      branch "series" -> a folder for git send-email
  series.py commits       the commits of the tree, one "hash subject" a line
  series.py unexported    fails where the tree holds work that the queue does not

A line of series is a patch file and, after it, the new files which that
commit adds. A new file stands in the overlay as the whole series leaves it.
Where a later patch edits it, the commit that adds it gets the file with those
later edits taken out again, so each commit of the tree holds what its own
moment should.

Commits are made in the object store, with names and dates from the patches
only: the same queue gives the same hashes, nothing in the work tree is touched
until all of them apply, and then only files that differ are written (so that
make rebuilds only what it must).
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, namedtuple
from email.header import Header
from email.utils import formataddr, parseaddr
from pathlib import Path

import pinned
import users
from pinned import first_line
from repo import (BASE, BUILD, BUILT, GITDIR, PATCHED, PROJECT, QUEUE, Fail, commits_of, git, git_in,
                  is_worktree, rev, run, same_commits, say)

RFC = QUEUE / "rfc"                 # a queue of its own, on top


# --- the queue's files ------------------------------------------------------

class Entry:
    """One line of series: a commit."""

    def __init__(self, queue, line):
        words = line.split("#")[0].split()
        self.line = line
        self.patch = words[0]
        self.files = words[1:]
        self.path = queue / "patches" / self.patch

    def touches(self):
        """Paths which the patch's own hunks edit."""
        text = self.path.read_text(errors="surrogateescape")
        return set(re.findall(r"^diff --git a/\S+ b/(\S+)$", text, re.M))


def read_series(queue=QUEUE):
    entries, seen = [], set()
    path = queue / "series"
    if not path.exists():
        raise Fail(f"{path} is missing: it lists the patches in order")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.split("#")[0].strip():
            continue
        entry = Entry(queue, line)
        if not entry.path.exists():
            raise Fail(f"series:{number}: patches/{entry.patch} does not exist")
        for name in entry.files:
            if not (queue / name).is_file():
                raise Fail(f"series:{number}: the new file {name} does not exist")
        for name in (entry.patch, *entry.files):
            if name in seen:
                raise Fail(f"series:{number}: {name} is listed twice")
            seen.add(name)
        entries.append(entry)
    unlisted = {p.name for p in (queue / "patches").glob("*.patch")} - seen
    if unlisted:
        raise Fail(f"patches/{sorted(unlisted)[0]} is not listed in series")
    return entries


def mailinfo(entry, scratch):
    """Message, diff and author of a patch file, as git am reads them."""
    msg, diff = scratch / "msg", scratch / "diff"
    with open(entry.path, "rb") as patch:
        info = run(["git", "mailinfo", "-b", "--encoding=UTF-8", msg, diff],
                   stdin=patch.read(), cwd=scratch).stdout.decode()
    field = dict(re.findall(r"^(\w+): (.*)$", info, re.M))
    for need in ("Author", "Email", "Subject", "Date"):
        if not field.get(need):
            raise Fail(f"patches/{entry.patch} has no {need} line: "
                       "write it with git format-patch")
    subject = re.sub(r"^\[PATCH[^]]*\] *", "", field["Subject"])
    text = f"{subject}\n\n{msg.read_text().strip(chr(10))}\n"
    who = {}
    for role in ("AUTHOR", "COMMITTER"):
        who[f"GIT_{role}_NAME"] = field["Author"]
        who[f"GIT_{role}_EMAIL"] = field["Email"]
        who[f"GIT_{role}_DATE"] = field["Date"]
    return text, diff, who


def at_its_commit(queue, name, later, scratch):
    """Blob hash of a new file as the commit that adds it should have it."""
    room = scratch / "new"
    shutil.rmtree(room, ignore_errors=True)
    (room / name).parent.mkdir(parents=True)
    shutil.copyfile(queue / name, room / name)
    for entry in reversed(later):
        done = run(["git", "apply", "-R", f"--include={name}", entry.path],
                   cwd=room, check=False,
                   env={"GIT_CEILING_DIRECTORIES": str(scratch)})
        if done.returncode:
            raise Fail(f"{name} no longer holds what patches/{entry.patch} adds "
                       f"to it ({first_line(done.stderr)}): make that change in "
                       "the tree, then make export")
    return git("hash-object", "-w", "--no-filters", room / name)


def build_commits(start, queue=QUEUE):
    """The queue as commits on start, in the object store; their hashes, in order."""
    entries = read_series(queue)
    later_on = {name: [] for e in entries for name in e.files}
    added_at = {name: i for i, e in enumerate(entries) for name in e.files}
    for i, entry in enumerate(entries):
        for name in entry.touches() & later_on.keys():
            if i <= added_at[name]:
                raise Fail(f"patches/{entry.patch} edits {name} before or where "
                           "series adds it")
            later_on[name].append(entry)
    head, commits = start, []
    with tempfile.TemporaryDirectory(prefix="queue-") as tmp:
        scratch = Path(tmp)
        index = {"GIT_INDEX_FILE": str(scratch / "index")}
        git("read-tree", start, env=index)
        for entry in entries:
            text, diff, who = mailinfo(entry, scratch)
            if b"diff --git " in diff.read_bytes(): # else it adds new files only
                done = run(["git", f"--git-dir={GITDIR}", "apply", "--cached",
                            "--3way", diff], env=index, check=False)
                if done.returncode:
                    raise pinned.failure(f"patches/{entry.patch}", diff, done.stderr, index)
            for name in entry.files:
                blob = at_its_commit(queue, name, later_on[name], scratch)
                mode = "100755" if os.access(queue / name, os.X_OK) else "100644"
                git("update-index", "--add", "--cacheinfo",
                    f"{mode},{blob},{name}", env=index)
            head = git("commit-tree", "-p", head, "-F", "-",
                       git("write-tree", env=index), env=who,
                       stdin=text.encode(errors="surrogateescape"))
            commits.append(head)
    return commits


# --- the kernel's repository ------------------------------------------------

def import_source():
    """Make the pristine source the first commit; nothing to do when it is."""
    source = BUILD / "source"
    try:
        ident = (source / "id").read_text()
    except FileNotFoundError:
        raise Fail("no kernel source yet: run make fetch") from None
    if not GITDIR.exists():
        run(["git", "init", "-q", "--bare", GITDIR])
        git("config", "gc.auto", "0")
        git("config", "core.looseCompression", "1")
    if rev("base") and git("log", "-1", "--format=%B", "base").strip() == ident.strip():
        return
    refuse_to_lose_work()
    say(f"importing {ident.splitlines()[0]} (a minute or two)")
    need_space(9)
    for tree in (PATCHED, BASE):
        shutil.rmtree(tree, ignore_errors=True)
    git("worktree", "prune")
    for ref in ("refs/tags/base", "refs/heads/series", BUILT):
        git("update-ref", "-d", ref)
    BASE.parent.mkdir(parents=True, exist_ok=True)
    date = "@1 +0000"
    who = {}
    for role in ("AUTHOR", "COMMITTER"):
        who |= {f"GIT_{role}_NAME": PROJECT[0], f"GIT_{role}_EMAIL": PROJECT[1],
                f"GIT_{role}_DATE": date}
    empty = git("hash-object", "-t", "tree", "-w", "--stdin", stdin=b"")
    git("worktree", "add", "-q", "--no-checkout", "--detach", BASE,
        git("commit-tree", empty, "-m", "import", env=who))
    run(["tar", "-C", BASE, "--strip-components=1", "--no-same-owner", "-xf",
         source / "linux.tar"])
    see_new_files(BASE / ".gitignore")
    git_in(BASE, "add", "-A", "-f", ".")
    base = git("commit-tree", git_in(BASE, "write-tree"), "-F", "-",
               env=who, stdin=ident.encode())
    git_in(BASE, "update-ref", "--no-deref", "HEAD", base)
    git("update-ref", "refs/tags/base", base)


def see_new_files(ignore):
    """Debian's source has a .gitignore that hides every file which is not in
    Debian's own repository: a new file of ours would never be seen as such."""
    if ignore.exists():
        lines = ignore.read_text().splitlines(keepends=True)
        ignore.write_text("".join(l for l in lines if l.strip() not in ("/*", "!/debian/")))


def need_space(gib):
    free = shutil.disk_usage(BUILD).free >> 30
    if free < gib:
        raise Fail(f"{BUILD} has {free} GiB free and this needs {gib}: make room "
                   "or set BUILD= to a folder on a larger disk")


def dirty():
    return git_in(PATCHED, "status", "--porcelain", "-uall") if is_worktree(PATCHED) else ""


def first_of(changes):
    return changes.splitlines()[0].strip()


def drop_hint():
    return f"git -C {PATCHED} reset --keep {BUILT}"


def hand_commits():
    """What branch series has that did not come from the queue, newest first."""
    built, head = rev(BUILT), rev("series")
    if not head or not built or head == built:
        return []
    return git("log", "--format=%h %s", f"{built}..{head}").splitlines() \
        or [f"{head[:12]} (moved back)"]


def refuse_hand_work():
    """Before branch series moves: nothing that a person did there is lost."""
    commits, changes = hand_commits(), dirty()
    if commits:
        raise Fail(f"{PATCHED} has {len(commits)} change(s) that the queue does not "
                   f"have, the newest \"{commits[0]}\": make export takes them "
                   f"in, {drop_hint()} drops them")
    if changes:
        raise Fail(f"{PATCHED} has uncommitted changes ({first_of(changes)}): "
                   "commit them and make export, or undo them")


def refuse_to_lose_work():
    """Before the repository or its work trees go: no branch, no stash and no
    detached HEAD may hold a commit that came from nowhere else."""
    if not GITDIR.exists() or not rev("base"):
        return
    refuse_hand_work()
    known = [name for name in ("base", BUILT) if rev(name)]
    heads = [git_in(PATCHED, "rev-parse", "HEAD")] if is_worktree(PATCHED) else []
    stash = ["refs/stash"] if rev("refs/stash") else []
    if not rev(BUILT):
        return # no tree was ever finished, so nobody worked in one
    lost = git("log", "--format=%h %s", "--branches", *heads, *stash, "--not", *known)
    if lost:
        raise Fail(f"{GITDIR} has commits that are nowhere else, the newest "
                   f"\"{lost.splitlines()[0]}\" (git --git-dir={GITDIR} branch -a): "
                   "make export takes in those of branch series; delete or move the others")


def on_branch_series():
    where = git_in(PATCHED, "symbolic-ref", "-q", "HEAD", check=False)
    if where != "refs/heads/series":
        raise Fail(f"{PATCHED} is on {where or 'no branch'}, not on branch series (a rebase "
                   "under way?): finish it, or git checkout series there")


def make_tree():
    import_source()
    if git_in(BASE, "status", "--porcelain"):
        raise Fail(f"{BASE} is the pristine source and was changed: "
                   f"git -C {BASE} checkout . puts it back")
    finish_export()
    commits = pinned.merging(build_commits, "base")
    new = commits[-1] if commits else rev("base")
    if new != rev(BUILT):
        users.check(new)
    if PATCHED.exists() and any(PATCHED.iterdir()) and not is_worktree(PATCHED):
        raise Fail(f"{PATCHED} is no tree of ours: move it away")
    if not rev(BUILT): # the first time, or one that did not come to its end
        lay_out(new)
    else:
        if not is_worktree(PATCHED): # somebody removed it; its commits are still there
            git("worktree", "prune")
            git("worktree", "add", "-q", "-f", PATCHED, "series")
        on_branch_series()
        if rev("series") != new:
            if rev("series") == rev(BUILT) or same_commits(commits, commits_of("series")):
                refuse_hand_work()
            git_in(PATCHED, "reset", "-q", "--keep", new)
    git("update-ref", BUILT, new)
    say(f"tree: {len(commits)} patches on {git('log', '-1', '--format=%s', 'base')} in {PATCHED}")


def lay_out(new):
    say("checking out the patched tree")
    if not is_worktree(PATCHED):
        PATCHED.parent.mkdir(parents=True, exist_ok=True)
        git("worktree", "prune")
        git("worktree", "add", "-q", "-f", "--no-checkout", "-B", "series", PATCHED, new)
    git_in(PATCHED, "checkout", "-q", "-f", "-B", "series", new)


# --- the way back -----------------------------------------------------------

READY = QUEUE / ".export-ready"


def export(check=False):
    base, built = rev("base"), rev(BUILT)
    if not (base and built and is_worktree(PATCHED)):
        raise Fail("there is no tree to export: run make tree")
    on_branch_series()
    if dirty():
        raise Fail(f"{PATCHED} has uncommitted changes ({first_of(dirty())}): commit them first")
    finish_export()
    if run(["git", f"--git-dir={GITDIR}", "merge-base", "--is-ancestor", base, "series"],
           check=False).returncode or git("rev-list", "--merges", f"{base}..series"):
        raise Fail("branch series is not a straight line from tag base: "
                   "git rebase base first")
    commits = commits_of("series")
    if not commits:
        raise Fail("branch series has no commit on top of base: nothing to export")
    before = build_commits(base)
    if before[-1:] != [built] and same_commits(before, commits):
        raise Fail("the overlay or patches/ were edited since the last make tree, and "
                   f"an export would overwrite that: git stash it here, or {drop_hint()}")
    with tempfile.TemporaryDirectory(dir=QUEUE, prefix=".export-") as tmp:
        room = Path(tmp) / "queue"
        room.mkdir()
        write_queue(room, commits, before)
        try:
            wrong = same_commits(build_commits(base, room), commits)
        except Fail as why:
            raise Fail(f"as patch files the commits do not survive: {why}; nothing was "
                       "written, mend the commit") from None
        if wrong:
            raise Fail(f"commit {git('log', '-1', '--format=%h %s', wrong[0])} does not survive as "
                       f"a patch file, its {wrong[1]} would change (a line such as --- or diff "
                       "in the message? a file removed and added again, or its mode changed "
                       "later?): mend it; nothing was written")
        if check:
            compare_queues(room)
            return
        refuse_to_overwrite(room)
        os.replace(room, READY)
    finish_export()
    git_in(PATCHED, "reset", "-q", "--keep", build_commits(base)[-1])
    git("update-ref", BUILT, rev("series"))
    say(f"exported {len(commits)} commits to {QUEUE}")


def write_queue(room, commits, before):
    """A whole queue for these commits in an empty folder. A patch of the old
    queue that still says the same is kept as it is, with notes below its ---."""
    new = set(git("diff", "--no-renames", "--diff-filter=A", "--name-only",
                  "base", commits[-1]).splitlines())
    added_by = {path: commit for commit in commits
                for status, path in changed(commit) if status == "A" and path in new}
    old = {patch_text(commit, entry.files): entry
           for commit, entry in zip(before, read_series())}
    (room / "patches").mkdir()
    lines = [l for l in (QUEUE / "series").read_text().splitlines() if l.startswith("#")]
    for number, commit in enumerate(commits, 1):
        mine = sorted(p for p, c in added_by.items() if c == commit)
        name, text = file_name(number, commit), patch_text(commit, mine)
        text_of = text
        line = " ".join([name, *mine])
        if text in old:
            kept = old[text].path.read_text(errors="surrogateescape")
            if "\nindex " in kept or "\nindex " not in text: # what a 3-way merge needs
                text = kept
            if old[text_of].line.split("#")[0].split() == line.split():
                line = old[text_of].line
        (room / "patches" / name).write_text(text, errors="surrogateescape")
        lines.append(line)
    (room / "series").write_text("\n".join(lines) + "\n")
    for path in added_by:
        mode = git("ls-tree", commits[-1], "--", path).split()[0]
        if mode not in ("100644", "100755") or re.search(r"[\s#]", path):
            raise Fail(f"{path} cannot stand in the overlay: a new file is an ordinary "
                       "file whose name has no blank and no #")
        target = room / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(run(["git", f"--git-dir={GITDIR}", "cat-file", "blob",
                                f"{commits[-1]}:{path}"]).stdout)
        target.chmod(0o755 if mode == "100755" else 0o644)


def files_of(queue):
    entries = read_series(queue)
    return {"series", *(f"patches/{e.patch}" for e in entries), *(f for e in entries for f in e.files)}


def same_file(one, other):
    return (one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
            and os.access(one, os.X_OK) == os.access(other, os.X_OK))


def compare_queues(room):
    differ = sorted(name for name in files_of(room) | files_of(QUEUE)
                    if not same_file(room / name, QUEUE / name))
    if differ:
        raise Fail(f"{differ[0]} is not as make export writes it: run make export")
    say("an export would change nothing")


def refuse_to_overwrite(room):
    old = files_of(QUEUE)
    for name in sorted(files_of(room) - old):
        if (QUEUE / name).exists() and not same_file(room / name, QUEUE / name):
            raise Fail(f"{QUEUE / name} is in the way: the tree has a new file of that name, "
                       "and this one is not in series; move it away")


def finish_export():
    """Put a verified export in place. Can be interrupted and done again."""
    if not READY.exists():
        return
    keep = files_of(READY)
    try:
        old = files_of(QUEUE)
    except Fail: # interrupted between two files
        old = {f"patches/{p.name}" for p in (QUEUE / "patches").glob("*.patch")}
    for name in sorted(keep, key=lambda n: n == "series"):
        if not same_file(READY / name, QUEUE / name): # others keep their time stamp
            target = QUEUE / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(READY / name, target.with_name(target.name + ".export"))
            os.replace(target.with_name(target.name + ".export"), target)
    for name in old - keep:
        (QUEUE / name).unlink(missing_ok=True)
    shutil.rmtree(READY)


def changed(commit):
    """(status letter, path) of what a commit changes against its parent."""
    out = git("diff-tree", "-r", "--no-commit-id", "--no-renames",
              "--name-status", commit)
    return [tuple(line.split("\t", 1)) for line in out.splitlines()]


def patch_text(commit, leave_out):
    header = git("show", "-s", "--format=email", commit)
    header = re.sub(r"^From [0-9a-f]{40}", "From " + "0" * 40, header)
    diff = git("diff-tree", "-r", "-p", "--binary", "--stat", "--summary", "--no-commit-id",
               "--no-renames", "--no-color", "--abbrev=12", commit, "--", ".",
               *(f":(exclude,literal){name}" for name in leave_out))
    return f"{header.rstrip()}\n\n---\n" + (f"{diff}\n" if diff else "")


def file_name(number, commit):
    subject = git("log", "-1", "--format=%f", commit)[:60].rstrip("-.")
    return f"{number:04d}-{subject}.patch"


# --- for the list -----------------------------------------------------------

NOT_MEASURED = "  Not measured: no results in this checkout (make run fills this in).\n"


def measured_table(folder, head):
    """The table of a measurement, if it is one of this very series."""
    try:
        facts = json.loads((folder / "measured.json").read_text())
        table = (folder / "cover.txt").read_text()
    except FileNotFoundError:
        return NOT_MEASURED
    if facts.get("series") != head:
        return (f"  Not measured: the latest results, of {facts.get('date')}, are of another "
                "state of\n  the series (make run measures this one).\n")
    return "".join(f"  {line}\n" for line in table.splitlines())


NOT_TESTED = "  Not tested as it is now (lab/tests/evidence.py --keep fills this in).\n"


def tested(head):
    """What the tests found, if that was on this very series."""
    try:
        tree, _, lines = (QUEUE / "lab/tests/evidence/letter.txt").read_text().partition("\n")
    except FileNotFoundError:
        return NOT_TESTED
    if tree != git("rev-parse", f"{head}^{{tree}}"):
        return NOT_TESTED
    return "".join(f"  {line}\n" for line in lines.splitlines())


def letters(base, head):
    """(name, subject, body, first commit's parent, last commit) of each series that the
    queue is mailed as. Every cover letter but the first says with which commit its
    series begins."""
    found = sorted((QUEUE / "letters").glob("*.txt"))
    if not found:
        raise Fail("letters/ holds no cover letter")
    subjects = {}
    for line in git("log", "--reverse", "--format=%H %s", f"{base}..{head}").splitlines():
        commit, _, subject = line.partition(" ")
        subjects[subject] = commit
    parts, begins = [], []
    for path in found:
        subject, _, body = path.read_text().partition("\n")
        first = re.match(r"\s*Begins with: (.+)\n", body)
        if bool(first) == (path == found[0]) or (first and first[1] not in subjects):
            raise Fail(f"letters/{path.name}: every letter but the first has a line \"Begins "
                       "with: SUBJECT\" after its own subject, and a commit has that subject")
        for word, what in (("@FIGURES@", "the measured table"), ("@TESTED@", "what the tests found")):
            if word not in body:
                raise Fail(f"letters/{path.name} has no {word} line for {what}")
        begins.append(git("rev-parse", f"{subjects[first[1]]}^") if first else base)
        parts.append((path.stem, subject.strip(), body[first.end() if first else 0:].strip()))
    return [(*part, begin, end) for part, begin, end in zip(parts, begins, [*begins[1:], head])]


Person = namedtuple("Person", "address role")   # role: maintainer, reviewer, list


def people(*, patch=None, path=None):
    """Who has to get a patch, or looks after a file of the tree: what get_maintainer.pl
    reads in MAINTAINERS, and no guess from the history."""
    script = PATCHED / "scripts/get_maintainer.pl"
    if not script.exists():
        raise Fail(f"{script} is missing, which finds the recipients: give a whole kernel source")
    done = run(["perl", script, "--nogit", "--nogit-fallback", "--norolestats", "--roles",
                *(["-f", path] if path else [patch])], cwd=PATCHED)
    found = {}
    for line in done.stdout.decode().splitlines():
        said = re.fullmatch(r"(.+@[^ ]+) \(([^:()]+).*\)", line.strip())
        if not said:
            raise Fail(f"get_maintainer.pl says \"{line}\" of {path or patch}: expected "
                       "an address and a role")
        role = "list" if said[2].endswith("list") else said[2] if said[2] == "reviewer" else "maintainer"
        found.setdefault(said[1], role)     # the first section is the nearest
    return {Person(*one) for one in found.items()}


def addressed(folder):
    """Recipients in the header of each mail of a series: those whom most of its patches
    concern get all of them, maintainers as To; others get their patches and, as
    everybody, the cover letter."""
    mails = sorted(folder.glob("*.patch"))
    found = {mail: people(patch=mail) for mail in mails[1:]}
    times = Counter(one.address for those in found.values() for one in those)
    if not times:
        raise Fail(f"get_maintainer.pl finds nobody for the patches of {folder.name}")
    most = {address for address, count in times.items() if 2 * count > len(found)}
    times = Counter(one.address for those in found.values() for one in those
                    if one.role == "maintainer")
    to = {address for address, count in times.items() if 2 * count > len(found)}
    everybody = {one.address for those in found.values() for one in those}
    for mail in mails:
        those = {one.address for one in found[mail]} | most if mail in found else everybody
        head, blank, rest = mail.read_text().partition("\n\n")
        fields = [field(name, addresses) for name, addresses in (("To", to), ("Cc", those - to))
                  if addresses]
        mail.write_text("\n".join([head, *fields]) + blank + rest)


def field(name, addresses):
    """A header's field, as git send-email reads it: one address a line, sorted."""
    lines = []
    for address in sorted(addresses, key=lambda one: one.strip('"').casefold()):
        who, where = parseaddr(address)
        if not who.isascii():
            who = Header(who, "utf-8").encode()
            lines.append(f"{who} <{where}>")
        else:
            lines.append(formataddr((who, where)))
    return f"{name}: " + ",\n    ".join(lines)


def with_rfc(head):
    """The last commit when what is only discussed so far is put on top of head."""
    return build_commits(head, RFC)[-1] if RFC.exists() else head


def mail(out, figures, signoff, version):
    head, base = rev(BUILT), rev("base")
    if not (head and base) or rev("series") != head:
        raise Fail("the tree does not match the queue: run make tree (or make export) first")
    table = measured_table(Path(figures), head) if figures else NOT_MEASURED
    found = tested(head)
    head = with_rfc(head) # which is not part of what was built and measured
    env, extra = {}, []
    if signoff:
        who = re.fullmatch(r"\s*(.+?)\s*<([^<>@\s]+@[^<>\s]+)>\s*", signoff)
        if not who:
            raise Fail(f'SIGNOFF="{signoff}" is not of the form "Name <address>"')
        env = {"GIT_COMMITTER_NAME": who[1], "GIT_COMMITTER_EMAIL": who[2]}
        extra = ["--signoff"]
        head = reauthor(base, head, env)
    else:
        env = {"GIT_COMMITTER_NAME": PROJECT[0], "GIT_COMMITTER_EMAIL": PROJECT[1]}
    out = Path(out)
    strange = [p.name for p in out.rglob("*") if p.is_file()
               and not (p.suffix == ".patch" and list(p.parent.glob("*0000-cover-letter.patch")))] \
        if out.exists() else []
    if strange:
        raise Fail(f"{out} holds {strange[0]}, which no earlier run wrote: give another folder")
    with contextlib.ExitStack() as stack:
        out.parent.mkdir(parents=True, exist_ok=True)
        room = Path(stack.enter_context(
            tempfile.TemporaryDirectory(dir=out.parent, prefix=".mail-")))
        room.chmod(0o755)
        for name, subject, body, begin, end in letters(base, head):
            folder = room / "new" / name
            git("format-patch", "-q", "--cover-letter", "--thread=shallow", "-M",
                "--stat=72", f"--subject-prefix=PATCH{' v' + version if version else ''}",
                "-o", folder, *extra, f"{begin}..{end}", env=env)
            letter = next(folder.glob("*0000-cover-letter.patch"))
            for word, value in (("@FIGURES@", table.rstrip()), ("@TESTED@", found.rstrip()),
                                ("@BASE@", git("log", "-1", "--format=%s", base))):
                body = body.replace(word, value)
            letter.write_text(letter.read_text().replace("*** SUBJECT HERE ***", subject)
                              .replace("*** BLURB HERE ***", body))
            addressed(folder)
            say(f"{len(list(folder.glob('*.patch'))) - 1} patches and a cover letter in {out / name}"
                + ("" if signoff else "; no Signed-off-by (SIGNOFF=\"Name <address>\" adds it)"))
        shutil.rmtree(out, ignore_errors=True)
        os.replace(room / "new", out)


def reauthor(base, head, who):
    """The same commits with the sender as author: whoever signs a patch off
    answers for it, and the kernel wants From: and Signed-off-by: to agree."""
    parent = base
    for commit in git("rev-list", "--reverse", f"{base}..{head}").split():
        env = {"GIT_AUTHOR_NAME": who["GIT_COMMITTER_NAME"],
               "GIT_AUTHOR_EMAIL": who["GIT_COMMITTER_EMAIL"],
               "GIT_AUTHOR_DATE": git("log", "-1", "--format=%aI", commit), **who}
        parent = git("commit-tree", f"{commit}^{{tree}}", "-p", parent, "-F", "-",
                     env=env, stdin=git("log", "-1", "--format=%B", commit).encode(
                         errors="surrogateescape"))
    return parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sub = parser.add_subparsers(dest="command", required=True)
    for name in ("import", "tree", "export", "commits", "unexported"):
        one = sub.add_parser(name)
        if name == "export":
            one.add_argument("--check", action="store_true", help="write nothing")
    letter = sub.add_parser("mail")
    letter.add_argument("out")
    letter.add_argument("--figures", help="folder of the measurement to quote in the cover letter")
    letter.add_argument("--signoff", default="", help="Name <address>")
    letter.add_argument("--version", default="", help="2 for [PATCH v2 ...]")
    args = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    if args.command == "import":
        import_source()
    elif args.command == "tree":
        make_tree()
    elif args.command == "export":
        export(args.check)
    elif args.command == "mail":
        mail(args.out, args.figures, args.signoff, args.version)
    elif args.command == "unexported":
        refuse_to_lose_work()
    else:
        say(git("log", "--reverse", "--format=%h %s", f"base..{BUILT}"))


if __name__ == "__main__":
    try:
        main()
    except Fail as why:
        sys.exit(f"series: {why}")
    except KeyboardInterrupt:
        sys.exit("series: interrupted; run the same command again")
