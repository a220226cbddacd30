# SPDX-License-Identifier: GPL-2.0
"""Other sources than the one that the series is made for."""

import os
import re
import shutil
import subprocess

import guest
import series
from harness import BUILD, LOGS, TOP, command, disk, lives, must, say, tap


def step_bases():
    """the series applies to mainline, every other 7.3.y and 7.4, and all build and boot with it"""
    status, text = command("bases: sources", [TOP / "lab/kernel/other-sources"])
    if status:
        tap.skip("bases", text.strip().splitlines()[-1])
        return
    found = {}
    for line in text.splitlines():
        words = line.split() or [""]
        if words[0] == "skip":
            tap.skip(f"bases: {words[1]}", " ".join(words[2:]))
        elif " LINUX_" in line:
            older = words[0] == "older"
            found[words[older]] = words[older + 1:], older
    say(f"bases of today: {', '.join(found) or 'none but the one that all other steps are about'}")
    for room in (BUILD / "others").iterdir():   # of what was a base some other day
        if room.is_dir() and room.name not in found:
            shutil.rmtree(room)
    for name, (source, older) in found.items():
        one_base(name, source, older)


def one_base(name, source, older):
    """Fetch, git am, build, boot, in a BUILD of its own that shares ccache and disk. To one that
    is older than the series' own, the series need not apply, if that is said in one line."""
    room = BUILD / "others" / name
    env = {"BUILD": str(room), "CCACHE_DIR": os.environ.get("CCACHE_DIR", str(BUILD / "ccache")),
           # its own, whatever the other steps' is made from
           "LINUX_DEB": "", "LINUX_TARBALL": "", "LINUX_SRC": ""}
    # what the pinned source is needed for is the same for all of them
    (BUILD / "pinned").mkdir(exist_ok=True)
    room.mkdir(parents=True, exist_ok=True)
    if not (room / "pinned").is_symlink():
        (room / "pinned").symlink_to(BUILD / "pinned")
    make = ["make", "-C", TOP, "SETUP=no", f"BUILD={room}", *source]
    applies = f"bases: {name}: the queue applies"
    status, text = command(applies, [*make, "tree"], env=env)
    why = re.search(r"^series: (.* does not apply: .*)", text, re.M)
    if status and older and why:
        tap.skip(applies, why[1])
        return
    if not tap.result(not status, applies, text):
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
        lives(f"bases: {name}: {side} boots and storms", guest.Guest(kernel, disk(), timeout=300),
              "./storm-suite -t 2 /run/out exec fork", out=LOGS / f"bases-{name}-{side}")
