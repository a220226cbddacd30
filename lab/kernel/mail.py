# SPDX-License-Identifier: GPL-2.0
"""From the postings' branches to folders for git send-email, each with its cover letter."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter, namedtuple
from concurrent.futures import ThreadPoolExecutor
from email.header import Header
from email.utils import formataddr, parseaddr
from pathlib import Path

from postings import pick, read
from repo import ALL, PATCHED, PROJECT, QUEUE, Fail, git, of, rev, run, say

NOT_MEASURED = "  Not measured: no results in this checkout (make run fills this in).\n"


def measured_table(folder, heads):
    """The table of a measurement, if it is one of these commits."""
    try:
        facts = json.loads((folder / "measured.json").read_text())
        table = (folder / "cover.txt").read_text()
    except FileNotFoundError:
        return NOT_MEASURED
    if facts.get("series") not in heads:
        return (f"  Not measured: the latest results, of {facts.get('date')}, are of another "
                "state of\n  the series (make run measures this one).\n")
    return "".join(f"  {line}\n" for line in table.splitlines())


NOT_TESTED = "  Not tested as it is now (lab/tests/evidence.py --keep fills this in).\n"


def tested(heads):
    """What the tests found, if that was on one of these commits."""
    try:
        said = (QUEUE / "lab/tests/evidence.txt").read_text()
    except FileNotFoundError:
        return NOT_TESTED
    tree, *lines = said.partition("\n\n")[0].splitlines()
    if tree not in [git("rev-parse", f"{head}^{{tree}}") for head in heads]:
        return NOT_TESTED
    return "".join(f"  {line}\n" for line in lines)


def letter_of(one):
    """(subject, body) of a posting's cover letter."""
    path = one.path / "letter.txt"
    if not path.exists():
        raise Fail(f"{path} is missing: a posting with patches has a cover letter")
    subject, _, body = path.read_text().partition("\n")
    for word, what in (("@FIGURES@", "the measured table"), ("@TESTED@", "what the tests found")):
        if word not in body:
            raise Fail(f"{one.name}/letter.txt has no {word} line for {what}")
    return subject.strip(), body.strip()


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
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(mails[1:], pool.map(lambda mail: people(patch=mail), mails[1:])))
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


def mail(out, word, figures, signoff, version):
    found = read()
    wanted = [pick(found, word)] if word else [one for one in found if one.entries]
    for branch in (ALL, *(one.name for one in wanted)):
        if not rev(of(branch)) or rev(f"refs/heads/{branch}") != rev(of(branch)):
            raise Fail(f"branch {branch} does not match the queue: run make tree (or make export) first")
    env, extra = {}, []
    if signoff:
        who = re.fullmatch(r"\s*(.+?)\s*<([^<>@\s]+@[^<>\s]+)>\s*", signoff)
        if not who:
            raise Fail(f'SIGNOFF="{signoff}" is not of the form "Name <address>"')
        env = {"GIT_COMMITTER_NAME": who[1], "GIT_COMMITTER_EMAIL": who[2]}
        extra = ["--signoff"]
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
        for one in wanted:
            if not one.entries:
                raise Fail(f"{one.name} has no patch yet")
            subject, body = letter_of(one)
            # alone, or with all others: what is measured and tested
            heads = [rev(one.name), *([] if one.rfc else [rev(ALL)])]
            table = measured_table(Path(figures), heads) if figures else NOT_MEASURED
            begin, end = rev(f"{one.name}~{len(one.entries)}"), rev(one.name)
            if signoff:
                end = reauthor(begin, end, env)
            folder = room / "new" / one.name
            git("format-patch", "-q", "--cover-letter", "--thread=shallow", "-M",
                "--stat=72", f"--subject-prefix={'RFC ' if one.rfc else ''}PATCH{' v' + version if version else ''}",
                "-o", folder, *extra, f"{begin}..{end}", env=env)
            letter = next(folder.glob("*0000-cover-letter.patch"))
            for word, value in (("@FIGURES@", table.rstrip()), ("@TESTED@", tested(heads).rstrip()),
                                ("@BASE@", git("log", "-1", "--format=%s", "base"))):
                body = body.replace(word, value)
            letter.write_text(letter.read_text().replace("*** SUBJECT HERE ***", subject)
                              .replace("*** BLURB HERE ***", body))
            addressed(folder)
            say(f"{len(list(folder.glob('*.patch'))) - 1} patches and a cover letter in {out / one.name}"
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
