# SPDX-License-Identifier: GPL-2.0
"""The tools and the series: round trip, mails."""

import os
import subprocess
import tempfile
import traceback
import unittest
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import guest
import repo
import series
import users
from harness import (LOGS, TOP, Fail, command, disk, kernel_of, lives, log_of, must, say, tap,
                     up_to_date)

# what checkpatch --strict may go on saying, by a word of the subject, and why
EXCUSED = {
    # the tree has no history to look them up in
    "populate": "UNKNOWN_COMMIT_ID",
    "sched-mmcid": "UNKNOWN_COMMIT_ID",
    "GCS-accesses": "UNKNOWN_COMMIT_ID",
    "link-VMAs": "UNKNOWN_COMMIT_ID",
    "counts-of-struct-inode": "UNKNOWN_COMMIT_ID",
    "trace": "OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT",   # as every TRACE_EVENT() is written
    # FIXTURE_DATA() is a type; and what FUSE calls a request that is not served
    "fault_retry": "ENOSYS,SPACING",
    "text_folios": "SPACING",
    "mm_cid_test": "FILE_PATH_CHANGES",         # MAINTAINERS has the folder
    "testing-vma": "LINE_SPACING",              # VMA_ITERATOR() is a declaration
}


class Found(unittest.TestResult):
    """(kind, name, why) of each result, as Tap has them, for a process that has no tap."""

    def __init__(self):
        super().__init__()
        self.all = []

    def add(self, kind, test, *why):
        self.all.append((kind, "tools: " + test.id().replace("test_", "", 1), *why))

    def addSuccess(self, test):
        self.add("ok", test)

    def addFailure(self, test, err):
        self.add("fail", test, "".join(traceback.format_exception(*err)))

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        if err: # of the test itself, unittest says nothing then
            self.addFailure(subtest, err)

    def addSkip(self, test, reason):
        self.add("skip", test, reason)


def run_test(test):
    found = Found()
    test.run(found)
    return found.all


def tests_in(suite):
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from tests_in(one)
        else:
            yield one


def step_tools():
    """fetch, tree, export, series, reports: on small sources of their own"""
    suite = unittest.defaultTestLoader.discover(TOP / "lab/tests", "test_*.py")
    # each has a BUILD of its own
    with ProcessPoolExecutor() as pool:
        for found in pool.map(run_test, tests_in(suite)):
            for kind, *what in found:
                getattr(tap, kind)(*what)


def step_series():
    """the postings: export and mail give their trees back, checkpatch and users.ini are content"""
    must("series: an export gives the same commits and files",
         [TOP / "lab/kernel/series.py", "export", "--check"])
    with tempfile.TemporaryDirectory(prefix="check-") as tmp:
        room = Path(tmp)
        mails = room / "mail"
        if not must("series: mail", [TOP / "lab/kernel/series.py", "mail", mails], env={"POSTING": ""}):
            return
        for one in series.postings.read():
            patches = sorted((mails / one.name).glob("*.patch"))[1:]    # behind the cover letter
            if patches:
                apply_mails(one, patches, room / "am")
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for patch, (name, status, text) in zip(patches, pool.map(checkpatch, patches)):
                    tap.result(status == 0, name, text, log_of(name))
    for patch in sorted((TOP / "postings/experiments").glob("*.patch")):
        must(f"series: experiments/{patch.name} applies to 7.3", ["git", "-C", series.BASE, "apply", "--check", patch])
    users.check(*(f"refs/heads/{branch}" for branch in repo.branches()))
    tap.ok("series: nobody uses what it takes away (lab/kernel/users.ini)")


def checkpatch(patch):
    """(name, status, output) of it."""
    name = f"series: checkpatch {patch.parent.name}/{patch.name}"
    excuse = [f"--ignore={types}" for word, types in EXCUSED.items() if word in patch.name]
    return name, *command(name, [series.PATCHED / "scripts/checkpatch.pl", "--strict", "--no-signoff",
                                 f"--root={series.PATCHED}", *excuse, patch],
                          cwd=patch.parent)


def apply_mails(one, patches, tree):
    """git am on what the posting stands on, of which only the files concerned are laid out."""
    git = ["git", f"--git-dir={series.GITDIR}"]
    begin = series.rev(f"{one.name}~{len(one.entries)}")
    touched = series.git("diff", "--name-only", begin, one.name).split()
    try:
        for argv in ([*git, "worktree", "add", "-q", "--no-checkout", "--detach", tree, begin],
                     ["git", "-C", tree, "sparse-checkout", "set", "--no-cone", *touched],
                     ["git", "-C", tree, "checkout", "-q"]):
            subprocess.run(argv, check=True)
        must(f"series: {one.name}: git am on its base",
             ["git", "-C", tree, "-c", "user.name=check", "-c", "user.email=check@localhost",
              "am", "-q", *patches])
        same = subprocess.run(["git", "-C", tree, "diff", "--quiet", "HEAD", one.name],
                              check=False).returncode
        tap.result(same == 0, f"series: {one.name}: git am gives the same tree", "git diff says otherwise")
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", tree], check=False)


def step_postings():
    """each posting alone builds, boots, and passes the steps that its file tests names"""
    tree = [TOP / "lab/kernel/series.py", "tree", "--posting"]
    if not must("make tree, all postings", [*tree, ""]):    # results go by the trees of its branches
        return
    parts = tap.first_to_last([(series.git("rev-parse", f"{one.name}^{{tree}}"), one)
                               for one in series.postings.read() if one.entries])
    try:
        for one in tap.by_part(parts):
            up_to_date.cache_clear()
            begin = len(tap.results)
            try:
                if must("make tree", [*tree, one.name]):
                    alone(one)
            except Fail as why: # the others still run
                tap.fail("goes on to its end", why)
            for result in tap.results[begin:]:
                result["name"] = f"{one.name}: {result['name']}"
    finally:
        up_to_date.cache_clear()
        must("make tree, all postings", [*tree, ""])


def alone(one):
    import evidence # which imports this
    say(f"{one.name}, alone on {' '.join(one.lines('base'))}")
    lives("boots", guest.Guest(kernel_of("patched"), disk()), "./storm-suite -t 1 /run/out fork",
          out=LOGS / f"posting-{one.name}")
    for line in one.tests:
        step, *categories = line.split("#")[0].split()
        evidence.steps()[step](*([tuple(categories)] if categories else []))
