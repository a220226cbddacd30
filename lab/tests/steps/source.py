# SPDX-License-Identifier: GPL-2.0
"""The tools and the series: round trip, mails."""

import subprocess
import tempfile
import traceback
import unittest
from pathlib import Path

import series
import users
from harness import LOGS, TOP, all_pass, disk, image_of, must, say, selftests_in_guest, tap
from steps.patches import each_commit

# what checkpatch --strict may go on saying, by a word of the subject, and why
EXCUSED = {
    "exec_storm": "CAMELCASE,ARCH_DEFINES",     # glibc's ElfW(Ehdr); rdtsc is x86's
    "trace": "OPEN_ENDED_LINE,PARENTHESIS_ALIGNMENT",   # as every TRACE_EVENT() is written
    # what FUSE calls a request that is not served; FIXTURE_DATA() is a type
    "fault_retry": "ENOSYS,SPACING",
    "testing-vma": "LINE_SPACING",              # VMA_ITERATOR() is a declaration
}


class TapResult(unittest.TestResult):
    @staticmethod
    def name(test):
        return "tools: " + test.id().replace("test_", "", 1)

    def addSuccess(self, test):
        tap.ok(self.name(test))

    def addFailure(self, test, err):
        tap.fail(self.name(test), "".join(traceback.format_exception(*err)))

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        if err: # of the test itself, unittest says nothing then
            self.addFailure(subtest, err)

    def addSkip(self, test, reason):
        tap.skip(self.name(test), reason)


def step_tools():
    """fetch, tree, export, series, reports: on small sources of their own"""
    suite = unittest.defaultTestLoader.discover(TOP / "lab/tests", "test_*.py")
    suite.run(TapResult())


def step_series():
    """the real series: export and mail give the tree back, checkpatch and users.ini are content"""
    must("series: an export gives the same commits and files",
         [TOP / "lab/kernel/series.py", "export", "--check"])
    with tempfile.TemporaryDirectory(prefix="check-") as tmp:
        room = Path(tmp)
        mails = room / "mail"
        if must("series: mail", [TOP / "lab/kernel/series.py", "mail", mails]):
            patches = [path for path in sorted(mails.glob("*/*.patch"))
                       if not path.name.endswith("0000-cover-letter.patch")]
            apply_mails(patches, room / "am", series.with_rfc(series.rev("series")))
            for patch in patches:
                excuse = [f"--ignore={types}" for word, types in EXCUSED.items() if word in patch.name]
                must(f"series: checkpatch {patch.name}",
                     [series.PATCHED / "scripts/checkpatch.pl", "--strict", "--no-signoff",
                      f"--root={series.PATCHED}", *excuse, patch], cwd=room)
    users.check("series")
    tap.ok("series: nobody uses what it takes away (lab/kernel/users.ini)")


def apply_mails(patches, tree, expected):
    """git am on the pristine source, of which only the files concerned are laid out."""
    git = ["git", f"--git-dir={series.GITDIR}"]
    touched = subprocess.run([*git, "diff", "--name-only", "base", expected], text=True,
                             stdout=subprocess.PIPE, check=True).stdout
    try:
        for argv in ([*git, "worktree", "add", "-q", "--no-checkout", "--detach", tree, "base"],
                     ["git", "-C", tree, "sparse-checkout", "set", "--no-cone", *touched.split()],
                     ["git", "-C", tree, "checkout", "-q"]):
            subprocess.run(argv, check=True)
        must("series: git am on the pristine source",
             ["git", "-C", tree, "-c", "user.name=check", "-c", "user.email=check@localhost",
              "am", "-q", *patches])
        same = subprocess.run(["git", "-C", tree, "diff", "--quiet", "HEAD", expected],
                              check=False).returncode
        tap.result(same == 0, "series: git am gives the same tree", f"git diff HEAD {expected} differs")
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", tree], check=False)


def step_rfc():
    """with the RFC patches, too, page faults that wait pass their tests"""
    tree, _ = each_commit()
    head = series.with_rfc(series.rev("series"))
    if head == series.rev("series"):
        say("there is nothing in rfc/")
        return
    subprocess.run(["git", "-C", tree, "checkout", "-q", "--detach", head], check=True)
    if must("RFC: builds", [TOP / "lab/kernel/kernel", "each"]):
        categories = ("fault_retry", "file_rmap")
        all_pass("RFC", selftests_in_guest(image_of("each"), disk(), LOGS / "rfc", categories), categories)
