# SPDX-License-Identifier: GPL-2.0
"""From commits back to the queue: the branch that is checked out becomes patch files.

On a posting's branch that is this posting (and those beneath it), on branch series all. A patch
that still says the same is kept as it is, with notes below its ---. One that was edited goes where
the branch had it from: patches/, or on-K/ if it had a second form. Nothing is written unless the
files give these commits again and all other branches still apply.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from postings import Builder, build, new_files, read, stacks
from repo import (ALL, GITDIR, PATCHED, QUEUE, Fail, commits_of, git, git_in, is_worktree, of, rev, run,
                  same_commits, say)
from work import checked_out, drop_hint, refuse_changes

READY = QUEUE / ".export-ready"


def export(check=False):
    base, built = rev("base"), rev(of(ALL))
    if not (base and built and is_worktree(PATCHED)):
        raise Fail("there is no tree to export: run make tree")
    branch = checked_out()
    refuse_changes()
    finish_export()
    if run(["git", f"--git-dir={GITDIR}", "merge-base", "--is-ancestor", base, branch],
           check=False).returncode or git("rev-list", "--merges", f"{base}..{branch}"):
        raise Fail(f"branch {branch} is not a straight line from tag base: "
                   "git rebase base first")
    commits = commits_of(branch)
    found = read()
    if branch not in stacks(found):
        raise Fail(f"branch {branch} is of no posting any more: make tree")
    stack = stacks(found)[branch]
    if not commits and any(one.entries for one in stack):
        raise Fail(f"branch {branch} has no commit on top of base: nothing to export")
    files = new_files(QUEUE, found)
    before = Builder(files).build(base, stack)
    ours = [step.commit for step in before]
    if [base, *ours][-1] != rev(of(branch)) and same_commits(ours, commits):
        raise Fail("the overlay or postings/ were edited since the last make tree, and "
                   f"an export would overwrite that: git stash it here, or {drop_hint(branch)}")
    with tempfile.TemporaryDirectory(dir=QUEUE, prefix=".export-") as tmp:
        room = Path(tmp) / "queue"
        shutil.copytree(QUEUE / "postings", room / "postings")
        added = write_postings(room, branch, stack, commits, before)
        try:
            write_overlay(room, {**files, **added}, base)
            made = build(base, room)
        except Fail as why:
            raise Fail(f"as patch files the commits do not survive: {why}; nothing was "
                       f"written, mend the commit, or edit on branch {ALL}") from None
        wrong = same_commits([step.commit for step in made[branch]], commits)
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
    new = {name: (["base"] + [step.commit for step in steps])[-1] for name, steps in build(base).items()}
    git_in(PATCHED, "reset", "-q", "--keep", new[branch])
    git("update-ref", of(branch), new[branch])
    others = [name for name in sorted(new) if name != branch and rev(name) != rev(new[name])]
    say(f"exported {len(commits)} commits to {QUEUE}"
        + (f"; make tree takes {', '.join(others)} along" if others else ""))


# --- patch files ------------------------------------------------------------------

def write_postings(room, branch, stack, commits, before):
    """Write the postings of a stack anew; {new file: its blob} of what they add."""
    new = set(git("diff", "--no-renames", "--diff-filter=A", "--name-only",
                  "base", (["base"] + commits)[-1]).splitlines())
    added_by = {path: commit for commit in commits
                for status, path in changed(commit) if status == "A" and path in new}
    owners = owners_of(branch, stack, commits, before)
    for one in stack:
        mine = [commit for commit in commits if owners[commit] is one]
        write_posting(room / "postings" / one.name, mine,
                      [step for step in before if step.posting is one], added_by)
    return {path: blob_of(commit, path) for path, commit in added_by.items()}


def owners_of(branch, stack, commits, before):
    """{commit: its posting}. Known by its hash or its subject. A new one belongs to the posting of
    the commit before it; at the end of a posting's own branch, to this posting."""
    known = {step.commit: step.posting for step in before}
    known |= {subject_of(step.commit): step.posting for step in before}
    found = [known.get(commit) or known.get(subject_of(commit)) for commit in commits]
    if len(found) == len(before): # a new subject in the old place
        found = [one or step.posting for one, step in zip(found, before)]
    if branch != ALL:
        for place in range(len(found) - 1, -1, -1):
            if found[place]:
                break
            found[place] = stack[-1]
    owners, last = {}, before[0].posting if before else stack[0]
    for commit, one in zip(commits, found):
        one = one or last
        if stack.index(one) < stack.index(last):
            raise Fail(f"\"{subject_of(commit)}\" of {one.name} stands behind a commit of {last.name}: "
                       "sort them by posting")
        owners[commit] = last = one
    return owners


def subject_of(commit):
    return git("log", "-1", "--format=%s", commit)


def write_posting(folder, commits, before, added_by):
    said = {patch_text(step.commit, step.entry.files): step for step in before}
    subjects = {subject_of(step.commit): step for step in before}
    lines = [l for l in (folder / "series").read_text().splitlines() if l.startswith("#")]
    old = folder.with_name(folder.name + ".old")
    folder.rename(old)
    (folder / "patches").mkdir(parents=True)
    for path in old.iterdir():
        if path.is_file():
            path.rename(folder / path.name)
    for number, commit in enumerate(commits, 1):
        mine = sorted(path for path, by in added_by.items() if by == commit)
        name, text = file_name(number, commit), patch_text(commit, mine)
        line = " ".join([name, *mine])
        step = said.get(text) or subjects.get(subject_of(commit))
        target = "patches"
        if step:
            target = step.path.parent.name
            for form in old.glob(f"*/{step.entry.patch}"): # those for other branches go along
                (folder / form.parent.name).mkdir(exist_ok=True)
                shutil.copy(form, folder / form.parent.name / name)
            if text in said:
                kept = step.path.read_text(errors="surrogateescape")
                if "\nindex " in kept or "\nindex " not in text: # what a 3-way merge needs
                    text = kept
            if step.entry.line.split("#")[0].split() == line.split():
                line = step.entry.line
        (folder / target / name).write_text(text, errors="surrogateescape")
        lines.append(line)
    shutil.rmtree(old)
    (folder / "series").write_text("".join(f"{line}\n" for line in lines))


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


# --- the overlay ------------------------------------------------------------------

def blob_of(commit, path):
    mode, _, blob, *_ = (git("ls-tree", commit, "--", path) or "none - -").split()
    if mode not in ("100644", "100755") or re.search(r"[\s#]", path):
        raise Fail(f"{path} cannot stand in the overlay: a new file is an ordinary "
                   "file whose name has no blank and no #")
    return f"{mode},{blob}"


def write_overlay(room, files, base):
    """The new files of all postings as all of them together leave them."""
    for name in files:      # read() wants them there
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        (room / name).touch()
    found = read(room)
    stack, builder = stacks(found), Builder(files)
    listed = {name: one for one in found for entry in one.entries for name in entry.files}
    for name in files:
        if name not in listed:
            (room / name).unlink()
            continue
        branch = listed[name].name if listed[name].rfc else ALL
        mode, _, blob = blob_of(builder.build(base, stack[branch])[-1].commit, name).partition(",")
        (room / name).write_bytes(run(["git", f"--git-dir={GITDIR}", "cat-file", "blob", blob]).stdout)
        (room / name).chmod(0o755 if mode == "100755" else 0o644)


# --- putting it in place ------------------------------------------------------------

def files_of(queue):
    """All that an export may write or remove, also of a queue that is half in place."""
    names = {str(path.relative_to(queue)) for path in (queue / "postings").glob("[0-9]*-*/**/*")
             if path.is_file()}
    for series in (queue / "postings").glob("[0-9]*-*/series"):
        for line in series.read_text().splitlines():
            names.update(line.split("#")[0].split()[1:])
    return {name for name in names if (queue / name).exists()}


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
                       "and this one is in no series; move it away")


def finish_export():
    """Put a verified export in place. Can be interrupted and done again: until the last file,
    the old series tell what is to be removed."""
    if not READY.exists():
        return
    keep = files_of(READY)
    for name in files_of(QUEUE) - keep:
        (QUEUE / name).unlink(missing_ok=True)
    for name in sorted(keep, key=lambda one: one.endswith("/series")):
        if not same_file(READY / name, QUEUE / name): # others keep their time stamp
            target = QUEUE / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(READY / name, target.with_name(target.name + ".export"))
            os.replace(target.with_name(target.name + ".export"), target)
    shutil.rmtree(READY)
