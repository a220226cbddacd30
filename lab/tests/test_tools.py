# SPDX-License-Identifier: GPL-2.0
"""The smaller tools: guests that cannot start, configurations, help, set-up."""

import contextlib
import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from sandbox import TOP, Sandbox

import fail     # noqa: E402
import guest    # noqa: E402
import harness  # noqa: E402
import measure  # noqa: E402
import vmtests  # noqa: E402
from steps import arches, debugging, patches, suites, workloads     # noqa: E402


def arguments(form, *legs, **more):
    """What measure.py's command line becomes."""
    return SimpleNamespace(**{"form": form, "cpus": 8, "nodes": 4, "mem": "4G", "runs": None,
                              "seconds": 1, "rounds": 7, "most_cpus": 16, "execl": "", "legs": legs,
                              "accel": "tcg", "timeout": 9, "variables": [], **more})


class Guests(Sandbox):
    def test_topology(self):
        args = guest.numa(guest.Guest(Path("k"), cpus=8, nodes=4, mem="4G"))
        self.assertIn("8,sockets=4,cores=2,threads=1", args)
        self.assertIn("node,nodeid=3,cpus=6-7,memdev=m3", args)

    def test_nodes_may_differ(self):
        args = guest.numa(guest.Guest(Path("k"), numa="8,8:1G,2:0,0", mem="4G"))
        self.assertEqual(args[:4], ["-smp", "18,sockets=9,cores=2,threads=1", "-m", "4096M"])
        self.assertEqual(args[5::2], [
            "memory-backend-ram,id=m0,size=1536M", "node,nodeid=0,cpus=0-7,memdev=m0",
            "memory-backend-ram,id=m1,size=1024M", "node,nodeid=1,cpus=8-15,memdev=m1",
            "node,nodeid=2,cpus=16-17",
            "memory-backend-ram,id=m3,size=1536M", "node,nodeid=3,memdev=m3"])

    def test_more_arguments_of_qemu_are_words_of_a_shell(self):
        argv = ["guest.py", "run", "--kernel", "k", "--out", "o", "--numa", "2,0",
                "--qemu", "-device 'a b' -s", "script"]
        with mock.patch.object(sys, "argv", argv), mock.patch.object(guest, "stop_on_signals"), \
                mock.patch.object(guest, "run", return_value=guest.Result(0, "", None, 0, "")) as run:
            self.assertEqual(guest.main(), 0)
        self.assertEqual(run.call_args.args[0].qemu, ["-device", "a b", "-s"])
        self.assertEqual(run.call_args.args[0].numa, "2,0")
        self.refused("--qemu 'a: No closing quotation", "guest/guest.py", "run", "--kernel", "k",
                     "--out", "o", "--qemu", "'a", "script")

    def test_impossible_topologies_are_refused(self):
        for setting, words in (({"cpus": 6, "nodes": 4}, "every node gets the same"),
                               ({"cpus": 0, "nodes": 1}, "at least one"),
                               ({"mem": "many"}, "give a size"),
                               ({"numa": "8,"}, "--numa 8,: give the CPUs of each node"),
                               ({"numa": "8,-1"}, "give the CPUs of each node"),
                               ({"numa": "8:big"}, "give a size"),
                               ({"numa": "0,0"}, "one of them CPUs"),
                               ({"numa": "4,0:0"}, "CPUs or memory"),
                               ({"numa": "4,4:4G"}, "128M for each of 1 node"),
                               ({"numa": "4,4", "arch": "s390x"}, "s390x has no nodes"),
                               ({"cpus": 8, "nodes": 8, "mem": "512M"}, "128M")):
            with self.assertRaisesRegex(guest.Fail, words):
                guest.numa(guest.Guest(Path("k"), **setting))

    def test_every_leg_has_a_topology_on_any_host(self):
        for cpus in (1, 2, 3, 6, 12, 64):
            with mock.patch("os.cpu_count", return_value=cpus):
                for leg in measure.plan(arguments("bench")):
                    guest.numa(guest.Guest(Path("k"), cpus=leg.cpus, nodes=leg.nodes, mem=leg.mem))

    def test_other_architectures_are_emulated(self):
        kernel = self.write("Image", "")
        one = guest.Guest(kernel, arch="arm64", cpus=4, nodes=2, accel="auto")
        self.assertEqual(guest.accelerator(one), "tcg")
        with mock.patch("shutil.which", return_value="/it/is/there"):
            args = guest.command(one, "tcg", None, self.room, shell=False)
        self.assertEqual(args[:3], ["qemu-system-aarch64", "-machine", "virt"])
        self.assertIn("node,nodeid=1,cpus=2-3,memdev=m1", args)
        append = args[args.index("-append") + 1]
        self.assertIn("console=ttyAMA0", append)
        self.assertIn("norandmaps", append)

    def test_a_kvm_that_boots_nothing_is_named_and_remembered(self):
        one = guest.Guest(self.room / "bzImage", accel="auto")
        with mock.patch.object(guest, "BUILD", self.room), \
                mock.patch("os.access", return_value=True), \
                mock.patch.object(guest, "kvm_boots", return_value=False) as probe, \
                mock.patch("sys.stderr", new=io.StringIO()) as words:
            self.assertEqual([guest.accelerator(one), guest.accelerator(one)], ["tcg", "tcg"])
        self.assertEqual(probe.call_count, 1)
        self.assertRegex(words.getvalue(), "bzImage does not boot with it: .* remove .*accel.json")

    def test_a_missing_emulator_is_named(self):
        with mock.patch("shutil.which", return_value=None):
            for arch, words in (("amd64", "run make setup"),
                                ("riscv64", "qemu-system-riscv64 is missing: run lab/host/setup arches")):
                with self.assertRaisesRegex(guest.Fail, words):
                    guest.command(guest.Guest(Path("k"), arch=arch), "tcg", None, self.room, False)

    def test_missing_kernel_is_named(self):
        self.refused("run make kernel", "guest/guest.py", "run", "--kernel", "/none", "--accel", "tcg",
                     "--out", str(self.room / "out"), "/bin/true")

    def test_trouble_is_told_apart(self):
        for console, words in (
                ("Kernel panic - not syncing: sysrq triggered crash", "panicked (sysrq triggered crash)"),
                ("INFO: task x blocked for more than 120 seconds.\nKernel panic - not syncing: hung_task: blocked tasks", "hung (a task"),
                ("watchdog: BUG: soft lockup - CPU#0 stuck", "hung (soft lockup)"),
                ("Out of memory: Killed process 7", "ran out of memory"),
                ("nothing", "ended without a word")):
            self.assertIn(words, guest.trouble(console, False, 9, 0, ""))
        self.assertIn("within 9 s", guest.trouble("nothing", True, 9, -9, ""))

    def test_emulated_x86_has_no_device_memory_that_moves(self):
        kernel = self.write("bzImage", "")
        for accel, setting, expected in (("tcg", {}, True), ("kvm", {}, False),
                                         ("tcg", {"icount": True}, False),
                                         ("tcg", {"arch": "riscv64"}, False)):
            with self.subTest(accel, **setting), mock.patch("shutil.which", return_value="/there"):
                args = guest.command(guest.Guest(kernel, **setting), accel, None, self.room, False)
                self.assertEqual("virtio-blk-pci.disable-modern=on" in args, expected)

    def test_vcpus_take_turns_where_that_is_asked_for(self):
        kernel = self.write("bzImage", "")
        for turns, expected in ((False, "tcg,thread=multi"), (True, "tcg,thread=single")):
            with self.subTest(turns=turns), mock.patch("shutil.which", return_value="/there"):
                args = guest.command(guest.Guest(kernel, turns=turns), "tcg", None, self.room, False)
                self.assertIn(expected, args)

    def test_an_emulator_that_aborts_gets_one_more_try(self):
        kernel, starts = self.write("bzImage", ""), self.room / "starts"
        for signals, status, why in ((["ABRT"], 3, ""),
                                     (["ABRT", "ABRT"], None, "status -6: Assertion"),
                                     (["KILL"], None, "status -9: Assertion")):
            with self.subTest(signals):
                starts.unlink(missing_ok=True)
                out = self.room / "-".join(signals)
                qemu = f"""echo start >>{starts}
                           set -- {" ".join(signals)}
                           shift $(($(wc -l <{starts}) - 1))
                           echo Assertion failed
                           [ -z "$1" ] || kill -$1 $$
                           cd {out} && echo 3 >status && tar cf .results.tar status"""
                with mock.patch.object(guest, "command", return_value=["sh", "-c", qemu]), \
                        mock.patch("sys.stderr", new_callable=io.StringIO) as said:
                    result = guest.run(guest.Guest(kernel, accel="tcg"), "#!/bin/sh\n:\n", out=out)
                self.assertEqual(result.status, status)
                self.assertIn(why, result.why)
                again = signals[0] == "ABRT"
                self.assertEqual(len(starts.read_text().split()), 1 + again)
                self.assertEqual("once more, as QEMU aborted: Assertion" in said.getvalue(), again)

    def test_what_a_guest_sent_before_it_died_comes_back(self):
        def sent(**files):
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                for name, text in files.items():
                    info = tarfile.TarInfo(name)
                    info.size = len(text)
                    tar.addfile(info, io.BytesIO(text.encode()))
            return archive.getvalue()

        first, second = sent(a="once", b="b"), sent(a="twice" * 1000, status="3")
        header, data = 512, 5000
        for stream, status, a in ((first + second, 3, "twice" * 1000), (first, None, "once"),
                                  (first + second[:header + data], None, "twice" * 1000),
                                  (first + second[:header + data - 1], None, "once"),
                                  (first + second[:100], None, "once")):
            with self.subTest(length=len(stream)):
                (self.room / ".results.tar").write_bytes(stream)
                result = guest.collect(guest.Guest(Path("k")), self.room, "tcg", 1, False, 0, "")
                self.assertEqual((result.status, (self.room / "a").read_text()), (status, a))
                self.assertEqual((self.room / "b").read_text(), "b")
        (self.room / ".results.tar").write_bytes(first[:100])
        self.assertIsNone(guest.collect(guest.Guest(Path("k")), self.room, "tcg", 1, False, 0, "").status)

    def test_tools_end_with_a_line(self):
        def raises(error):
            raise error
        for what, status in ((lambda: 3, 3), (lambda: raises(fail.Fail("why")), "tool: why"),
                             (lambda: raises(KeyboardInterrupt), "tool: interrupted")):
            with self.assertRaises(SystemExit) as end:
                fail.main("tool", what)
            self.assertEqual(end.exception.code, status)

    def test_selftests_on_another_file_system_get_a_disk_for_it(self):
        def run(one, job, files, out):
            self.assertIn("|| exec ./other-root xfs ./run\n", job)
            self.assertIn(TOP / "lab/guest/other-root", files)
            disk = re.fullmatch("file=(.*),if=virtio,format=raw,cache=unsafe", one.qemu[1])[1]
            return Path(disk).stat().st_size

        self.write("built/.config", "CONFIG_X=y\n")
        kernel = self.room / "built/vmlinux"
        with mock.patch.object(guest, "run", side_effect=run), mock.patch.object(guest, "BUILD", self.room):
            self.assertEqual(vmtests.run(kernel, Path("i"), self.room, root="xfs"), 4 << 30)
        with mock.patch.object(guest, "run", side_effect=lambda one, job, *_, **how: (one.qemu, job)), \
                mock.patch.object(guest, "BUILD", self.room):
            qemu, job = vmtests.run(kernel, Path("i"), self.room)
        self.assertEqual((qemu, "other-root" in job), ([], False))
        self.assertEqual((self.room / "config").read_text(), "CONFIG_X=y\n")

    def test_a_kernel_that_complains_is_not_well(self):
        for line in ("[    3.924684] BUG: Bad page cache in process file_rmap  pfn:3ec68",
                     "[   12.000001] WARNING: mm/rmap.c:7 at rmap_walk+0x7/0x70",
                     "[   31.924684] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!"):
            self.assertIn(line.split(": ")[-1].strip(), guest.complaint(f"[    1.000000] well\n{line}\n"))
        self.assertEqual(guest.complaint("[    1.0] a DEBUG: word\nno WARNING: of the kernel's\n"), "")


class Measurements(Sandbox):
    def test_boots_alternate(self):
        leg = measure.Leg("x", ["true"], 8, 4, 4, "4G")
        sides = [side[0] for _, _, side in measure.order([leg])]
        self.assertEqual("".join(sides), "bppbbppb")

    def test_a_missing_kernel_leaves_latest_alone(self):
        results = self.room / "results"
        results.mkdir()
        (results / "latest").symlink_to("earlier")
        self.refused("there is nothing to measure", "bench/measure.py", "run", RESULTS=str(results))
        self.assertEqual((results / "latest").readlink(), Path("earlier"))
        self.assertEqual(list(results.glob("*-failed")), [])

    def interrupted(self, boots, why=measure.Fail("patched, truncate: guest panicked\nits console")):
        """What measure() says when a boot behind so many ends like that; and its folder."""
        def happens(_kernel):
            if len(happened) > boots:
                raise why

        happened, results = [], self.room / "results"
        with self.guests(happened, happens) as said, self.assertRaises(type(why)):
            measure.measure(arguments("bench", "truncate", runs=2))
        self.assertFalse((results / "latest").exists())
        return said.getvalue(), next(results.glob("*-failed"))

    @contextlib.contextmanager
    def guests(self, happened, happens=lambda kernel: None, **more):
        """measure() with kernels that are there and boots that measure how many there were: a name of
        a kernel each in happened."""
        def boot(leg, side, out, _args):
            happened.append(f"{side}{leg.fragments}")
            out.mkdir(parents=True)
            happens(happened[-1])
            for name, what in (("bench-1", {"bench": "truncate", "unit": "us", "vmas": 6000,
                                            "samples": [len(happened)]}),
                               ("boot", {"side": side, "leg": leg.name, "cpus": 8, "nodes": 4, "accel": "tcg",
                                         "icount": False, "seconds": 5, "command": "c", "kernel": "k"})):
                (out / f"{name}.json").write_text(json.dumps(what))
            return SimpleNamespace(seconds=5)

        self.write(self.build / "source/id", "Linux\n\nsum\n")
        with mock.patch.multiple(measure, **{
                "RESULTS": self.room / "results", "BUILD": self.build, "boot": boot, "build": lambda legs: None,
                "hashes": lambda legs: {f"{side}{leg.fragments}": 1 for leg in legs for side in measure.SIDES},
                **more}), mock.patch("sys.stdout", new=io.StringIO()) as said:
            yield said

    def test_what_a_run_that_panics_had_measured_is_shown(self):
        said, failed = self.interrupted(4)
        for text in (said, (failed / "table.txt").read_text()):
            self.assertRegex(text, r"truncate_6000_maps_us +2.5 \(1-4\) +2.5 \(2-3\)")
            self.assertRegex(text, "(?m)^INCOMPLETE: 4 of 6 boots: patched, truncate: guest panicked$")
        self.assertIn(str(failed), said)
        # boots that were guessed to take ten seconds take five
        self.assertIn("[1/6] truncate: base, 8 CPUs in 4 node(s), run 1 of 2, about 60 s left: 5s\n", said)
        self.assertIn("[2/6] truncate: patched, 8 CPUs in 4 node(s), run 1 of 2, about 35 s left: 5s\n", said)

    def test_what_was_measured_before_an_interruption_is_shown(self):
        self.assertIn("INCOMPLETE: 2 of 6 boots: interrupted", self.interrupted(2, KeyboardInterrupt())[0])

    def test_a_run_with_nothing_of_one_side_is_kept_without_a_table(self):
        said, failed = self.interrupted(1)
        self.assertIn("no table of it", said)
        self.assertTrue((failed / "boots/001/bench-1.json").exists())

    def test_how_long_it_takes_is_known_from_before(self):
        results = self.room / "results"
        self.write(results / "latest/boots/001/boot.json", '{"leg": "memory", "seconds": 100}')
        first, second = measure.plan(arguments("bench", "memory"))
        with mock.patch.object(measure, "RESULTS", results):
            forecast = measure.Forecast(arguments("bench"))
        todo = list(measure.order([first]))
        self.assertEqual(forecast.left(todo), "about 3 min left")
        self.assertEqual(forecast.boot(second), measure.BOOT_SECONDS + 2)
        forecast.add(first, 10)
        self.assertEqual(forecast.left(todo), "about 20 s left")

    def test_kernels_are_built_where_their_legs_begin(self):
        """And what was measured before that is told first."""
        happened = []

        def build(legs):
            happened.append(f"build {legs[0].fragments}, {out.getvalue().count('the others follow')}")

        legs = [replace(leg, sides=measure.SIDES, runs=1)
                for leg in measure.plan(arguments("run", "lock_stat", "instructions")) if "," not in leg.name]
        legs.append(replace(legs[0], name="again"))
        with self.guests(happened, build=build, plan=lambda args: legs) as out:
            measure.measure(arguments("run"))
        self.assertEqual(happened, [
            "build -lock_stat, 0", *["base-lock_stat", "patched-lock_stat"] * 2,
            "build -jump_label, 1", "base-jump_label", "patched-jump_label"])
        self.assertIn("4 of 6 boots: the others follow", out.getvalue())
        self.assertTrue((self.room / "results/latest/measured.json").exists())

    def test_wrong_legs_are_refused(self):
        self.refused("rate is not part of make run, which has lock_stat",
                     "bench/measure.py", "run", "--legs", "rate")
        self.refused("use make bench", "bench/measure.py", "run", "--legs", "shards")

    def test_run_is_short(self):
        """Two kernels a side, and, at 12 s a boot, four minutes."""
        legs = measure.plan(arguments("run"))
        self.assertLessEqual(len({leg.fragments for leg in legs}), 2)
        self.assertLessEqual(len(list(measure.order(legs))), 20)

    def test_runs_are_those_of_the_table_unless_told(self):
        def runs(form, **more):
            return {leg.name: leg.runs for leg in measure.plan(arguments(form, **more))}
        self.assertEqual(runs("run"), {
            "lock_stat": 3, "lock_stat, forced": 2, "instructions": 1, "instructions, unsharded": 1,
            "instructions, sharded": 1, "faults, both": 3})
        self.assertEqual(runs("bench")["instructions"], 3)
        self.assertEqual(set(runs("run", runs=5).values()), {5})

    def test_several_benchmarks_in_one_boot_have_a_file_each(self):
        leg, = measure.plan(arguments("run", "faults"))
        self.assertEqual([command.split()[1:] for command in leg.commands], [
            ["mmap", "-t", "1", "-d", "/bench", "-j", "/run/out/bench-1.json"],
            ["mprotect", "-t", "1", "-d", "/bench", "-j", "/run/out/bench-2.json"]])

    def test_what_runs_beside_a_storm_is_stopped_behind_it(self):
        leg = next(leg for leg in measure.plan(arguments("bench", "rates")) if leg.beside)
        self.assertEqual(leg.script().splitlines()[:5], [
            "/bench/file_rmap_bench extend /lib/*/libc.so.6 &", "meanwhile=$!",
            "./storm-suite -t 1 /run/out exec:with_walker", "kill $meanwhile", "wait $meanwhile || :"])

    def test_scaling_has_all_sizes_but_that_of_the_rates(self):
        legs = measure.plan(arguments("bench", "rates", "scaling"))
        self.assertEqual([(leg.cpus, leg.nodes) for leg in legs if len(leg.commands[0].split()) > 6],
                         [(8, 4), (1, 1), (2, 1), (4, 2), (16, 8)])

    def test_a_punch_is_counted_where_there_are_twelve_groups(self):
        leg = next(leg for leg in measure.plan(arguments("bench", "instructions")) if "punch" in leg.name)
        self.assertEqual((leg.cpus, leg.nodes, leg.icount, len(leg.commands)), (12, 12, True, 2))

    def test_workloads_are_measured_in_four_ways(self):
        self.assertEqual([(leg.sides, leg.cpus, leg.icount, leg.commands, leg.disk)
                          for leg in measure.plan(arguments("bench", "workloads"))], [
            (("base", "patched"), 1, True, ["./workloads -i /run/out"], "workloads"),
            (("patched",), 1, True, ["./workloads -i /run/out"], "workloads"),
            (("base", "patched"), 8, False, ["./workloads /run/out"], "workloads"),
            (("patched",), 8, False, ["./workloads /run/out"], "workloads")])

    def test_an_external_benchmark_runs_only_where_there_is_one(self):
        def with_it(execl):
            return [leg.name for leg in measure.plan(arguments("bench", "rates", "truncate", execl=execl))
                    if "external" in leg.script()]
        self.assertEqual(with_it(""), [])
        self.assertEqual(with_it("/bin/true"), ["rates"])
        self.refused("none of these legs runs it", "bench/measure.py", "run", "--execl", "/bin/true")

    def test_workloads_that_are_slower_are_told(self):
        self.assertEqual(workloads.too_slow([1000, 1001], [1009, 1010], True), "")
        self.assertIn("+1.10 %", workloads.too_slow([1000, 1000], [1011, 1011], True).replace("%", " %"))
        self.assertIn("are 0.80% apart", workloads.too_slow([1000, 1008], [1000, 1000], True))
        self.assertEqual(workloads.too_slow([10, 14], [13, 30], False), "")
        self.assertEqual(workloads.too_slow([10, 11], [14, 15], False), "")
        self.assertIn("1.60 times", workloads.too_slow([10, 10], [15, 17], False))

    def test_external_benchmark_brings_its_libraries(self):
        renamed = self.room / "renamed"
        shutil.copy(shutil.which("true"), renamed)
        with mock.patch.object(measure, "EXTERNAL", self.room / "execl.tar"):
            measure.pack_external(renamed)
        with tarfile.open(self.room / "execl.tar") as tar:
            names = tar.getnames()
        self.assertEqual(names[0], "execl/execl")
        self.assertTrue(any(re.fullmatch(r"usr/lib.*/libc\.so\.6", name) for name in names), names)


class Selftests(Sandbox):
    LOG = """category mmap
# SKIP ./on-fault-limit
# ---------
# running ./map_fixed_noreplace
# ---------
# TAP version 13
# ok 1 inner
# [PASS]
ok 1 map_fixed_noreplace
# running ./droppable
# [SKIP]
ok 2 droppable # SKIP
# running ./map_populate
not ok 3 map_populate # exit=1
category mmap status 1
category mremap
# running ./mremap_test
# remapping
category mremap status 124
category thp
# SKIP ./on-fault-limit
# [SKIP] ./khugepaged all:vfat
# running ./khugepaged all:file /tmp/xfs_dir_a1B2c3
ok 1 khugepaged all:file /tmp/xfs_dir_a1B2c3
category thp status 0
category file_rmap
# running ./file_rmap
# #  ok 1 file_rmap.truncate
# #  ok 2 file_rmap.huge # SKIP no huge pages
# #  ok 3 file_rmap.memory # SKIP locks are larger with lockdep
ok 4 file_rmap
category file_rmap status 0
"""

    def test_results_are_read(self):
        log, said = self.write("log", self.LOG), {}
        self.write("config", "CONFIG_LOCKDEP=y\n")
        self.assertEqual(vmtests.results(log, said), {
            "left out: on-fault-limit": "skip", "left out: khugepaged all:vfat": "skip",
            "mmap: map_fixed_noreplace": "ok", "mmap: droppable": "skip",
            "mmap: map_populate": "fail", "mremap: mremap_test": "timeout",
            "thp: khugepaged all:file /tmp/xfs_dir": "ok",
            "file_rmap: file_rmap": "ok", "file_rmap: file_rmap: file_rmap.huge": "skip",
            "file_rmap: file_rmap: file_rmap.memory": "excused",
            "file_rmap: file_rmap: file_rmap.truncate": "ok"})
        self.assertEqual(said["mmap: map_populate"], ["not ok 3 map_populate # exit=1"])
        self.assertEqual(said["mremap: mremap_test"], ["# remapping"])
        self.assertEqual(said["file_rmap: file_rmap: file_rmap.huge"],
                         ["# #  ok 2 file_rmap.huge # SKIP no huge pages"])
        self.write("config", "# CONFIG_LOCKDEP is not set\n")
        self.assertEqual(vmtests.results(log)["file_rmap: file_rmap: file_rmap.memory"], "skip")

    def test_cases_that_fail_are_named(self):
        self.assertEqual(vmtests.failed_cases([
            "# # not ok 1 cow.swapped", "# not ok 3 hmm.huge # exit=1", "# ok 4 mlock", "a not ok 1 x",
            "not ok 2 cow # exit=1"]), {"cow.swapped", "hmm.huge", "cow"})

    def test_what_run_vmtests_leaves_out_is_not_a_failure_of_ours(self):
        (self.room / "vmtests.log").write_text("category file_rmap\n# SKIP ./on-fault-limit\n"
                                               "# running ./file_rmap\n# #  ok 1 file_rmap.truncate\n"
                                               "# #  ok 2 file_rmap.memory # SKIP locks are larger with lockdep\n"
                                               "ok 1 file_rmap\ncategory file_rmap status 0\n")
        self.write("config", "CONFIG_LOCKDEP=y\n")
        result = SimpleNamespace(ok=True, out=self.room, explain=str)
        with mock.patch.object(harness, "tap") as tap:
            harness.all_pass("guest", result, ["file_rmap"])
        self.assertEqual([call.args[:2] for call in tap.result.call_args_list], [
            (True, "guest: races without a splat"),
            (True, "guest: file_rmap: file_rmap: file_rmap.truncate"),
            (True, "guest: file_rmap: file_rmap")])
        self.assertEqual([call.args[:2] for call in tap.skip.call_args_list], [
            ("guest: file_rmap: file_rmap: file_rmap.memory", "locks are larger with lockdep")])
        tap.fail.assert_not_called()

    def judged(self, runs, ours=()):
        """{"side: test": how it is called}"""
        runs = {side: {name: [tried if isinstance(tried, tuple) else (tried, ()) for tried in tries]
                       for name, tries in tests.items()} for side, tests in runs.items()}
        with mock.patch.object(suites, "tap") as tap, mock.patch.object(suites, "say"):
            suites.judge("t", runs, dict.fromkeys(runs), ours)
        return {call.args[0].removeprefix("t, "): how for how in ("ok", "skip", "same", "fail")
                for call in getattr(tap, how).call_args_list}

    def test_a_side_is_judged_by_base(self):
        excused = ("excused", ["# ok 1 o.g # SKIP not here"])
        both = {"m: a": ["ok"], "m: b": ["skip"], "m: c": ["fail"], "o: d": ["skip"], "o: g": [excused]}
        runs = {"base": {**both, "m: e": ["ok"], "m: f": ["ok"]},
                "patched": {**both, "m: e": ["fail"], "m: f": ["skip"]}, "sharded": both}
        self.assertEqual(self.judged(runs, ["o"]), {
            "patched: m: a": "ok", "patched: m: b": "skip", "patched: m: c": "same",
            "patched: o: d": "fail", "patched: o: g": "skip", "patched: m: e": "fail", "patched: m: f": "fail",
            "sharded: m: a": "ok", "sharded: m: b": "skip", "sharded: m: c": "same",
            "sharded: o: d": "fail", "sharded: o: g": "skip", "sharded: m: e": "fail", "sharded: m: f": "fail"})

    def test_a_case_that_base_passes_is_a_failure(self):
        base, more = ("fail", ["not ok 1 a"]), ("fail", ["not ok 1 a", "not ok 2 b"])
        runs = {"base": {"m: x": [base], "m: y": [base, more]}, "patched": {"m: x": [more], "m: y": [more]},
                "sharded": {"m: x": [base], "m: y": [base]}}
        self.assertEqual(self.judged(runs), {"patched: m: x": "fail", "patched: m: y": "same",
                                             "sharded: m: x": "same", "sharded: m: y": "same"})

    def test_what_fails_once_is_run_again(self):
        def again(*tried, base=("ok",), name="m: a", ours=()):
            tests = [{name: [(one, ()) for one in side]} for side in (base, tried)]
            return suites.to_run_again("patched", dict(zip(("base", "patched"), tests)), ours)

        self.assertEqual(again("ok"), [])
        self.assertEqual(again("fail"), ["m"])
        self.assertEqual(again("fail", "ok"), ["m"])
        self.assertEqual(again("fail", "fail"), [])
        self.assertEqual(again("fail", base=("ok", "fail")), [])
        self.assertEqual(again("fail", ours=["m"]), [])
        self.assertEqual(again("skip", base=("absent",), name="left out: a"), [])
        ok = {"m: a": ["ok", "ok", "ok"]}
        for tried, how in ((["fail", "ok", "ok"], "ok"), (["fail", "fail"], "fail"),
                           (["fail", "ok", "fail"], "fail")):
            self.assertEqual(self.judged({"base": ok, "patched": {"m: a": tried}, "sharded": ok}),
                             {"patched: m: a": how, "sharded: m: a": "ok"})

    def test_another_run_adds_to_the_first(self):
        tried = {"m: a": [("fail", ())], "m: b": [("ok", ())], "n: c": [("ok", ())]}
        suites.add_tries(tried, ["m"], {"m: a": "ok", "left out: x": "skip"}, {"m: a": ["said"]})
        self.assertEqual(tried, {"m: a": [("fail", ()), ("ok", ["said"])],
                                 "m: b": [("ok", ()), ("absent", ())], "n: c": [("ok", ())]})


class Races(Sandbox):
    def test_what_base_does_and_what_is_not_ours_is_no_failure(self):
        ours = {"shrink_folio_list", "copy_page_range", debugging.SOUGHT}
        for pair, how in ((f"down_read / {debugging.SOUGHT}", "fail"), ("shrink_folio_list / vm_normal_folio", "skip"),
                          (f"{debugging.SOUGHT} / vm_normal_folio", "fail"),
                          ("copy_page_range / migrate_pages_batch", "skip"),
                          (f"copy_page_range / {debugging.SOUGHT}", "fail"),
                          (f"__x64_sys_move_pages / {debugging.SOUGHT}", "fail"),
                          ("do_idle / tick", "skip"), ("mmput / shrink_folio_list", "same")):
            with self.subTest(pair=pair):
                self.assertEqual(debugging.judged(pair, {"mmput / shrink_folio_list": ""}, ours)[0], how)

    def test_a_race_of_one_function_is_found_by_its_name(self):
        for said in ("o+0x1f/0x240", "o.isra.0 / tick", "o.part.0+0x1f/0x240"):
            for pair in debugging.races("=" * 66 + f"\nBUG: KCSAN: data-race in {said}\n\n" + "=" * 66):
                self.assertEqual(debugging.judged(pair, {}, {"o"})[0], "fail", pair)
        self.assertEqual(list(debugging.races("BUG: KCSAN: data-race in b / a")), ["a / b"])

    def test_the_function_that_is_sought_exists(self):
        self.assertRegex((TOP / "mm/i_mmap.c").read_text(), rf"\b{debugging.SOUGHT}\(")


class Compilers(Sandbox):
    def test_what_compiles_an_object(self):
        for path, how in (("mm/mmap.o", None), ("arch/x86/mm/fault.o", None),
                          ("mm/mapping_dirty_helpers.o", "each-objects"),
                          ("arch/sh/mm/cache-sh7705.o", "each:sh:sh7785lcr_defconfig:sh4-linux-gnu-"),
                          ("drivers/gpu/drm/panthor/x.o", "each:arm64:defconfig:aarch64-linux-gnu-")):
            self.assertEqual(patches.elsewhere(path), how, path)

    def compiles(self, says, missing=""):
        """What is said of arm64, whose compiler says that: {side: (status, text)}"""
        def command(_, argv, env):
            self.assertEqual((argv[1], env["W"], argv[-1]), ("-c", "e", "arch/arm64/mm/fault.o"))
            return says[argv[2].partition(":")[0]]
        self.write("arm64-defconfig/.config", "CONFIG_PER_VMA_LOCK=y\n")
        with mock.patch.object(arches, "CROSS", {"arm64": patches.CROSS["arm64"]}), \
                mock.patch.object(arches, "PATCHED", self.room), \
                mock.patch.object(arches, "command", command), \
                mock.patch("shutil.which", lambda name: name != missing), \
                mock.patch.object(arches.series, "git", return_value="mm/a.c\narch/arm64/mm/fault.c"), \
                mock.patch.object(arches, "tap", harness.Tap()) as tap, \
                mock.patch("sys.stdout", new=io.StringIO()):
            arches.step_compiles()
        return [one["result"] for one in tap.results]

    def test_other_architectures_compile_as_base_does(self):
        warns = 2, "mm/a.c:7:1: error: unused variable 'b' [-Werror]\n"
        self.assertEqual(self.compiles({"patched": (0, "")}), ["pass", "pass"])
        self.assertEqual(self.compiles({"patched": warns, "base": warns}), ["same"])
        self.assertEqual(self.compiles({"patched": warns, "base": (0, "")}), ["fail"])
        self.assertEqual(self.compiles({}, missing="aarch64-linux-gnu-gcc"), ["fail"])

    def test_without_a_compiler_no_commit_is_looked_at(self):
        for step in (patches.step_commits, patches.step_configurations):
            with self.subTest(step=step.__name__), \
                    mock.patch.object(patches, "chosen", lambda: (self.room, [("tree", ("commit", "title"))])), \
                    mock.patch.object(patches, "touched", lambda _: ["mm/a.c"]), \
                    mock.patch.object(patches, "check_out"), \
                    mock.patch.object(patches, "command", lambda *_, **__: (1, "gcc is missing")), \
                    mock.patch.object(patches, "tap", harness.Tap()) as tap, \
                    mock.patch.object(tap, "keep") as keep, \
                    mock.patch("sys.stdout", new=io.StringIO()):
                step()
                self.assertEqual({one["name"].partition(": ")[2] for one in tap.results},
                                 {"compiles before the first commit"})
                keep.assert_not_called()

    def test_configurations_keeps_what_it_found_of_each_commit(self):
        def at(_, _tree, commit, _title, targets):
            if commit == "second":
                raise KeyboardInterrupt
            self.assertEqual(targets, ["mm/a.o"])
            return set(targets)
        parts = [(f"tree of {commit}", (commit, "title")) for commit in ("first", "second")]
        with mock.patch.object(patches, "chosen", lambda: (self.room, parts)), \
                mock.patch.object(patches, "touched", lambda _: ["mm/a.c", "tools/testing/vma/tests/merge.c"]), \
                mock.patch.object(patches, "check_out"), \
                mock.patch.object(patches.Compiled, "begin", lambda *_: True), \
                mock.patch.object(patches.Compiled, "at", at), \
                mock.patch.object(patches, "tap", harness.Tap()) as tap, \
                mock.patch.object(tap, "keep") as keep, self.assertRaises(KeyboardInterrupt):
            patches.step_configurations()
        keep.assert_called_once()


class Shell(Sandbox):
    def test_unknown_flavours_are_refused(self):
        self.refused("begins with base or patched", "kernel/kernel", "wrong")
        self.refused("no lab/kernel/configs/none.config", "kernel/kernel", "base-none")
        self.refused("run make tree", "kernel/kernel", "base")

    def test_every_machine_has_a_flavour(self):
        self.write(self.build / "patched/src/Makefile", "")
        images = {arch: self.good("kernel/kernel", "--image", f"patched-{arch}-kunit").strip()
                  for arch in guest.FOREIGN}
        images["amd64"] = self.good("kernel/kernel", "--image", "patched").strip()
        for arch in guest.FOREIGN:
            self.assertTrue(images[arch].startswith(f"{self.build}/patched/{arch}-kunit/"))
        self.assertEqual(len({Path(path).relative_to(self.build).parts[2:]
                              for path in images.values()}), len(guest.MACHINES))

    def test_a_kernel_that_is_not_built_is_named(self):
        self.write(self.build / "patched/src/Makefile", "")
        with mock.patch.dict("os.environ", BUILD=str(self.build)):
            for flavour, words in (("patched-debug", "run lab/kernel/kernel patched-debug"),
                                   ("other", "begins with base or patched")):
                with self.assertRaisesRegex(guest.Fail, words):
                    harness.image_of(flavour)
            image = self.write(self.build / "patched/guest/arch/x86/boot/bzImage", "")
            self.assertEqual(harness.image_of("patched"), image)

    def test_source_packages_are_listed_where_asked_for(self):
        self.program("apt-get", "[ $1 != indextargets ] || echo http://mirror/debian Debian/Debian")
        show = "cat $apt_dir/sources.list"
        script = self.common(f"PATH={self.room}:$PATH\n. {TOP}/lab/host/apt.sh\n"
                             f"private_lists one two\n{show}\nsources=yes private_lists one\n{show}\n"
                             f"private_lists one\n{show}")
        deb = "http://mirror/debian {} main"
        self.assertEqual(self.good(script).splitlines(), [
            "deb " + deb.format("one"), "deb " + deb.format("two"),
            "deb " + deb.format("one"), "deb-src " + deb.format("one"), "deb " + deb.format("one")])

    def test_packages_without_a_list_are_refused(self):
        self.refused("usage: setup [WORD...]", "host/setup", "none")
        self.refused("none has none", "host/setup", "stress", "none")

    def test_a_full_disk_is_told_before(self):
        self.refused("make room or set BUILD=", self.common("need_space 999999"))

    def test_a_failed_step_shows_its_log(self):
        done = self.run_tool(self.common("fails() { echo the reason; return 3; }\nstep work $BUILD/log/x fails"))
        self.assertEqual(done.returncode, 3)
        self.assertIn("    the reason", done.stdout)
        # nor does it go on behind an error when its output is shown
        script = self.common("fails() { false; echo went on; }\n"
                             "step work $BUILD/log/x fails\necho behind it")
        for verbose in ("0", "1"):
            done = self.run_tool(script, V=verbose)
            self.assertEqual(done.returncode, 1, verbose)
            self.assertNotIn("went on", done.stdout)
            self.assertNotIn("behind it", done.stdout)

    def test_a_step_tells_how_far_it_is(self):
        script = self.common("work() { echo; echo; echo; sleep 2.5; }\nexpected=4 step work $BUILD/log/x work")
        said = self.good(script, PROGRESS_SECONDS="1.2").splitlines()
        self.assertRegex(said[0], r"^work: \d+s, 3 of about 4 lines, about \d+ s left$")
        self.assertRegex(said[-1], r"^work: \d+s$")
        # quick ones say it once, and do not wait for their teller
        begin = time.monotonic()
        self.assertRegex(self.good(self.common("step work $BUILD/log/x true")), r"^work: \d+s\n$")
        self.assertLess(time.monotonic() - begin, 20)

    def test_a_kernel_knows_how_many_lines_the_last_build_printed(self):
        for side in ("base", "patched"):
            source = self.build / side / "src"
            self.write(source / "Makefile", "tinyconfig olddefconfig:\n\t@:\n"
                       "bzImage:\n\t@for i in 1 2 3 4 5; do echo line; sleep 0.4; done\n")
            self.program(source / "scripts/kconfig/merge_config.sh", 'out=$3\nshift 4\ncat "$@" >"$out/.config"')

        def build(side):
            return self.good("kernel/kernel", side, PROGRESS_SECONDS="1")
        self.assertIn("of about 1500 lines", build("base"))
        lines = (self.build / "log/kernel-base.lines").read_text().strip()
        self.assertLess(int(lines), 10)
        self.assertIn(f"of about {lines} lines", build("patched"))
        # one that only does what is left says nothing of the next
        (self.build / "base/src/Makefile").write_text("bzImage:\n\t@echo one; sleep 2.5\n")
        self.assertIn(f"of about {lines} lines", build("base"))
        self.assertEqual((self.build / "log/kernel-base.lines").read_text().strip(), lines)

    def test_what_is_installed_is_listed_first(self):
        for name, text in (("dpkg-query", "echo absent"), ("id", "echo 0"), ("apt-get", "true")):
            self.program(name, text)
        said = self.good("host/setup", PATH=f"{self.room}:/usr/bin:/bin").splitlines()
        self.assertRegex(said[0], "^installing with apt-get, unless you say SETUP=no: bc bison .*ccache")
        self.assertRegex(said[1], "^installing [0-9]+ packages: ")
        said = self.good("host/setup", "stress", "static", PATH=f"{self.room}:/usr/bin:/bin")
        self.assertIn(" stress-ng ", said)
        self.assertIn(" coccinelle ", said)

    def test_two_runs_wait_for_each_other(self):
        script = self.common("only_one thing\necho mine")
        self.good(script)
        with open(self.build / "log/thing.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = self.start(script)
            said = waiting.stdout.readline()
            self.assertIn("another run is at thing", said)
            self.assertIsNone(waiting.poll())
        self.assertEqual(waiting.communicate(timeout=20)[0], "mine\n")

    def test_a_kill_stops_a_build(self):
        """Also one that a tool has started: a measurement its kernels."""
        number = self.room / "number"
        build = self.common(f"step build {self.room}/log sh -c 'echo $$ >{number}; exec sleep 60'")
        tool = subprocess.Popen([sys.executable, "-c", f"import guest; guest.stop_on_signals(); guest.tool('{build}')"],
                                cwd=TOP / "lab/guest", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        while not number.exists() or not number.read_text():
            self.assertIsNone(tool.poll())
            time.sleep(0.01)
        tool.terminate()
        self.assertIn(b"KeyboardInterrupt", tool.communicate(timeout=20)[1])
        self.assertRaises(ProcessLookupError, os.kill, int(number.read_text()), 0)

    def test_nohup_is_heeded(self):
        before = signal.getsignal(signal.SIGHUP)
        try:
            for action in (signal.SIG_IGN, signal.SIG_DFL):
                signal.signal(signal.SIGHUP, action)
                guest.stop_on_signals()
                self.assertEqual(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, action == signal.SIG_IGN)
        finally:
            signal.signal(signal.SIGHUP, before)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def test_wrong_arguments_are_refused_before_anything_is_done(self):
        for words, *command in (
                ("FLAVOUR=foo: a flavour begins with", "kernel", "FLAVOUR=foo"),
                ("no lab/kernel/configs/none.config", "config", "FLAVOUR=base-none"),
                ("CPUS=7 NODES=4: every node", "boot", "CPUS=7"),
                ("begins with base or patched", "boot", "FLAVOUR=x", "NUMA=2,2"),
                ("CPUS=0: give a positive number", "run", "CPUS=0"),
                ("MEM=lots: give a size", "run", "MEM=lots"),
                ("MEM=511M is less than 128M for each of 4 nodes", "run", "MEM=511M"),
                ("ACCEL=hvf: it is", "run", "ACCEL=hvf"),
                ("RUNS=-1: give a positive", "run", "RUNS=-1"),
                ("LEGS=shards is not part of make run: use make bench", "run", "LEGS=lock_stat,shards"),
                ("LEGS=rate: make bench has lock_stat", "bench", "LEGS=rate"),
                ("EXECL=/usr is not an executable file", "bench", "EXECL=/usr"),
                ("use make bench", "run", "EXECL=/bin/sh"),
                ("CONFIG=/none is not a file", "package", "CONFIG=/none"),
                ("TYPE=zip: it is", "package", "CONFIG=/etc/passwd", "TYPE=zip"),
                ("usage: make compare", "compare", "A=/usr"),
                ("B=/none is not a folder", "compare", "A=/usr", "B=/none"),
                ("HOURS=0: give", "soak", "HOURS=0"),
                ("SETUP=maybe: it is", "run", "SETUP=maybe"),
                ("JOBS=many: give", "kernel", "JOBS=many")):
            # what is not refused gets no further than to a source that is none
            done = subprocess.run(["make", "-C", TOP, f"BUILD={self.build}", "LINUX_SRC=/none", "SETUP=no",
                                   *command], text=True, capture_output=True, check=False)
            said = done.stderr.splitlines()
            self.assertIn(words, said[0])
            self.assertRegex(said[1], "^make: .*Error 1", command)
            self.assertEqual((done.stdout.count("\n"), len(list(self.build.rglob("*"))),
                              self.build.exists()), (done.stdout.count("make: "), 1, True), command)

    def test_right_arguments_are_not(self):
        for command in (["flavour", "FLAVOUR=patched-lock_stat"], ["run", "LEGS=lock_stat faults"],
                        ["bench", "LEGS=rates", "EXECL=/bin/sh", "RUNS=3"], ["boot", "NUMA=0,8", "CPUS=7"],
                        ["package", "CONFIG=/etc/passwd", "TYPE=rpm"], ["compare", "A=/usr", "B=/usr"]):
            subprocess.run(["make", "-s", "-C", TOP, f"BUILD={self.build}", f"arguments-{command[0]}",
                            *command[1:]], check=True)

    def test_a_shape_that_make_boot_is_told_reaches_the_guest(self):
        done = subprocess.run(["make", "-n", "-C", TOP, f"BUILD={self.build}", "boot", "NUMA=0,8",
                               "QEMU_ARGS=-device edu"], text=True, capture_output=True, check=True)
        line = done.stdout.replace("\\\n", "").partition("lab/guest/guest.py shell ")[2].splitlines()[0]
        said = subprocess.run(["bash", "-c", f"printf '%s|' {line}"], text=True,
                              env={"NUMA": "0,8", "QEMU_ARGS": "-device edu"}, cwd=self.room,
                              capture_output=True, check=True).stdout
        self.assertTrue(said.endswith("|4G|--numa=0,8|--qemu=-device edu|"), said)

    def test_what_is_ours_is_removed(self):
        for name in ("herd", "others", "check", "soak", "each", "source", "bench", "bench-arm64"):
            (self.build / name).mkdir(parents=True)
        self.good("host/clean", "--all")
        self.assertFalse(self.build.exists())

    def test_packages_of_both_kernels(self):
        self.refused("CONFIG=/none does not exist", "server/package", "/none", "deb")
        config = self.write("config", "CONFIG_NUMA=y\n")
        self.refused("TYPE=tar: it is deb or rpm", "server/package", str(config), "tar")
        for tree in ("base", "patched"):
            src = self.build / tree / "src"
            self.program(src / "scripts/config", "true")
            self.write(src / "Makefile", "olddefconfig:\n\t@grep -q NUMA $(O)/.config\nbindeb-pkg:\n"
                       f"\t@touch $(O)/../{tree}$(LOCALVERSION).deb\n")
        tools = self.program("bin/dpkg-buildpackage", "true").parent
        text = self.good("server/package", str(config), "deb", PATH=f"{tools}:{os.environ['PATH']}")
        self.assertEqual(re.findall(r"package: .*/package/(.*)", text),
                         ["base-base.deb", "patched-filermap.deb"])

    def help(self, *all_):
        return self.good("host/help", *all_, str(TOP / "Makefile"), str(TOP / "lab/bench/legs"))

    def test_help_is_one_screen(self):
        lines = self.help().splitlines()
        self.assertLessEqual(len(lines), 24)
        self.assertLessEqual(max(map(len, lines + self.help("all=1").splitlines())), 80)
        self.assertEqual(len([line for line in lines if line.startswith("  make ")]), 13)

    def test_help_names_every_target_and_variable(self):
        text, makefile = self.help("all=1"), (TOP / "Makefile").read_text()
        targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
        self.assertGreater(len(targets), 20)
        for target in targets:
            self.assertIn(f"  make {target} ", text)
        variables = re.findall(r"^([A-Z_]+) \?=", makefile, re.M)
        for variable in variables:
            self.assertRegex(text, f"(?m)^  {variable} +[^ \n[].{{5}}")
        self.assertNotIn("$(shell", text)
        self.assertNotIn("/boot/config", text)
        texts = [re.search(f"(?m)^  {variable} +(.*)", text)[1] for variable in variables]
        self.assertEqual(len(set(texts)), len(texts))

    def test_help_and_arguments_name_the_legs_of_the_table(self):
        text = " ".join(self.help("all=1").split())
        for form in ("run", "bench"):
            self.assertIn(f"make {form}: some of {' '.join(measure.kinds(form))};", text)
            done = subprocess.run(["make", "-C", TOP, f"BUILD={self.build}", f"arguments-{form}",
                                   "LEGS=none"], text=True, capture_output=True, check=False)
            self.assertEqual(done.stderr.splitlines()[0], f"arguments: LEGS=none: make {form} has "
                                                          + " ".join(measure.kinds(form)))


class Storms(Sandbox):
    """lab/bench's programs, and lab/server/storm-suite, which runs one of them."""

    def suite(self, *argv, vmstat="nr_free_pages 1\n", cmdline="quiet", after=None, **env):
        """storm-suite with a storm that only writes a result, and maybe counters of its own."""
        proc = self.write("proc/cmdline", f"{cmdline}\n").parent
        self.write("proc/vmstat", vmstat)
        self.write("after", after or "")
        storm = self.program("storm", 'while [ "$1" != --json ]; do shift; done\necho {} >"$2"\n'
                             + (f"cp {self.room}/after {proc}/vmstat" if after else ""))
        return self.run_tool("server/storm-suite", "-w", "3", "-s", str(storm), *argv, PROC=str(proc), **env)

    def test_runs_of_another_kernel_are_not_mixed_in(self):
        out = self.room / "out"
        self.assertEqual(self.suite(str(out), "exec").returncode, 0)
        done = self.suite(str(out), "exec")
        self.assertEqual(done.returncode, 1)
        self.assertIn("holds runs already", done.stdout)

    def test_what_the_machine_is_goes_along(self):
        out = self.room / "out"
        done = self.suite("-r", "2", str(out))
        self.assertEqual(done.returncode, 0, done.stdout)
        for name in ("machine", "cpu", "governor", "lscpu", "numa", "sharding"):
            self.assertTrue((out / f"{name}.txt").read_text(), name)
        self.assertIn("quiet", (out / "machine.txt").read_text())
        self.assertEqual(sorted(path.stem for path in (out / "runs/2").iterdir()),
                         ["exec", "exec-private", "fork", "launcher", "launcher_spawn", "script"])

    def test_sharding_is_told_by_counters(self):
        for number, (words, setting) in enumerate((
                ("absent: ", {}),
                ("off: ", {"vmstat": "i_mmap_shard 0\n", "cmdline": "a i_mmap_shards=off b"}),
                ("off: ", {"vmstat": "i_mmap_shard 0\n", "cmdline": "i_mmap_shards=1"}),
                ("engaged: 7 files were sharded since boot, 4 of them in these runs",
                 {"vmstat": "i_mmap_shard 3\n", "after": "i_mmap_shard 7\n", "cmdline": "i_mmap_shards=12"}),
                ("idle: no file was sharded", {"vmstat": "i_mmap_shard 0\n"}))):
            done = self.suite(str(self.room / f"out{number}"), "exec", **setting)
            self.assertIn(f"sharding: {words}", done.stdout.splitlines()[-1])

    def test_unixbench_is_run(self):
        out, bench = self.room / "out", self.room / "UnixBench"
        self.assertIn("has no Run", self.suite(str(out), "exec", UNIXBENCH=str(bench)).stdout)
        self.program(bench / "Run", 'echo "$*" >"$UB_RESULTDIR/$UB_OUTPUT_FILE_NAME"')
        done = self.suite(str(out), "exec", UNIXBENCH=str(bench))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual((out / "runs/1/unixbench").read_text(), "-q -i 1 -c 1 -c 3 execl shell1 shell8\n")

    def test_a_benchmark_is_told_as_a_selftest(self):
        bench = self.program("bench/exec_storm", "echo said\ncase $2 in\n"
                             "fork) exit 1 ;;\ndlopen) exit 4 ;;\nesac").parent
        done = subprocess.run(["sh", TOP / "lab/tests/programs", "exec_storm"], text=True, check=True,
                              env={**os.environ, "BENCH": str(bench)}, capture_output=True)
        (self.room / "log").write_text(f"category exec_storm\n{done.stdout}category exec_storm status 0\n")
        self.write("config", "")
        said = {}
        found = vmtests.results(self.room / "log", said)
        self.assertEqual(found["exec_storm: exec_storm -m exec -k 20"], "ok")
        self.assertEqual(found["exec_storm: exec_storm -m fork -k 20"], "fail")
        self.assertEqual(found["exec_storm: exec_storm -m dlopen -k 20"], "skip")
        self.assertEqual(len(found), 10)
        self.assertEqual(said["exec_storm: exec_storm -m fork -k 20"][0], "# said")

    def test_a_launcher_has_so_many_children_at_most(self):
        self.assertEqual(subprocess.run(["make", "-s", "-C", TOP / "lab/bench", f"OUT={self.build}",
                                         f"{self.build}/exec_storm"], check=False).returncode, 0)
        alive, log = self.room / "alive", self.room / "log"
        for mode in ("launcher", "launcher_spawn"):
            log.unlink(missing_ok=True)
            alive.mkdir(exist_ok=True)
            done = subprocess.run(
                [self.build / "exec_storm", "-m", mode, "-w", "3", "-k", "6", "--json", "-", "--program", "sh",
                 "--", "-c", f"touch {alive}/$$; ls {alive} | wc -l >>{log}; sleep 0.5; rm {alive}/$$"],
                text=True, capture_output=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            result = json.loads(done.stdout)
            self.assertEqual((result["workers"], result["pinned"], result["rounds"]), (3, False, 6))
            counts = [int(word) for word in log.read_text().split()]
            self.assertEqual((len(counts), max(counts)), (6, 3))

    def test_loads_tell_how_long_each_time_took(self):
        self.assertEqual(subprocess.run(["make", "-s", "-C", TOP / "lab/bench", f"OUT={self.build}",
                                         f"{self.build}/file_rmap_bench"], check=False).returncode, 0)
        bench, json_file = self.build / "file_rmap_bench", self.room / "load.json"
        for load in ("split", "zero_forked", "fork_server", "punch_beside_two"):
            with self.subTest(load):
                subprocess.run([bench, load, "-t", "1", "-d", self.room, "-j", json_file], check=True,
                               stdout=subprocess.DEVNULL)
                told = json.loads(json_file.read_text())
                self.assertEqual(told["bench"], load)
                self.assertGreater(told["rounds"], 1)
                self.assertTrue(0 < told["p50_us"] <= told["p99_us"] <= told["max_us"] < 10e6, told)
        for wrong in (["none"], ["split", "-t", "0"], ["split", "-t", "256"], ["split", "more"]):
            done = subprocess.run([bench, *wrong], text=True, capture_output=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("BENCH is", done.stderr)

    def test_the_page_for_operators_names_what_there_is(self):
        kernel = "".join((TOP / path).read_text() for path in
                         ("mm/i_mmap.c", "include/trace/events/i_mmap.h")).lower()
        page = (TOP / "lab/server/README.md").read_text()
        names = set(re.findall(r"i_mmap_[a-z_]+", page))
        self.assertGreater(len(names), 4)
        for name in names:
            self.assertRegex(kernel, rf"\b{name}\b")
        for target in re.findall(r"^make ([a-z][a-z-]*)", page, re.M):
            self.assertRegex((TOP / "Makefile").read_text(), rf"(?m)^{target}:")
