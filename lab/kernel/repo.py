# SPDX-License-Identifier: GPL-2.0
"""The kernel's repository in $BUILD: where it is, and git on it.

Branch "series" is all postings together, in the order of their numbers; each posting has a
branch of its own name on its own base. For each, of(branch) is a ref that says what the queue
made of it: what a branch has beyond that, somebody did by hand.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))
from fail import Fail           # noqa: E402

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD") or TOP / "build").resolve()
QUEUE = Path(os.environ.get("QUEUE", TOP)).resolve()
GITDIR = BUILD / "kernel.git"
BASE = BUILD / "base" / "src"
PATCHED = BUILD / "patched" / "src"
EACH = BUILD / "each" / "src"
ALL = "series"                  # the branch of all postings together
BUILT = "refs/queue/built"      # what the queue made of it
PROJECT = ("The file rmap project", "project@file-rmap.invalid")


def run(cmd, *, cwd=None, env=None, stdin=None, check=True):
    full = dict(os.environ, LC_ALL="C", GIT_CONFIG_NOSYSTEM="1",
                GIT_CONFIG_GLOBAL=os.devnull, GIT_TERMINAL_PROMPT="0")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        full.pop(name, None)
    full.update(env or {})
    try:
        done = subprocess.run([str(c) for c in cmd], cwd=cwd, env=full, input=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError as missing:
        raise Fail(f"{missing.filename} is missing: run make setup") from None
    if check and done.returncode:
        err = done.stderr.decode(errors="replace").strip()
        raise Fail(f"{' '.join(str(c) for c in cmd[:4])} failed: {err}")
    return done


def git(*args, **kw):
    """git on the kernel's repository; text out, one trailing newline less."""
    # or hunks are said to be in "fail:" instead of a function
    out = run(["git", f"--git-dir={GITDIR}", "-c", f"core.attributesFile={BASE}/.gitattributes", *args],
              **kw).stdout
    return out.decode(errors="surrogateescape").rstrip("\n")


def git_in(tree, *args, **kw):
    return run(["git", "-C", tree, *args], **kw).stdout.decode(
        errors="surrogateescape").rstrip("\n")


def rev(name):
    out = run(["git", f"--git-dir={GITDIR}", "rev-parse", "-q", "--verify",
               f"{name}^{{commit}}"], check=False)
    return out.stdout.decode().strip() or None


def say(text):
    print(text, flush=True)


def of(branch):
    return BUILT if branch == ALL else f"refs/queue/{branch}"


def branches():
    """Those which the queue was made into."""
    refs = git("for-each-ref", "--format=%(refname)", "refs/queue/").split()
    return sorted(ALL if ref == BUILT else ref.removeprefix("refs/queue/") for ref in refs)


def is_worktree(path):
    """A work tree of ours: .git points to the repository, which knows it."""
    return path.exists() and git_in(path, "rev-parse", "--git-common-dir", check=False) \
        == str(GITDIR) and (path / ".git").exists()


def commits_of(branch, base="base"):
    return git("rev-list", "--reverse", f"{base}..{branch}").split()


def all_commits():
    """Those of branch series, then those of postings that read otherwise alone."""
    found = {}
    for branch in sorted(branches(), key=lambda name: (name != ALL, name)) if GITDIR.exists() else []:
        found |= dict.fromkeys(commits_of(branch))
    return list(found)


def same_commits(ours, theirs):
    """Do two lists of commits say the same? None, or (commit, what differs)."""
    if len(ours) != len(theirs):
        return theirs[-1] if theirs else "base", "number of commits"
    for mine, other in zip(ours, theirs):
        for what, form in (("author or date", "%an <%ae> %at"), ("message", "%B"), ("content", "%T")):
            if (git("log", "-1", f"--format={form}", mine).strip()
                    != git("log", "-1", f"--format={form}", other).strip()):
                return other, what
    return None


def each_tree():
    """The work tree in which commits are checked out one by one, made if it is not there."""
    if not is_worktree(EACH): # what is left of one is none
        shutil.rmtree(EACH, ignore_errors=True)
        EACH.parent.mkdir(parents=True, exist_ok=True)
        git("worktree", "prune")
        git("worktree", "add", "-q", "--detach", EACH, "base")
    return EACH
