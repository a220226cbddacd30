# SPDX-License-Identifier: GPL-2.0
"""Other sources than the one that the series is made for."""

import os
import shutil
import subprocess

import guest
import series
from harness import BUILD, LOGS, TOP, command, disk, in_guest, must, say, tap

JOB = "#!/usr/bin/busybox sh\nexec ./storm-suite -t 2 /run/out exec fork\n"


def step_bases():
    """the series applies to mainline and to the newest 7.3.y, and both build and boot with it"""
    status, text = command("bases: sources", [TOP / "lab/kernel/other-sources"])
    found = dict(line.split(" ", 1) for line in text.splitlines() if " LINUX_" in line)
    for name, source in found.items():
        one_base(name, source)
    if status:
        tap.skip("bases: mainline" if not found else "bases: the newest 7.3.y",
                 text.strip().splitlines()[-1])
    elif "newest" not in found:
        say("the newest 7.3.y is the one that all other steps are about")


def one_base(name, source):
    """Fetch, git am, build, boot, in a BUILD of its own that shares ccache and disk."""
    room = BUILD / "others" / name
    env = {"BUILD": str(room), "CCACHE_DIR": os.environ.get("CCACHE_DIR", str(BUILD / "ccache")),
           # its own, whatever the other steps' is made from
           "LINUX_DEB": "", "LINUX_TARBALL": "", "LINUX_SRC": ""}
    make = ["make", "-C", TOP, "SETUP=no", f"BUILD={room}", source]
    if not must(f"bases: {name}: the queue applies", [*make, "tree"], env=env):
        return
    if not must(f"bases: {name}: mails", [TOP / "lab/kernel/series.py", "mail", room / "mails"], env=env):
        return
    # each as it stands on this source; one that stands on others has been applied by make tree
    alone = [one.name for one in series.postings.read() if not one.beneath]
    tree = room / "am"
    git = ["git", f"--git-dir={room / 'kernel.git'}"]
    shutil.rmtree(tree, ignore_errors=True)
    subprocess.run([*git, "worktree", "prune"], check=True)
    subprocess.run([*git, "worktree", "add", "-q", "--detach", tree, "base"], check=True)
    try:
        for folder in sorted(one for one in (room / "mails").iterdir() if one.name in alone):
            subprocess.run(["git", "-C", tree, "checkout", "-q", "--detach", "base"], check=True)
            must(f"bases: {name}: git am {folder.name}",
                 ["git", "-C", tree, "-c", "user.name=check", "-c", "user.email=check@localhost",
                  "am", "-q", *sorted(folder.glob("*.patch"))[1:]])
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", tree], check=False)
    for side in ("base", "patched"):
        if not must(f"bases: {name}: {side} builds", [TOP / "lab/kernel/kernel", side], env=env):
            continue
        kernel = room / side / "guest/arch/x86/boot/bzImage"
        result = in_guest(guest.Guest(kernel, disk(), timeout=300), JOB, [TOP / "lab/server/storm-suite"],
                          out=LOGS / f"bases-{name}-{side}")
        tap.result(result.ok, f"bases: {name}: {side} boots and storms", result.explain())
