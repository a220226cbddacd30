# SPDX-License-Identifier: GPL-2.0
"""Work in the patched tree that the queue does not have: it is never thrown away."""

from repo import ALL, BUILT, GITDIR, PATCHED, Fail, branches, git, git_in, is_worktree, of, rev


def checked_out():
    """The branch in the patched tree; refuses what is none of the queue's."""
    where = git_in(PATCHED, "symbolic-ref", "-q", "HEAD", check=False).removeprefix("refs/heads/")
    if where not in branches():
        raise Fail(f"{PATCHED} is on {where or 'no branch'}, not on one that make tree made (a rebase "
                   f"under way?): finish it, or git checkout {ALL} there")
    return where


def dirty():
    return git_in(PATCHED, "status", "--porcelain", "-uall") if is_worktree(PATCHED) else ""


def first_of(changes):
    return changes.splitlines()[0].strip()


def drop_hint(branch):
    return f"git -C {PATCHED} checkout -q {branch} && git -C {PATCHED} reset --keep {of(branch)}"


def hand_commits(branch):
    """What a branch has that did not come from the queue, newest first."""
    built, head = rev(of(branch)) or rev("base"), rev(f"refs/heads/{branch}")
    if not head or head == built:
        return []
    return git("log", "--format=%h %s", f"{built}..{head}").splitlines() \
        or [f"{head[:12]} (moved back)"]


def refuse_hand_commits(branch):
    """Before a branch moves: nothing that a person did there is lost."""
    commits = hand_commits(branch)
    if commits:
        raise Fail(f"branch {branch} in {PATCHED} has {len(commits)} change(s) that the queue does not "
                   f"have, the newest \"{commits[0]}\": make export on that branch takes them "
                   f"in, {drop_hint(branch)} drops them")


def refuse_changes():
    """Likewise before the files of the work tree change."""
    changes = dirty()
    if changes:
        raise Fail(f"{PATCHED} has uncommitted changes ({first_of(changes)}): "
                   "commit them and make export, or undo them")


def refuse_to_lose_work():
    """Before the repository or its work trees go: no branch, no stash and no
    detached HEAD may hold a commit that came from nowhere else."""
    if not GITDIR.exists() or not rev("base"):
        return
    for branch in branches():
        refuse_hand_commits(branch)
    refuse_changes()
    if not rev(BUILT):
        return # no tree was ever finished, so nobody worked in one
    heads = [git_in(PATCHED, "rev-parse", "HEAD")] if is_worktree(PATCHED) else []
    stash = ["refs/stash"] if rev("refs/stash") else []
    lost = git("log", "--format=%h %s", "--branches", *heads, *stash, "--not", "base",
               *map(of, branches()))
    if lost:
        raise Fail(f"{GITDIR} has commits that are nowhere else, the newest "
                   f"\"{lost.splitlines()[0]}\" (git --git-dir={GITDIR} branch -a): "
                   "make export takes in those of a posting's branch; delete or move the others")
