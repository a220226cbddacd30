# SPDX-License-Identifier: GPL-2.0
"""From the queue to work trees: the pristine source, and the postings' branches on it.

No branch moves and nothing in a work tree is touched until all postings apply, and then only
files that differ are written, so that make rebuilds only what it must.
"""

import shutil

from export import finish_export
from pinned import merging
from postings import build, pick, read
from repo import (ALL, BASE, BUILD, BUILT, EACH, GITDIR, PATCHED, PROJECT, Fail, branches, commits_of,
                  git, git_in, is_worktree, of, rev, run, same_commits, say)
from users import check
from work import checked_out, refuse_changes, refuse_hand_commits, refuse_to_lose_work


# --- the pristine source --------------------------------------------------------

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
    git("update-ref", "-d", "refs/tags/base")
    for branch in branches() or [ALL]:
        forget(branch)
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


def find_worktrees():
    """Repository and work trees name each other by absolute paths: put them right when the
    checkout was moved. Not git worktree repair: in a copy, that would change the original's."""
    for tree in (BASE, PATCHED, EACH):
        link = tree / ".git"
        known = GITDIR / "worktrees" / link.read_text().strip().rpartition("/")[2] \
            if link.is_file() else None
        if known and (known / "gitdir").exists():
            for path, text in ((link, f"gitdir: {known}\n"), (known / "gitdir", f"{link}\n")):
                if path.read_text() != text:
                    path.write_text(text)


def forget(branch):
    for ref in (f"refs/heads/{branch}", of(branch)):
        git("update-ref", "-d", ref)


# --- make tree --------------------------------------------------------------------

def make_tree(word=""):
    import_source()
    if git_in(BASE, "status", "--porcelain"):
        raise Fail(f"{BASE} is the pristine source and was changed: "
                   f"git -C {BASE} checkout . puts it back")
    finish_export()
    one = pick(read(), word)
    wanted = one.name if one else ALL
    # all in the object store, before a branch moves
    made = {branch: [step.commit for step in steps] for branch, steps in merging(build, "base").items()}
    check(*{commits[-1] for branch, commits in made.items() if commits and commits[-1] != rev(of(branch))})
    if PATCHED.exists() and any(PATCHED.iterdir()) and not is_worktree(PATCHED):
        raise Fail(f"{PATCHED} is no tree of ours: move it away")
    if rev(BUILT):
        move_branches(made, wanted)
    else: # the first time, or one that did not come to its end
        lay_out(made, wanted)
    where = f"{wanted}: {len(made[wanted])}" if one else len(made[ALL])
    say(f"tree: {where} patches on {git('log', '-1', '--format=%s', 'base')} in {PATCHED}")


def lay_out(made, wanted):
    say("checking out the patched tree")
    new = (made[wanted] or ["base"])[-1]
    if not is_worktree(PATCHED):
        PATCHED.parent.mkdir(parents=True, exist_ok=True)
        git("worktree", "prune")
        git("worktree", "add", "-q", "-f", "--no-checkout", "-B", wanted, PATCHED, new)
    git_in(PATCHED, "checkout", "-q", "-f", "-B", wanted, new)
    for branch in sorted(made, key=lambda name: name == ALL): # which says that all is there
        put(branch, (made[branch] or ["base"])[-1])


def put(branch, new):
    git("update-ref", f"refs/heads/{branch}", new)
    git("update-ref", of(branch), new)


def move_branches(made, wanted):
    if not is_worktree(PATCHED): # somebody removed it; its commits are still there
        git("worktree", "prune")
        git("worktree", "add", "-q", "-f", PATCHED, ALL)
    here = checked_out()
    gone = [branch for branch in branches() if branch not in made]
    for branch in gone:
        refuse_hand_commits(branch)
    heads = {branch: rev((commits or ["base"])[-1]) for branch, commits in made.items()}
    for branch, new in heads.items():
        head = rev(f"refs/heads/{branch}")
        if head not in (None, new) and (head == rev(of(branch))
                                        or same_commits(made[branch], commits_of(branch))):
            refuse_hand_commits(branch)
    if here != wanted or rev(f"refs/heads/{here}") != heads[here]:
        refuse_changes()
        # to the new commits at once: only files that differ between old and new are written
        git_in(PATCHED, "checkout", "-q", "--detach", heads[wanted])
    for branch, new in heads.items():
        put(branch, new)
    git_in(PATCHED, "symbolic-ref", "HEAD", f"refs/heads/{wanted}")
    for branch in gone:
        forget(branch)
