# SPDX-License-Identifier: GPL-2.0
"""Every patch by itself: each commit builds, boots and compiles elsewhere.

FIRST=15 and LAST=20 let commits and configurations go from the fifteenth commit on,
and end with the twentieth, counted as make tree's branch series has them, and after them
those that a posting has only when it stands alone. For the step postings they are places in
the order of the postings' numbers. What was found of others stays, as it does when a step is
interrupted, as long as these are the same in what the step looks at.
"""

import functools
import re
import subprocess
from collections import Counter

import guest
import series
from harness import BUILD, LOGS, TOP, command, disk, image_of, in_guest, kunit_results, must, parts_of, tap

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
# other architectures: their configuration, and what compiles it
CROSS = {
    "arm64": "defconfig:aarch64-linux-gnu-",
    "arm": "multi_v7_defconfig:arm-linux-gnueabihf-",
    "powerpc": "ppc64le_defconfig:powerpc64le-linux-gnu-",
    "riscv": "defconfig:riscv64-linux-gnu-",
    "s390": "defconfig:s390x-linux-gnu-",
    "loongarch": "defconfig:LLVM=-19",      # bookworm has no GCC for it
    "mips": "malta_defconfig:mips-linux-gnu-",
    "sparc": "sparc64_defconfig:sparc64-linux-gnu-",
    "parisc": "generic-32bit_defconfig:hppa-linux-gnu-",
    "sh": "sh7785lcr_defconfig:sh4-linux-gnu-",
    "m68k": "multi_defconfig:m68k-linux-gnu-",
    "alpha": "defconfig:alpha-linux-gnu-",
}
NO_SPARSE = ("each:loongarch:", "each:riscv:")      # whose options bookworm's does not know
NO_COMPILER = {"arch/nios2/": "nios2", "arch/xtensa/": "xtensa"}


# --- commits ------------------------------------------------------------------

def each_commit():
    """(tree, commit, title, body) of all postings together, and a folder to check them out in"""
    return series.each_tree(), described(series.commits_of(series.ALL))


def described(commits):
    log = series.git("log", "--no-walk=unsorted", "--format=%T%n%H%n%s%n%b%x00", *commits)
    return [entry.strip().split("\n", 3) for entry in log.split("\0") if entry.strip()]


def chosen():
    """The commits from FIRST to LAST, as (tree, (commit, title)), and the folder for them: those
    of all postings together, then those that a posting has only alone."""
    tree, commits = series.each_tree(), described(series.all_commits())
    together = len(series.commits_of(series.ALL))
    for commit in commits[together:]:
        commit[2] = f"{commit[2]} (alone)"
    return tree, tap.first_to_last([(part, (commit, title)) for part, (_, commit, title, *_) in
                                    zip(parts_of(tap.name), commits, strict=True)])


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
    return [f"{path}: {text}" for path, text in sorted(now - before)]


# --- configurations --------------------------------------------------------------

class Compiled:
    """A configuration and what is compiled of it, commit by commit: what did not compile
    at the beginning, as it is not part of it, and which warnings there were."""

    def __init__(self, name, how, folders=(), sparse=False):
        self.name, self.how, self.folders, self.sparse = name, how, folders, sparse
        kind, *rest = how.split(":") if ":" in how else how.split("-", 1)
        self.out = BUILD / kind / "-".join(rest[:2])
        self.unbuilt, self.warnings = set(), Counter()

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
        self.unbuilt, self.warnings = failed | unknown, messages(text)
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
    mine = {commit: [one for one in objects(sources(commit)) if not one.startswith("mm/tests/")]
            for commit, _ in commits}
    everything = sorted({one for those in mine.values() for one in those if not elsewhere(one)})
    those = [Compiled(*which) for which in CONFIGURATIONS] if commits else []
    if not all([one.begin(tree, commits[0][0], everything) for one in those]):
        return      # what the commits do without one of them would count as all of it
    for commit, title in tap.by_part(parts):
        if not sources(commit):
            continue
        check_out(tree, commit)
        built = set()
        for one in those:
            built |= one.at(tree, commit, title, everything)
        for how in sorted({elsewhere(one) for one in mine[commit]} - {None}):
            built |= there(tree, how, commit, title, [one for one in mine[commit] if elsewhere(one) == how])
        for path in sorted(set(mine[commit]) - built):
            name = f"{path} of: {title}"
            lacking = [word for start, word in NO_COMPILER.items() if path.startswith(start)]
            if lacking:
                tap.skip(name, f"Debian has no compiler for {lacking[0]}")
            else:
                tap.fail(name, "no configuration compiles it")


def elsewhere(path):
    """What compiles an object that CONFIGURATIONS lack; None: they have it."""
    if path == "mm/mapping_dirty_helpers.o":    # by name: only drivers of graphics ask for it
        return "each-objects"
    found = re.match(r"arch/(\w+)/|drivers/gpu/drm/panthor/", path)
    arch = found and (found[1] or "arm64")
    return f"each:{arch}:{CROSS[arch]}" if arch in CROSS else None


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
    if built and not arm64.begin(tree, built[0][0], targets):
        return      # what the commits do without it would count as all of it
    booted = {}
    for commit, title in tap.by_part(parts):
        check_out(tree, commit)
        if not boots(commit, title, booted, first=commit == parts[0][1][0]):
            continue
        if sources(commit):
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
    image = image_of(flavour)
    same = booted.get(image.read_bytes())
    if same:
        tap.ok(f"commit is the same kernel, which boots: {title}", same)
        return True
    result = in_guest(guest.Guest(image, disk()), "./storm-suite -t 1 /run/out fork", out=LOGS / "each")
    log = LOGS / f"commit-{commit[:12]}.console"
    log.write_bytes(result.console.read_bytes())
    if tap.result(result.ok, f"commit boots: {title}", result.explain(), log):
        booted.clear()      # a series goes on from its last kernel only
        booted[image.read_bytes()] = log
    if tests:
        kunit_results(f"commit {title}", "parse", log)
    return True


def step_objects():
    """commits that say so leave the object code as it was, in the form in which they are mailed"""
    series.each_tree()
    commits = described([commit for one in series.postings.read() for commit in
                         series.commits_of(one.name, f"{one.name}~{len(one.entries)}")])
    claims = [(commit, title) for _, commit, title, body in commits
              if "object code of the callers stays the same" in " ".join(body.split())]
    for commit, title in claims:
        must(f"object code stays: {title}", [TOP / "lab/tests/objects", commit])
    if not claims:
        tap.fail("object code stays", "no commit says so any more")
