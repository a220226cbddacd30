# SPDX-License-Identifier: GPL-2.0
"""What checkers say of the series that they do not say of base."""

import fnmatch
import functools
import re
import subprocess
import tempfile
from collections import Counter

import series
from harness import BASE, BUILD, JOBS, TOP, command, needs, say, tap
from steps.patches import (SOURCES, SPARSE, each_commit, elsewhere, messages, new_messages, objects,
                           touched)


def step_static():
    """sparse, Coccinelle, kernel-doc, htmldocs and more say nothing of the series that is new"""
    # On two cores: half an hour, most of it Coccinelle
    needs("sparse", "spatch", "dot", "sphinx-build")
    paths = series.git("diff", "--name-only", "--no-renames", "--diff-filter=d", "base", "series").split()
    code = [path for path in paths if path.endswith((".c", ".h")) and SOURCES.match(path)]
    for name, check in (("sparse", sparse), ("kernel-doc", kernel_doc),
                        ("includecheck", includecheck), ("headerdep", headerdep)):
        compare(name, check, code)
    coccicheck(code)
    htmldocs(paths)
    references()
    maintainers()


def compare(name, check, paths):
    """What a checker says of the files on base and patched: none of it is new. It must say
    how many files it looked at, as a checker that fails finds nothing."""
    said = {}
    for side, tree in (("base", BASE / "src"), ("patched", series.PATCHED)):
        here = [path for path in paths if (tree / path).exists()]
        say(f"{name}: {side}, {len(here)} files")
        try:
            said[side] = check(side, tree, here)
        except subprocess.CalledProcessError as why:
            return tap.fail(f"{name}: runs on {side}", f"{why}\n{why.output}")
    new = new_messages(said["patched"], said["base"])
    return tap.result(not new, f"{name}: nothing new", "\n".join(new))


def ran(name, argv, *, good=(0,), **kw):
    """The output of a command; it is an error if it ends otherwise."""
    status, text = command(name, argv, **kw)
    if status not in good:
        raise subprocess.CalledProcessError(status, [str(word) for word in argv], text[-4000:])
    return text


def sparse(side, tree, paths):
    """With C=2, after all of it has compiled, so that no word of the compiler's is among them."""
    here = [one for one in objects(paths) if not one.startswith("arch/") and not elsewhere(one)]
    tests = [one for one in here if one.startswith("mm/tests/")]
    text = ""
    for how, these in ((f"{side}-objects{'-kunit' if tests else ''}",
                        [*(one for one in here if one != "mm/nommu.o"), "arch/x86/mm/fault.o"]),
                       (f"{side}:arm:mps2_defconfig:arm-linux-gnueabihf-", ["mm/nommu.o"])):
        compiled = [TOP / "lab/tests/compile", "-c", how, *these]
        ran(f"compile {how}", compiled, timeout=3600)
        said = ran(f"sparse {how}", compiled, env={"C": "2", "CHECK": SPARSE}, timeout=3600)
        looked = set(re.findall(r"^  CHECK   (?:\S*/src/)?(\S+)\.c$", said, re.M))
        missed = [one for one in these if one[:-2] not in looked]
        if missed:
            raise subprocess.CalledProcessError(1, "sparse", f"it has not looked at {missed}")
        text += said
    # which bookworm's says of each MODULE_LICENSE(), and the compiler of what is wrong
    return Counter({one: count for one, count in messages(text).items()
                    if one[1] != "error: bad constant expression"})


def kernel_doc(side, tree, paths):
    return messages(ran(f"kernel-doc {side}",
                        [tree / "tools/docs/kernel-doc", "-none", "-Wall", *paths], cwd=tree))


# (semantic patch, file): why its one report is none
NO_MISTAKE = {
    ("mini_lock", "mm/i_mmap.c"): "i_mmap_lock_shard() is supposed to return with the lock held",
}


def coccicheck(paths):
    """All semantic patches of the kernel in mode report, on these files: make coccicheck
    knows no other choice than the whole tree or one file. Base is asked only where there
    is something to compare, and then with all files: a report of one may be of its caller."""
    tree, files = series.PATCHED, [path for path in paths if path.endswith(".c")]
    old = [path for path in files if (BASE / "src" / path).exists()]
    rules = sorted(rule.relative_to(tree) for rule in (tree / "scripts/coccinelle").rglob("*.cocci")
                   if re.search(r"^virtual\s+report\b", rule.read_text(), re.M))
    new, reports = [], 0
    for rule in rules:
        if "script:ocaml" in (tree / rule).read_text():
            tap.skip(f"coccicheck: {rule.stem}", "it would have to be compiled with OCaml")
            continue
        try:
            found, slow = spatch("patched", tree, rule, files)
            before = spatch("base", BASE / "src", rule, old)[0] if found else Counter()
        except subprocess.CalledProcessError as why:
            tap.fail(f"coccicheck: {rule.stem}", why.output)
            continue
        for path in slow:
            tap.skip(f"coccicheck: {rule.stem} on {path}", "it takes more than five minutes")
        for message in new_messages(found, before):
            file = message.split(":")[0]
            why = NO_MISTAKE.get((rule.stem, file))
            if why and sum(count for (path, _), count in found.items() if path == file) == 1:
                tap.skip(f"coccicheck: {rule.stem}: {message}", why)
            else:
                new.append(message)
        reports += found.total()
    say(f"coccicheck: {len(rules)} semantic patches, {len(files)} files, {reports} reports")
    tap.result(rules and not new, "coccicheck: nothing new", "\n".join(new))


def spatch(side, tree, rule, files):
    """What a semantic patch reports, and files for which it takes too long."""
    options = re.findall(r"^// Options:(.*)$", (tree / rule).read_text(), re.M)
    argv = ["spatch", "-D", "report", "--no-show-diff", "--very-quiet", "--timeout", "300",
            "--cocci-file", rule, *" ".join(options).split(), "-I", "include",
            "-I", "arch/x86/include", "--jobs", JOBS]
    name = f"coccicheck {side} {rule.stem}"
    # All files at once make the same reports in a sixth of the time (mini_lock), but some
    # rules run out of stack or time then, with a status that says so
    try:
        return messages(ran(name, [*argv, *files], cwd=tree, timeout=7200)), []
    except subprocess.CalledProcessError:
        say(f"coccicheck: {rule.stem}: all files at once are too much for it")
    with tempfile.NamedTemporaryFile("w", prefix="groups-") as groups:
        groups.write("\n\n".join(files) + "\n")
        groups.flush()
        text = ran(name, [*argv, "--file-groups", groups.name], cwd=tree, timeout=7200)
    slow = re.findall(r"^EXN: \S*Timeout in (\S+)", text, re.M)
    if text.count("EXN: ") > len(slow):
        raise subprocess.CalledProcessError(0, "spatch", text)
    return messages(text), slow


def includecheck(side, tree, paths):
    """Headers that are included twice, and version.h where it is not used."""
    text = "".join(ran(f"{script} {side}", ["perl", "-w", f"scripts/{script}", *paths], cwd=tree)
                   for script in ("checkincludes.pl", "checkversion.pl"))
    # "FILE: linux/x.h is included more than once.", without a line
    return messages(re.sub(r"^(\S+?): (\S+ is included)", r"\1:1: \2", text, flags=re.M))


def headerdep(side, tree, paths):
    """Headers that include each other in a circle."""
    headers = [path for path in paths if path.startswith("include/linux/")]
    text = "".join(ran(f"headerdep {side}", ["scripts/headerdep.pl", "-Iinclude", header], cwd=tree)
                   for header in headers)
    # from the first line on, which names a header, to the one that says "here"
    circles = re.findall(r"^In file included from (\S+?),?$((?:\n +from \S+)*?)"
                         r"\n +from \S+ <-- here", text, re.M)
    return Counter({("include", " ".join(sorted({first, *re.findall(r"from (\S+):", rest)}))): 1
                    for first, rest in circles})


def htmldocs(paths):
    """The folders with pages that the series touches have no warning that is new."""
    ours = {path for path in paths if path.endswith(".rst")}
    folders = " ".join(sorted({path.split("/")[1] for path in ours}))
    said = {}
    for side, tree in (("base", BASE / "src"), ("patched", series.PATCHED)):
        out = BUILD / side / "docs"
        with tempfile.TemporaryDirectory(prefix="docs-") as cache:
            status, text = command(f"htmldocs {side}",
                                   ["make", f"O={out}", "cleandocs", "htmldocs",
                                    f"SPHINXDIRS={folders}"],
                                   cwd=tree, env={"XDG_CACHE_HOME": cache}, timeout=3600)
        pages = out / "Documentation/output/mm/process_addrs.html"
        if not tap.result(not status and pages.exists(), f"htmldocs: {side}", text):
            return
        said[side] = Counter(re.sub(r"\S*/src/|:\d+(?=:)", "", line) for line in text.splitlines()
                             if re.search(r"WARNING|ERROR", line))
    # of the labels in other folders, Sphinx says that they are undefined: on base, too
    new = list(said["patched"] - said["base"])
    for page in sorted(ours):
        mine = [line for line in new if page in line]
        tap.result(not mine, f"htmldocs: {page}", "\n".join(mine))
    others = [line for line in new if not any(page in line for page in ours)]
    tap.result(not others, "htmldocs: other pages and headers", "\n".join(others))


def references():
    """Paths of documents that are named somewhere and do not exist."""
    said = {}
    for side, tree in (("base", BASE / "src"), ("patched", series.PATCHED)):
        text = ran(f"documentation-file-ref-check {side}",
                   ["tools/docs/documentation-file-ref-check", "--warn"], cwd=tree, good=(0, 1))
        said[side] = Counter(line for line in text.splitlines() if line.strip())
    new = said["patched"] - said["base"]
    tap.result(not new, "documentation-file-ref-check: nothing new", "\n".join(new))


def maintainers():
    """get_maintainer.pl finds who looks after what a patch touches; MAINTAINERS names
    each new file, and no file before there is one."""
    added = series.git("diff", "--name-only", "--no-renames", "--diff-filter=A", "base", "series").split()
    for path in added:
        sections = ran(f"sections {path}", ["scripts/get_maintainer.pl", "--nogit",
                                            "--nogit-fallback", "--sections", "-f", path],
                       cwd=series.PATCHED)
        named = [line for line in sections.splitlines() if line.isupper() and line != "THE REST"]
        tap.result(named and looked_after(path), f"MAINTAINERS: {path}", sections)
    for _, commit, title, *_ in each_commit()[1]:
        early(commit, title)
        with tempfile.NamedTemporaryFile("w", suffix=".patch") as patch:
            patch.write(series.git("show", "--format=email", commit))
            patch.flush()
            found = series.people(patch=patch.name)
        # the files by themselves, as the tree has them: the patch must not miss their people
        expected = set().union(*(looked_after(path) for path in touched(commit)
                                 if (series.PATCHED / path).exists()))
        missing = expected - {one.address for one in found}
        tap.result(not missing and any(one.role != "list" for one in found),
                   f"get_maintainer: {title}", f"it does not find {sorted(missing)}"
                   if missing else "it finds lists only")


@functools.cache
def looked_after(path):
    return {one.address for one in series.people(path=path)}


def early(commit, title):
    """A line for MAINTAINERS that names no file of the commit's own tree."""
    diff = series.git("show", "--format=", "-U0", commit, "--", "MAINTAINERS")
    patterns = re.findall(r"^\+F:\s+(\S+)$", diff, re.M)
    if patterns:
        files = series.git("ls-tree", "-r", "--name-only", commit).split("\n")
        unmet = [one for one in patterns if not any(
            fnmatch.fnmatchcase(path, one) or path.startswith(f"{one.rstrip('/')}/")
            for path in files)]
        tap.result(not unmet, f"MAINTAINERS: names what there is: {title}", "\n".join(unmet))
