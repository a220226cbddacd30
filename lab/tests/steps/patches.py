# SPDX-License-Identifier: GPL-2.0
"""Every patch by itself: each commit builds, boots and compiles elsewhere; checkers.

FIRST=15 and LAST=20 let commits and configurations go from the fifteenth commit on,
and end with the twentieth, counted as make tree's branch series has them, and after them
those that a posting has only when it stands alone. What they have found of other commits stays, as it does when
they are interrupted, as long as these have the same tree.
"""

import fnmatch
import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter

import guest
import series
from harness import (BASE, BUILD, JOBS, LOGS, TOP, command, disk, image_of, in_guest,
                     kunit_results, must, say, tap)

# what a kernel is made from; tools/ and Documentation/ are not
SOURCES = re.compile(r"(?!tools/|Documentation/|rust/|samples/).*(\.[chS]|/Makefile|/Kconfig\S*)$")
KUNIT = "MAPPING_RMAP_TREE_KUNIT_TEST"
# name of a configuration, how lab/tests/compile makes it, folders that are compiled besides
# what the commits touch
CONFIGURATIONS = (
    ("no MMU, 64 bits", "each:riscv:nommu_virt_defconfig:riscv64-linux-gnu-", ("mm/",)),
    ("no MMU, 32 bits", "each:arm:mps2_defconfig:arm-linux-gnueabihf-", ("mm/",)),
    ("no SMP", "each-nosmp", ("mm/",)),
    ("PREEMPT_RT, no NUMA", "each-nonuma-rt", ("mm/",)),
    ("32 bits", "each-32bit", ("mm/",)),
    ("tinyconfig", "each:x86:tinyconfig:", ("mm/",)),
    ("all that is touched", "each-objects", ("mm/",)),
)
# bookworm's knows no __typeof_unqual__, without which make C=2 says one word and checks nothing
SPARSE = "sparse -D__typeof_unqual__=__typeof__"
# which touched objects none of those builds, and what does
ELSEWHERE = {
    "arch/arm/": "each:arm:multi_v7_defconfig:arm-linux-gnueabihf-",
    "arch/arm64/": "each:arm64:defconfig:aarch64-linux-gnu-",
    "arch/loongarch/": "each:loongarch:defconfig:LLVM=-19",     # bookworm has no GCC for it
    "arch/mips/": "each:mips:malta_defconfig:mips-linux-gnu-",
    "arch/parisc/": "each:parisc:generic-32bit_defconfig:hppa-linux-gnu-",
    "arch/powerpc/": "each:powerpc:ppc64le_defconfig:powerpc64le-linux-gnu-",
    "arch/riscv/": "each:riscv:defconfig:riscv64-linux-gnu-",
    "arch/s390/": "each:s390:defconfig:s390x-linux-gnu-",
    "arch/sh/": "each:sh:sh7785lcr_defconfig:sh4-linux-gnu-",
    "arch/sparc/": "each:sparc:sparc64_defconfig:sparc64-linux-gnu-",
    "drivers/gpu/drm/panthor/": "each:arm64:defconfig:aarch64-linux-gnu-",
}
NO_SPARSE = ("each:loongarch:", "each:riscv:")      # whose options bookworm's does not know
NO_COMPILER = {"arch/nios2/": "nios2", "arch/xtensa/": "xtensa"}
# compiled by name, as it is part of no configuration that is small: of sh, one for another
# cache, and what only drivers of graphics ask for
BY_NAME = {"arch/sh/mm/cache-sh7705.c": "each:sh:sh7785lcr_defconfig:sh4-linux-gnu-",
           "mm/mapping_dirty_helpers.c": "each-objects"}


# --- commits ------------------------------------------------------------------

def each_commit():
    """(tree, commit, title, body) of all postings together, and a folder to check them out in"""
    return each_tree(), described(series.commits_of(series.ALL))


def each_tree():
    tree = series.EACH
    if not series.is_worktree(tree): # what is left of one is none
        shutil.rmtree(tree, ignore_errors=True)
        tree.parent.mkdir(parents=True, exist_ok=True)
        series.git("worktree", "prune")
        series.git("worktree", "add", "-q", "--detach", tree, "base")
    return tree


def described(commits):
    log = series.git("log", "--no-walk=unsorted", "--format=%T%n%H%n%s%n%b%x00", *commits)
    return [entry.strip().split("\n", 3) for entry in log.split("\0") if entry.strip()]


def chosen():
    """The commits from FIRST to LAST, as (tree, (commit, title)), and the folder for them: those
    of all postings together, then those that a posting has only alone."""
    tree, commits = each_tree(), described(series.all_commits())
    together = len(series.commits_of(series.ALL))
    for commit in commits[together:]:
        commit[2] = f"{commit[2]} (alone)"
    first, last = (int(os.environ.get(name) or default)
                   for name, default in (("FIRST", 1), ("LAST", len(commits))))
    found = [(part, (commit, title)) for number, (part, commit, title, *_) in enumerate(commits, 1)
             if first <= number <= last]
    if first < 1 or not found:
        raise SystemExit(f"check: FIRST={first} LAST={last}: the series has {len(commits)} commits")
    tap.part, tap.of = found[0][0], [part for part, *_ in commits]
    return tree, found


def check_out(tree, commit):
    subprocess.run(["git", "-C", tree, "checkout", "-q", "--detach", commit], check=True)


@functools.cache
def touched(commit):
    """The files which a commit changes or adds."""
    return series.git("diff-tree", "--no-commit-id", "--name-only", "--no-renames", "--diff-filter=d",
               "-r", commit).split()


def sources(commit):
    return [path for path in touched(commit) if SOURCES.match(path)]


def reconfigures(commit):
    return any("Kconfig" in path for path in touched(commit))


def objects(paths):
    return sorted(f"{path[:-2]}.o" for path in paths if path.endswith(".c"))


# --- messages of compilers and checkers ----------------------------------------

def messages(text):
    """What a compiler or checker says, as a multiset of (file, message) without line
    numbers: a change that moves a line is no new message."""
    found = Counter()
    for line in text.splitlines():
        line = line.removeprefix("Warning: ").removeprefix("Error: ")
        said = re.match(r"(?:\S*/src/)?([\w./+-]+\.[chS]):\d+(?::\d+)?(?:-\d+)?:? (.+)", line)
        if said and not said[2].startswith("note: "):
            found[said[1].removeprefix("./"), re.sub(r"\b\d+\b", "N", said[2])] += 1
    return found


def new_messages(now, before):
    return [f"{path}: {text}" for (path, text), count in sorted(now.items())
            if count > before[path, text]]


# --- configurations --------------------------------------------------------------

class Compiled:
    """A configuration and what is compiled of it, commit by commit: what did not compile
    at the beginning, as it is not part of it, and which warnings there were."""

    def __init__(self, name, how, folders=(), sparse=False):
        self.name, self.how, self.folders, self.sparse = name, how, folders, sparse
        kind, *rest = how.split(":") if ":" in how else how.split("-", 1)
        self.out = BUILD / kind / "-".join(rest[:2])
        self.unbuilt, self.warnings, self.begun = set(), Counter(), False

    def make(self, tree, title, targets, *, configure):
        """(objects that failed, objects that are none of it, output) of compiling the folders,
        and targets that are in none of them: make compiles what it is told by name, whether
        it is part of the configuration or not."""
        named = [one for one in targets if one not in self.unbuilt
                 and not one.startswith(self.folders) and (tree / one).with_suffix(".c").exists()]
        env = {"W": "1"} | ({"C": "2", "CHECK": SPARSE} if self.sparse else {})
        status, text = command(f"{self.name}: {title}",
                               [TOP / "lab/tests/compile", *(["-c"] if configure else []), self.how,
                                *self.folders, *named], env=env, timeout=7200)
        failed = set(re.findall(r"\*\*\* \[[^]]*?: ([\w./+-]+\.o)\] Error", text))
        unknown = set(re.findall(r"No rule to make target '([\w./+-]+\.o)'", text))
        if status and not failed | unknown:
            failed = {"all of it"}
        return failed, unknown, text

    def begin(self, tree, commit, targets):
        """What there is before the first commit, to compare with."""
        check_out(tree, f"{commit}~1")
        # what is up to date would not tell its warnings
        for path in [*(self.out / one for one in targets),
                     *(path for one in self.folders for path in (self.out / one).rglob("*.o"))]:
            path.unlink(missing_ok=True)
        failed, unknown, text = self.make(tree, "the commit before", targets, configure=True)
        # what is none of the targets has to compile: a tool, a file of the folders
        if not failed <= {one for one in targets if not one.startswith(self.folders)}:
            return tap.fail(f"{self.name}: compiles before the first commit",
                            f"{sorted(failed)}\n{text}")
        self.unbuilt, self.warnings, self.begun = failed | unknown, messages(text), True
        return True

    def at(self, tree, commit, title, targets):
        """The commit that is checked out compiles, without a warning that is new; which of
        the targets did."""
        failed, unknown, text = self.make(tree, title, targets, configure=reconfigures(commit))
        failed -= self.unbuilt
        warnings = messages(text)
        new = new_messages(warnings, self.warnings)
        self.warnings |= warnings
        if tap.result(not failed, f"{self.name}: compiles: {title}", f"{sorted(failed)}\n{text}"):
            tap.result(not new, f"{self.name}: no new warning: {title}", "\n".join(new))
        if self.sparse and not re.search(r"^  CHECK ", text, re.M):
            tap.fail(f"{self.name}: sparse: {title}", text)
        return {one for one in targets if (self.out / one).exists()} - failed - unknown


def step_configurations():
    """each commit compiles without MMU, SMP, NUMA, with PREEMPT_RT, 32 bits, where it belongs"""
    # On two cores: each commit that changes a header of mm/, of which there are 19, compiles
    # most of mm/ seven times, 4 minutes: an hour and a half in all the first time, and a part
    # of that with what ccache has of an earlier run
    tree, parts = chosen()
    commits = [(commit, title) for _, (commit, title) in parts if sources(commit)]
    # KUnit's are compiled where they run, in commits
    mine = {commit: [one for one in objects(touched(commit)) if not one.startswith("mm/tests/")]
            for commit, _ in commits}
    everything = sorted({one for those in mine.values() for one in those if not elsewhere(one)})
    built = {commit: set() for commit in mine}
    begun = [one for one in (Compiled(*which) for which in CONFIGURATIONS)
             if commits and one.begin(tree, commits[0][0], everything)]
    for tap.part, (commit, title) in parts:
        if sources(commit):
            check_out(tree, commit)
            for one in begun:
                built[commit] |= one.at(tree, commit, title, everything)
    for commit, title in tap.by_part(parts):
        if not sources(commit):
            continue
        for how in sorted({elsewhere(one) for one in mine[commit]} - {None}):
            built[commit] |= there(tree, how, commit, title,
                                   [one for one in mine[commit] if elsewhere(one) == how])
        for path in sorted(set(mine[commit]) - built[commit]):
            name = f"{path} of: {title}"
            lacking = [word for start, word in NO_COMPILER.items() if path.startswith(start)]
            if lacking:
                tap.skip(name, f"Debian has no compiler for {lacking[0]}")
            else:
                tap.fail(name, "no configuration compiles it")


def elsewhere(path):
    """What compiles an object that CONFIGURATIONS lack; None: they have it."""
    return BY_NAME.get(f"{path[:-2]}.c") or next(
        (how for start, how in ELSEWHERE.items() if path.startswith(start)), None)


def there(tree, how, commit, title, targets):
    """A commit and the one before it, in a configuration elsewhere; what compiled."""
    # static has sparse look at the others
    one = Compiled(" ".join(how.split(":")[1:3]) or how, how,
                   sparse=":" in how and not how.startswith(NO_SPARSE))
    if not one.begin(tree, commit, targets):
        return set()
    check_out(tree, commit)
    return one.at(tree, commit, title, targets)


def step_commits():
    """each commit of the series builds, boots, passes KUnit, and compiles for arm64"""
    # On two cores: 6 minutes for a commit that changes a header which all include, of which
    # there are 19, and one for others: two hours and a half in all the first time, and a part
    # of that with what ccache has of an earlier run
    tree, parts = chosen()
    arm64 = Compiled("arm64", "each-arm64", ("mm/", "arch/arm64/"))
    built = [(commit, title) for _, (commit, title) in parts if sources(commit)]
    # of drivers, what the small configuration has not; configurations compiles those
    targets = sorted({one for commit, _ in built for one in objects(touched(commit))
                      if re.match(r"(fs|kernel|mm)/", one)})
    if built:
        arm64.begin(tree, built[0][0], targets)
    booted = {}
    for commit, title in tap.by_part(parts):
        check_out(tree, commit)
        if not boots(commit, title, booted, first=commit == parts[0][1][0]):
            continue
        if arm64.begun and sources(commit):
            arm64.at(tree, commit, title, targets)


def boots(commit, title, booted, first):
    """Build the commit that is checked out; boot it, unless that very kernel has booted."""
    tests = KUNIT in series.git("show", f"{commit}:mm/Kconfig")
    flavour = "each-kunit" if tests else "each"
    anew = first or reconfigures(commit)
    status, text = command(f"commit builds: {title}",
                           [TOP / "lab/tests/compile", *(["-c"] if anew else []), flavour, "bzImage"],
                           timeout=7200)
    warnings = [line for line in text.splitlines() if re.search(r"\bwarning: ", line)]
    if not tap.result(not status and not warnings, f"commit builds: {title}",
                      "\n".join(warnings) or text):
        return False
    out = LOGS / "each"
    image = image_of(flavour)
    same = booted.get(image.read_bytes())
    if same:
        tap.ok(f"commit is the same kernel, which boots: {title}", same)
        return True
    result = in_guest(guest.Guest(image, disk(), timeout=600),
                      "#!/usr/bin/busybox sh\nexec ./storm-suite -t 1 /run/out fork\n",
                      [TOP / "lab/server/storm-suite"], out=out)
    log = LOGS / f"commit-{commit[:12]}.console"
    log.write_bytes(result.console.read_bytes())
    if tap.result(result.ok, f"commit boots: {title}", result.explain(), log):
        booted.clear()      # a series goes on from its last kernel only
        booted[image.read_bytes()] = log
    if tests:
        kunit_results(f"commit {title}",
                      [BUILD / "each/src/tools/testing/kunit/kunit.py", "parse", log])
    return True


def step_objects():
    """commits that say so leave the object code as it was, in the form in which they are mailed"""
    each_tree()
    commits = described([commit for one in series.postings.read() for commit in
                         series.commits_of(one.name, f"{one.name}~{len(one.entries)}")])
    claims = [(commit, title) for _, commit, title, body in commits
              if "object code of the callers stays the same" in " ".join(body.split())]
    for commit, title in claims:
        must(f"object code stays: {title}", [TOP / "lab/tests/objects", commit])
    if not claims:
        tap.fail("object code stays", "no commit says so any more")


# --- checkers -----------------------------------------------------------------

def step_static():
    """sparse, Coccinelle, kernel-doc, htmldocs and more say nothing of the series that is new"""
    # On two cores: half an hour, most of it Coccinelle
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
        compiled = [TOP / "lab/tests/compile", how, *these]
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
    is something to compare."""
    tree, files = series.PATCHED, [path for path in paths if path.endswith(".c")]
    rules = sorted(rule.relative_to(tree) for rule in (tree / "scripts/coccinelle").rglob("*.cocci")
                   if re.search(r"^virtual\s+report\b", rule.read_text(), re.M))
    new, reports = [], 0
    for rule in rules:
        if "script:ocaml" in (tree / rule).read_text():
            tap.skip(f"coccicheck: {rule.stem}", "it would have to be compiled with OCaml")
            continue
        old = []
        try:
            found, slow = spatch("patched", tree, rule, files)
            if found:
                old = sorted({path for path, _ in found if (BASE / "src" / path).exists()})
            before = spatch("base", BASE / "src", rule, old)[0] if old else Counter()
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
    new = [line for line, count in said["patched"].items() if count > said["base"][line]]
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
    new = [line for line, count in said["patched"].items() if count > said["base"][line]]
    tap.result(not new, "documentation-file-ref-check: nothing new", "\n".join(new))


# --- MAINTAINERS -----------------------------------------------------------------

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
