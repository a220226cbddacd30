# SPDX-License-Identifier: GPL-2.0
"""What a merge of three sides needs, where the kernel source is not the one of source.pin.

A patch that does not apply as it is can be merged, if the repository has the files as the patch
knew them: those of the pinned source, and of every commit of the queue on top of it. So the queue
is built on the pinned source, too, of which only the files that it edits are taken.
"""

import os
import re
import tempfile
from pathlib import Path

from repo import GITDIR, PROJECT, QUEUE, TOP, Fail, git, run, say

ADVICE = ("Rebase the series on this source, or give the source it was made for, or the posting a second "
          "form of it (CONTRIBUTING.md)")
PIN = Path(os.environ.get("SOURCE_PIN") or TOP / "lab/kernel/source.pin")


class Lacks(Fail):
    """A patch does not apply, and the old files are not known, with which it might merge."""


def merging(build, start):
    """What build(start) makes of the queue; once more with the old files known if it lacks them."""
    try:
        return build(start)
    except Lacks as why:
        package, version, checksum = PIN.read_text().splitlines()[-1].split()
        if f"sha256 {checksum}" in git("log", "-1", "--format=%B", start):
            raise Fail(f"{why}. {ADVICE}") from None
        learn(build, why, f"{package} {version}")
        return build(start)


def learn(build, why, pin):
    """Have the pinned source's files, and what the queue makes of them, in the repository."""
    say(f"{why}: getting {pin}, to merge three ways")
    with tempfile.TemporaryDirectory(prefix="pinned-", dir=GITDIR) as tmp:
        room, tar = Path(tmp) / "src", Path(tmp) / "linux.tar"
        room.mkdir()
        done = run([TOP / "lab/kernel/fetch", "--pinned", tar], check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise Fail(f"{why}. The source that the series was made on would help to merge it: "
                       f"{said[-1] if said else pin}")
        # tar ends with an error for those which are the queue's own new files
        run(["tar", "-C", room, "--strip-components=1", "--no-same-owner", "--wildcards",
             "--no-wildcards-match-slash", "-xf", tar, *(f"*/{path}" for path in edited())], check=False)
        env = {"GIT_INDEX_FILE": str(Path(tmp) / "index"), "GIT_WORK_TREE": str(room)}
        git("add", "-A", "-f", ".", cwd=room, env=env)
        for role in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{role}_NAME": PROJECT[0], f"GIT_{role}_EMAIL": PROJECT[1]}
        start = git("commit-tree", git("write-tree", env=env), "-m", pin, env=env)
    try:
        build(start)
    except Fail as other:
        raise Fail(f"{why}; and on {pin}, with which it might merge: {other}") from None


def edited():
    """Paths that the queue's patches edit."""
    texts = (patch.read_text(errors="surrogateescape") for patch in (QUEUE / "postings").rglob("*.patch"))
    return sorted({path for text in texts for path in re.findall(r"^diff --git a/(\S+) b/", text, re.M)})


def failure(label, diff, err, env):
    """The exception for a patch that git apply --3way has refused with these words, env having
    the index that it left."""
    what = f"{label} does not apply: {conflict(diff, env) or first_line(err)}"
    if b"lacks the necessary blob" in err:
        return Lacks(what)
    return Fail(f"{what}. {ADVICE}")


def first_line(err):
    """Of what git apply says, the line that names file and hunk."""
    lines = [line.removeprefix("error: ") for line in err.decode(errors="replace").splitlines()]
    for word in ("patch failed:", "does not exist", "does not match", ""):
        for line in lines:
            if word in line:
                return line.strip().rstrip(".")
    return "no reason given"


def conflict(diff, env):
    """File and hunk of the first conflict that a merge has left in the index, if any."""
    sides = {}
    for line in git("ls-files", "-u", env=env).splitlines():
        about, path = line.split("\t", 1)
        _, blob, stage = about.split()
        sides.setdefault(path, {})[stage] = blob
    for path, blobs in sides.items():
        if not {"1", "2"} <= blobs.keys():
            return f"{path} is not in this source as the patch knows it"
        part = next(one for one in re.split(r"^(?=diff --git )", diff.read_text(errors="surrogateescape"),
                                            flags=re.M) if f" b/{path}\n" in one)
        head, *hunks = re.split(r"^(?=@@ )", part, flags=re.M)
        for hunk in hunks:
            if not merges(path, blobs, head + hunk):
                return f"{path}, hunk {hunk.splitlines()[0]}, after a merge of three sides"
    return None


def merges(path, blobs, diff):
    """Can one hunk alone be merged?"""
    with tempfile.TemporaryDirectory(prefix="hunk-") as tmp:
        room = Path(tmp)
        old, ours, new = room / "old", room / "ours", room / path
        new.parent.mkdir(parents=True, exist_ok=True)
        for file, stage in ((old, "1"), (ours, "2"), (new, "1")):
            file.write_bytes(run(["git", f"--git-dir={GITDIR}", "cat-file", "blob", blobs[stage]]).stdout)
        run(["git", "apply"], cwd=room, stdin=diff.encode(errors="surrogateescape"),
            env={"GIT_CEILING_DIRECTORIES": str(room.parent)})
        return run(["git", "merge-file", "-q", "-p", ours, old, new], check=False).returncode == 0
