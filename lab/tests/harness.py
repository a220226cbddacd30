# SPDX-License-Identifier: GPL-2.0
"""What all steps of lab/tests/check share: results, logs, commands, guests.

A step is a function step_NAME() of a module in lab/tests/steps/, whose docstring says
in a line what holds when it passes. It tells its results to tap, each of which goes
to the screen as a line of KTAP and, with its log, to $BUILD/check/results/NAME.json,
from which lab/tests/evidence.py makes the report.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / "lab" / one) for one in ("bench", "guest", "host", "kernel", "model", "tests")]
os.environ.setdefault("BUILD", str(TOP / "build"))
# as lab/kernel/series.py has it: what somebody likes of git is not what is tested
os.environ |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
import guest                                                    # noqa: E402
import series                                                   # noqa: E402
import vmtests                                                  # noqa: E402
from flavour import image_of                                    # noqa: E402
from guest import BUILD, TOP, Fail                              # noqa: E402
from users import COMMENT_OR_STRING                             # noqa: E402

LOGS = BUILD / "check"
RESULTS = LOGS / "results"
JOBS = os.environ.get("JOBS") or str(os.cpu_count() + 1)
BASE, PATCHED = BUILD / "base", BUILD / "patched"
DEBUG = "patched-debug-kunit"
FORCED = "i_mmap_shards=force"
SHARDED = {"files sharded by contention": "", "every file sharded": FORCED}    # how, kernel parameter
SAME = "same failure on base"
KINDS = {"pass": "passed", "fail": "failed", "same": SAME, "skip": "skipped"}
# The steps for which all of a patch counts, comments and documentation as well. For others what
# they have found still stands when no more than those change.
PATCHES = {"tools", "series", "bases", "static", "commits", "configurations", "objects", "image",
           "postings"}
# Those of them that build kernels: no selftest counts
BUILDS = {"commits", "configurations", "objects"}
# Those that look at each commit, so that it matters how what they change is cut
BY_COMMIT = BUILDS | {"series", "static", "postings"}
# Steps that run all selftests of ours, see IN_SERIES and SHORT in vmtests.py
SUITES = {"vmtests", "vmtests_contended", "strict", "distribution", "filesystems"}
# and those that build or run KUnit
KUNIT = {"kernels", "debug", "strict", "kunit", "distribution", "arches"}
FILE_RMAP = "tools/testing/selftests/mm/file_rmap.c"
# and those that run some cases of it by name, and none of this section
BY_NAME = {"faults_injected", "stress", "stress_big", "hotplug", "soak"}
NOT_BY_NAME = re.compile(r"^/\* --- sharding -.*?(?=^static int number_of\()", re.M | re.S)
# Likewise programs and tests of the series that say nothing of the kernel, and the steps that
# look at them or run them.
ONLY_FOR = {
    "mm/tests/i_mmap_groups_kunit.c": PATCHES | KUNIT,
    "mm/tests/mapping_rmap_tree_kunit.c": PATCHES | KUNIT,
    "mm/tests/mm_counter_kunit.c": PATCHES | KUNIT,
    "tools/testing/selftests/mm/fault_retry.c": PATCHES - BUILDS | SUITES | {"debug", "arches"},
    FILE_RMAP: PATCHES - BUILDS | SUITES | BY_NAME | {"debug", "arches", "kcsan"},
    "tools/testing/selftests/mm/rss_stat.c": PATCHES - BUILDS | SUITES | {"kcsan"},
    "tools/testing/selftests/rseq/mm_cid_test.c": PATCHES - BUILDS | SUITES | {"debug", "kcsan", "kselftests"},
}


class Tap:
    """Prints results, one line each, as they come, counts them, and keeps those of a step."""

    def __init__(self):
        self.counts = dict.fromkeys(KINDS, 0)
        self.results = []
        self.log = None     # of the command or guest that ran last: a result's, unless told
        # of a step that goes commit by commit, or posting by posting: the one that results are
        # about, and all of them, as parts_of() has them
        self.part, self.of = None, []

    def _result(self, kind, name, note="", log=None):
        self.counts[kind] += 1
        self.results.append({"result": kind, "name": name, "note": note,
                             "log": str(log or self.log or ""), "part": self.part})
        word = "not ok" if kind == "fail" else "ok"
        skip = {"skip": f" # SKIP {note}", "same": f" # SKIP {SAME}: {note}"}.get(kind, "")
        print(f"{word} {sum(self.counts.values())} {name}{skip}", flush=True)

    def ok(self, name, log=None):
        self._result("pass", name, log=log)

    def fail(self, name, why, log=None):
        lines = str(why).strip().splitlines()[-30:]
        self._result("fail", name, "\n".join(lines), log)
        for line in lines:
            say(line)

    def skip(self, name, why, log=None):
        self._result("skip", name, why, log)

    def same(self, name, why, log=None):
        """A failure that the unpatched kernel has, too: nothing that the series did."""
        self._result("same", name, why, log)

    def result(self, good, name, why, log=None):
        if good:
            self.ok(name, log)
        else:
            self.fail(name, why, log)
        return good

    def first_to_last(self, things):
        """Those of (part, thing), all parts of the step, that FIRST and LAST ask for."""
        first, last = (int(os.environ.get(name) or default)
                       for name, default in (("FIRST", 1), ("LAST", len(things))))
        found = things[max(first, 1) - 1:last]
        if first < 1 or not found:
            raise SystemExit(f"check: FIRST={first} LAST={last}: {self.name} has {len(things)} parts")
        self.part, self.of = found[0][0], [part for part, _ in things]
        return found

    def by_part(self, things):
        """The things of (part, thing), each of which is a part of the step, whose results
        stay when a later one is interrupted, and when only other parts run again."""
        for self.part, thing in things:
            yield thing
            self.keep()

    def step(self, name, run):
        """Run a step and keep what it found; one that breaks is a failure."""
        self.results, self.log, self.part, self.of = [], None, None, []
        self.name, self.begun, begin = name, time.time(), time.monotonic()
        (RESULTS / f"{name}.json").unlink(missing_ok=True)      # that holds no longer
        say(f"{name}: {run.__doc__}")
        try:
            run()
        except Exception as why: # the other steps still run
            self.fail(name, why if isinstance(why, Fail) else traceback.format_exc())
            self.keep()
        if not self.of:
            self.keep()
        say(f"{name}: {time.monotonic() - begin:.0f}s")

    def keep(self):
        """Write down what the step has found, or of the commit that it is about."""
        file = RESULTS / (f"{self.name}/{self.part}.json" if self.of else f"{self.name}.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({
            "when": time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.begun)),
            "seconds": round(time.time() - self.begun), "of": tested_by(self.name),
            "results": [one for one in self.results if one["part"] == self.part]}, indent=1) + "\n")
        self.begun = time.time()

    @property
    def summary(self):
        counts = self.counts
        skipped = counts["skip"] + counts["same"]
        return f"{counts['pass']} passed, {counts['fail']} failed, {skipped} skipped" \
            + (f" ({counts['same']}: {SAME})" if counts["same"] else "")


def tree_of_series():
    """What was tested, whatever its commits are called: the tree of all postings, or of the one
    that is checked out."""
    return series.git_in(series.PATCHED, "rev-parse", "-q", "--verify", "HEAD^{tree}", check=False)


def tree_of_all():
    """The tree of all postings, also while that of one is checked out."""
    return series.git("rev-parse", "-q", "--verify", f"{series.ALL}^{{tree}}", check=False)


def commits():
    """(tree, title) of each commit of all postings, likewise."""
    found = series.all_commits()
    lines = series.git("log", "--no-walk=unsorted", "--format=%T %s", *found).splitlines() if found else []
    return [line.split(" ", 1) for line in lines]


def trees_of_postings():
    """Those of all postings alone, likewise."""
    return [series.git("rev-parse", f"{branch}^{{tree}}") for branch in series.branches()
            if branch != series.ALL] if series.GITDIR.exists() else []


def parts_of(step):
    """A hash for each commit or posting, if the step goes by them: for each it finds results of
    its own, which stand as long as what it looks at is the same."""
    return trees_of_postings() if step == "postings" else \
        [part_of(step, *commit) for commit in commits()] if step in BY_COMMIT else []


def part_of(step, tree, title):
    # the title, as two may differ by nothing that concerns the step
    return hash_of(base_tree(), title, *concerning(step, changes(tree)))


def tested_by(step):
    """What a step tests of all that: a hash of it, to tell whether what it found still stands."""
    return hash_of(base_tree(), *parts_of(step), *concerning(step, changes(tree_of_series())))[:12]


def base_tree():
    return series.git("rev-parse", "-q", "--verify", "base^{tree}", check=False)


def hash_of(*lines):
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


@functools.cache
def changes(tree):
    """What the series does to the files of its base: a line for each of them."""
    return series.git("diff", "--raw", "--no-abbrev", "--no-renames", "base", tree,
                      check=False).splitlines()


def concerning(step, lines):
    lines = [line for line in lines if step in ONLY_FOR.get(line.split("\t")[-1], {step})]
    return lines if step in PATCHES else [
        line for line in (uncommented(line, step in BY_NAME) for line in lines) if line]


@functools.cache
def uncommented(line, by_name):
    """The line of a changed file, with hashes of the code alone; None if only comments changed."""
    (_, _, before, after, how), path = line.split("\t")[0].split(), line.split("\t")[-1]
    if path.endswith(".rst") or path == "MAINTAINERS":
        return None
    if not path.endswith((".c", ".h")) or how == "D":
        return line
    unused = NOT_BY_NAME if by_name and path == FILE_RMAP else None
    before, after = code_of(before, unused), code_of(after, unused)
    return None if before == after else f"{before} {after} {path}"


def code_of(blob, unused):
    """A hash of a C file without its comments, and without what is not used of it."""
    if not blob.strip("0"):
        return None
    text = series.git("cat-file", "blob", blob)
    if unused:
        text = unused.sub("", text)
    text = COMMENT_OR_STRING.sub(lambda found: found[0] if found[0][0] in "'\"" else " ", text)
    return hashlib.sha1("\n".join(line.rstrip() for line in text.splitlines() if line.strip())
                        .encode(errors="surrogateescape")).hexdigest()


tap = Tap()


def say(text):
    print(f"# {text}", flush=True)


def log_of(name):
    LOGS.mkdir(parents=True, exist_ok=True)
    return LOGS / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.log"


def needs(*programs):
    """Fail unless all these programs are there; a long step says so before it begins."""
    for program in programs:
        if not shutil.which(program):
            raise Fail(f"{program} is missing: run make setup, and lab/host/setup with the word of a "
                       "list of lab/host/packages-* that names its package")


def command(name, argv, *, cwd=TOP, env=None, timeout=3600):
    """Run a command with its output in a log; (status, text)."""
    log = tap.log = log_of(name)
    argv = [str(word) for word in argv]
    if not (Path(cwd) / argv[0]).exists():
        needs(argv[0])
    # timeout(1) ends it with all that it started, also when it is told to end itself
    with open(log, "wb") as sink, subprocess.Popen(
            ["timeout", "-v", "-k", "10", str(timeout), *argv], cwd=cwd, stdin=subprocess.DEVNULL,
            stdout=sink, stderr=subprocess.STDOUT, env=dict(os.environ, **(env or {}))) as child:
        try:
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    return status, log.read_text(errors="replace")


def must(name, argv, **kw):
    """A command that is a test: passes when it ends with status 0."""
    status, text = command(name, argv, **kw)
    tap.result(status == 0, name, f"{text}\n{argv[0]} ended with status {status}: {log_of(name)}")
    return status == 0


@functools.cache
def up_to_date(name, *argv):
    """Whether it builds; once, as the tree does not change meanwhile and a look takes seconds."""
    return must(f"build: {name}", argv)


def built(*flavours):
    """Whether these kernels build."""
    return all([up_to_date(one, TOP / "lab/kernel/kernel", one) for one in flavours])


def kernel_of(flavour):
    """The image of a kernel, which is of the series that is there now."""
    if not built(flavour):
        raise Fail(f"without a kernel {flavour} there is nothing to boot")
    return image_of(flavour)


def disk(more="mm"):
    """The disk of the guests, with the selftests of the series that is there now, or one with
    more on it."""
    if not up_to_date(f"image {more}", TOP / "lab/guest/image", more):
        raise Fail("without their disk guests do not boot")
    return BUILD / "image" / more / "root.ext4"


def in_guest(one, script, files=(), *, out):
    """guest.run() of a shell's commands, which find storm-suite beside them, into a folder that is
    empty. The console is the log of the results that follow."""
    shutil.rmtree(out, ignore_errors=True)
    result = guest.run(one, f"#!/usr/bin/busybox sh\n{script}\n",
                       [TOP / "lab/server/storm-suite", *files], out=out)
    tap.log = result.console
    return result


def lives(title, *how, **more):
    """in_guest() as a test: the job ends well, and the kernel has no complaint. None if not."""
    result = in_guest(*how, **more)
    return result if tap.result(result.ok, title, result.explain()) else None


def selftests_in_guest(kernel, image, out, categories, append="", **more):
    """vmtests.run(), likewise."""
    shutil.rmtree(out, ignore_errors=True)
    result = vmtests.run(kernel, image, out, categories, append, **more)
    tap.log = result.out / "vmtests.log" if result.ok else result.console
    return result


def kunit_cases(group, path=""):
    """(name, status) of each test case of what kunit.py writes with --json."""
    for one in group.get("test_cases", []):
        yield f"{path}{one['name']}", one["status"]
    for sub in group.get("sub_groups", []):
        yield from kunit_cases(sub, f"{path}{sub['name']}.")


def kunit_results(name, *argv, **kw):
    """kunit.py: a result for each test case."""
    with tempfile.NamedTemporaryFile(suffix=".json") as sink:
        status, text = command(name, [series.PATCHED / "tools/testing/kunit/kunit.py", *argv,
                                      f"--json={sink.name}"], **kw)
        said = Path(sink.name).read_text()
    cases = list(kunit_cases(json.loads(said))) if said else []
    for case, found in cases:
        if found == "SKIP":
            tap.skip(f"{name}: {case}", "KUnit skipped it")
        else:
            tap.result(found == "PASS", f"{name}: {case}", text)
    if not cases or status:
        tap.fail(name, f"{len(cases)} tests seen, status {status}\n{text}")


def all_pass(name, result, categories, lacks=None):
    """A guest that ran only our selftests: each of their cases passed, and none skipped
    but those that are excused, or about something which its architecture lacks."""
    if not tap.result(result.ok, f"{name}: races without a splat", result.explain()):
        return
    said = {}
    results = vmtests.results(result.out / "vmtests.log", said)
    log = tap.log
    for test, found in results.items():
        if test.startswith(vmtests.LEFT_OUT): # which is told whatever is to run
            continue
        title = f"{name}: {test}"
        lacking = [word for word in lacks or () if f".{word}" in test or f": {word}" in test]
        if found == "skip" and lacking:
            tap.skip(title, f"{name} has no {lacks[lacking[0]]}", log)
            continue
        if found == "excused":
            tap.skip(title, vmtests.excuse(said[test]), log)
            continue
        tap.result(found == "ok", title, "\n".join([*said[test], f"{found}: {result.out}"]), log)
    for category in categories:
        if not any(test.startswith(f"{category}: ") for test in results):
            tap.fail(f"{name}: {category}", f"nothing of it ran: {result.out}", log)
