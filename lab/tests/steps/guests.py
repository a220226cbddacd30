# SPDX-License-Identifier: GPL-2.0
"""Guests that go wrong, figures that must repeat, boots."""

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import guest
import vmtests
from figures import INSTRUCTION_ROUNDS, REPEATS_WITHIN
from harness import (DEBUG, FORCED, LOGS, SHARDED, TOP, all_pass, disk, in_guest, kernel_of, must, say,
                     selftests_in_guest, tap)
from steps.suites import MORE


def shell_status():
    """make boot: what is typed reaches the guest's shell, its status reaches make."""
    with subprocess.Popen(["timeout", "120", TOP / "lab/guest/guest.py", "shell", "--kernel", kernel_of("base"),
                           "--image", disk(), "--cpus", "2", "--nodes", "2", "--mem", "1G"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as boot:
        text = b""
        for line in boot.stdout:
            text += line
            if b"ends the guest with status" in line:
                boot.stdin.write(b"exit 9\n")
                boot.stdin.flush()
        boot.stdin.close()
    tap.result(boot.returncode == 9, "guest: a shell's status comes back",
               f"{boot.returncode}\n{text.decode(errors='replace')}")


def step_guest():
    """panics, hangs, memory and time that run out are told as what they are"""
    trigger = "echo %s >/sys/kernel/debug/provoke-crash/DIRECT"
    debug = {"kernel": kernel_of(DEBUG), "append": "kunit.enable=0"} # has LKDTM
    cases = (
        ("a panic", "echo c >/proc/sysrq-trigger", "panicked", {}),
        ("a soft lockup", "echo 2 >/proc/sys/kernel/watchdog_thresh\n" + trigger % "SOFTLOCKUP",
         "hung (soft lockup)", debug),
        ("a hung task", "echo 3 >/proc/sys/kernel/hung_task_timeout_secs\n" + trigger % "HUNG_TASK",
         "hung (a task blocked", debug),
        ("out of memory", "tail /dev/zero", "ran out of memory", {"mem": "512M"}),
        ("out of time", "while :; do :; done", "did not finish within 30 s", {"timeout": 30}),
    )
    for name, script, words, setting in cases:
        setting = {"kernel": kernel_of("base"), "image": disk(), "cpus": 2, "nodes": 1,
                   "mem": "2G", "timeout": 300, **setting}
        result = in_guest(guest.Guest(**setting), script, out=LOGS / f"guest-{name}")
        tap.result(result.status is None and words in result.why, f"guest: {name} is told",
                   f"wanted \"{words}\", got {result.status} \"{result.why}\"\n{result.explain()}")
    result = in_guest(guest.Guest(kernel_of("base"), disk(), cpus=2, nodes=2, mem="1G", timeout=300),
                      "echo from-the-guest >/run/out/word\nexit 7", out=LOGS / "guest-status")
    shell_status()
    word = result.out / "word"
    tap.result(result.status == 7 and word.read_text() == "from-the-guest\n",
               "guest: status and files come back", result.explain())


def step_icount():
    """the same kernel executes the same number of instructions, twice"""
    figures = {"exec": [], "fork": []}
    for turn in (1, 2):
        out = LOGS / f"icount-{turn}"
        result = in_guest(guest.Guest(kernel_of("base"), disk(), cpus=1, nodes=1, mem="2G", icount=True),
                          f"./storm-suite -i {INSTRUCTION_ROUNDS} /run/out exec fork", out=out)
        if not result.ok:
            tap.fail("icount: guests run", result.explain())
            return
        for what, counts in figures.items():
            storm = json.loads((out / f"runs/1/{what}.json").read_text())
            counts.append(storm["tsc"] / storm["rounds"])
    for what, (first, second) in figures.items():
        difference, within = abs(first - second) / first, REPEATS_WITHIN[what]
        say(f"instructions per {what}: {first:.0f} and {second:.0f}, {difference * 100:.4f} % apart")
        tap.result(difference < within and first > 10000,
                   f"icount: instructions per {what} repeat within {within:.2%}", f"{first} and {second}")


def measured(form, legs, wanted):
    """make run, or bench, with these legs ends with a table and all their figures."""
    name = f"{form}{legs and ': ' + legs}"
    with tempfile.TemporaryDirectory(prefix="check-results-") as tmp:
        if not must(name, ["make", form, "SETUP=no", "RUNS=1", "SECONDS_EACH=2", f"LEGS={legs}",
                           "CPUS=8", "NODES=4", "MEM=4G", f"RESULTS={tmp}"], timeout=2 * 3600):
            return
        latest = Path(tmp) / "latest"
        names = {line.split("\t")[0] for line in (latest / "figures.tsv").read_text().splitlines()}
        for figure in wanted:
            tap.result(figure in names, f"{name}: figures.tsv has {figure}", sorted(names))
        tap.result("<svg" in (latest / "report.html").read_text(), f"{name}: the page has its plot",
                   "no svg in report.html")
        must(f"{name}: compare reads what {form} wrote",
             [TOP / "lab/bench/report.py", "compare", latest, latest, "--out", Path(tmp) / "pair"])


def step_run():
    """make bench with legs that need no more kernels"""
    measured("bench", "rates truncate walkers promotion",
             ("exec_rate_cpus_8", "fork_rate_cpus_8", "exec_rate_private_cpus_8",
              "exec_rate_with_walker_cpus_8", "truncate_6000_maps_us", "two_walkers_us",
              "promotion_10000_vmas_us"))


def step_run_all():
    """make run, and make bench with all that does not take hours"""
    measured("run", "", ("i_mmap_contentions_per_1000_execs", "i_mmap_bounces_per_1000_execs",
                         "i_mmap_acquisitions_per_exec", "i_mmap_shared_writes_per_exec",
                         "instructions_per_exec", "instructions_per_exec_one_shard",
                         "instructions_per_exec_unsharded", "instructions_per_exec_sharded",
                         "instructions_per_fork", "instructions_per_fork_one_shard",
                         "instructions_per_fork_unsharded", "instructions_per_fork_sharded",
                         "fault_mmap_lock_reads_per_1000_touches",
                         "fault_mmap_lock_reads_per_1000_touches_mprotect"))
    measured("bench", "lock_stat instructions faults rates reclaim distribution truncate walkers "
             "promotion memory loads latency",
             ("exec_rate_cpus_8", "i_mmap_contentions_per_1000_execs",
              "i_mmap_bounces_per_1000_execs", "i_mmap_acquisitions_per_exec",
              "instructions_per_exec", "instructions_per_exec_one_shard",
              "instructions_per_exec_unsharded", "instructions_per_exec_sharded",
              "instructions_per_empty_punch", "instructions_per_empty_punch_one_used", "instructions_per_fork_60_dso",
              "i_mmap_shared_writes_per_exec", "exec_rate_with_walker_cpus_8",
              "truncate_6000_maps_us", "two_walkers_us", "promotion_10000_vmas_us",
              "promotion_100000_vmas_us", "bytes_per_promoted_file", "i_mmap_contentions_split",
              "i_mmap_contentions_zero_forked", "i_mmap_contentions_fork_server",
              "map_beside_truncate_p99_us", "append_beside_map_p99_us", "punch_beside_two_p99_us",
              "rmap_contended_percent_4_shards", "instructions_per_minor_fault",
              "fault_mmap_lock_reads_per_1000_touches", "fault_mmap_lock_wait_us",
              "fault_mmap_lock_across_io", "fault_mmap_lock_reads_per_1000_touches_mprotect",
              "touches_per_second", "touch_latency_p99", "mmap_latency_p99",
              "fork_latency_p99_slow_disk", "mprotect_latency_max_slow_disk",
              "pages_read_at_random_1_threads", "pages_read_at_random_4_threads",
              "i_mmap_contentions_per_1000_execs_debian", "i_mmap_shared_writes_per_exec_debian",
              "instructions_per_exec_debian", "instructions_per_exec_debian_sharded"))


def step_big():
    """96 CPUs in 12 nodes, every file sharded: boots and storms"""
    one = guest.Guest(kernel_of("patched"), disk(), cpus=96, nodes=12, mem="12G", append=FORCED, timeout=1800)
    result = in_guest(one, "grep i_mmap /proc/vmstat\n./storm-suite -t 5 /run/out exec fork", out=LOGS / "big")
    tap.result(result.ok and "sharded for 12 group(s)" in result.console.read_text(errors="replace"),
               "big: 96 CPUs in 12 nodes boot and storm with 12 shards", result.explain())


def step_boots():
    """100 boots of base in a row: does the emulator itself ever fail?"""
    times, failures = [], []
    for number in range(1, 101):
        out = LOGS / "boots" / f"{number:03d}"
        result = in_guest(guest.Guest(kernel_of("base"), disk(), timeout=180), "true", out=out)
        times.append(result.seconds)
        if result.ok:
            shutil.rmtree(out)
        else:
            failures.append(f"boot {number}: {result.explain(5)}")
        if number % 10 == 0:
            say(f"{number} boots, {len(failures)} failed, {max(times):.1f}s the slowest")
    tap.result(not failures, "boots: 100 of base in a row", "\n".join(failures))


ON_FILES = [one for one in vmtests.IN_SERIES if one != "mm_cid_test"]

# execs of files that come and go, whose caches are dropped all the time: inodes that were mapped
# are freed, and read or made again. For vmtests.results() to read
RECYCLE = """
cd /tmp
end=$(($(date +%s) + 30))
come_and_go() {
	while [ $(date +%s) -lt $end ]; do
		cp /usr/bin/true $1 && ./$1 && mv $1 $1.old && ./$1.old && rm $1.old || return
	done
}
storms() {
	while [ $(date +%s) -lt $end ]; do
		for mode in exec fork 'fork --private --private-dir /tmp'; do
			/bench/exec_storm -m $mode -t 2 -w 8 --no-pin || return
		done
	done
}
recycle() {
	local job jobs= status=0
	for job in 1 2 3 4; do
		come_and_go program$job & jobs="$jobs $!"
	done
	storms & jobs="$jobs $!"
	for job in $jobs; do
		wait $job || status=1
	done
	return $status
}
while sleep 0.5; do echo 3 >/proc/sys/vm/drop_caches; done &
recycle >/tmp/log 2>&1 && verdict=ok || verdict='not ok'
{ printf 'category recycle\n# running recycle\n'; cat /tmp/log; echo "$verdict 1 recycle"; } >>/run/out/vmtests.log
cp /proc/vmstat /proc/fs/xfs/stat /run/out/
"""


def step_filesystems():
    """a root on xfs and on btrfs: our selftests, and inodes that are recycled while they are mapped"""
    def boot(filesystem, name, append):
        return selftests_in_guest(kernel_of(f"patched-{MORE}"), disk(MORE),
                                  LOGS / f"filesystems-{filesystem}-{name}".replace(" ", "-"),
                                  ON_FILES, append, nodes=4, root=filesystem, after=RECYCLE)

    def count(file, pattern):
        return int(re.search(pattern, file.read_text(), re.M)[1])

    for filesystem, lacks in (("xfs", {}), ("btrfs", {
            "file.collapse": "large folios", "fault_storm random": "readahead that can be set"})):
        for name, append in SHARDED.items():
            result, title = boot(filesystem, name, append), f"{filesystem}, {name}"
            # no excuse by base, where what only the series can do always fails
            all_pass(title, result, (*ON_FILES, "recycle"), lacks)
            if not result.ok:
                continue
            sharded = count(result.out / "vmstat", r"^i_mmap_shard (\d+)$")
            tap.result(sharded > 0, f"{title}: files were sharded", f"i_mmap_shard: {sharded}")
            if filesystem == "xfs":
                freed = count(result.out / "stat", r"^ig(?: \d+){5} (\d+)")
                tap.result(freed > 0, f"{title}: inodes were freed meanwhile", f"xs_ig_reclaims: {freed}")
