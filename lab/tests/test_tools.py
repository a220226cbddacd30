# SPDX-License-Identifier: GPL-2.0
"""The smaller tools: guests that cannot start, configurations, help, set-up."""

import fcntl
import io
import re
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from sandbox import TOP, Sandbox

import guest    # noqa: E402
import harness  # noqa: E402
import measure  # noqa: E402
import vmtests  # noqa: E402
from steps import arches, patches, suites, workloads     # noqa: E402


class Guests(Sandbox):
    def test_topology(self):
        args = guest.numa(guest.Guest(Path("k"), cpus=8, nodes=4, mem="4G"))
        self.assertIn("8,sockets=4,cores=2,threads=1", args)
        self.assertIn("node,nodeid=3,cpus=6-7,memdev=m3", args)

    def test_impossible_topologies_are_refused(self):
        for setting, words in (({"cpus": 6, "nodes": 4}, "every node gets the same"),
                               ({"cpus": 0, "nodes": 1}, "at least one"),
                               ({"mem": "many"}, "give a size"),
                               ({"cpus": 8, "nodes": 8, "mem": "512M"}, "128M")):
            with self.assertRaisesRegex(guest.Fail, words):
                guest.numa(guest.Guest(Path("k"), **setting))

    def test_every_leg_has_a_topology_on_any_host(self):
        args = SimpleNamespace(form="run", cpus=8, nodes=4, mem="4G", runs=1, seconds=1,
                               rounds=1, most_cpus=8, execl="", legs=[])
        for cpus in (1, 2, 3, 6, 12, 64):
            with mock.patch("os.cpu_count", return_value=cpus):
                for leg in measure.plan(args):
                    guest.numa(guest.Guest(Path("k"), cpus=leg.cpus, nodes=leg.nodes, mem="4G"))

    def test_other_architectures_are_emulated(self):
        kernel = self.room / "Image"
        kernel.write_text("")
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
        kernel = self.room / "bzImage"
        kernel.touch()
        for accel, setting, expected in (("tcg", {}, True), ("kvm", {}, False),
                                         ("tcg", {"icount": True}, False),
                                         ("tcg", {"arch": "riscv64"}, False)):
            with self.subTest(accel, **setting), mock.patch("shutil.which", return_value="/there"):
                args = guest.command(guest.Guest(kernel, **setting), accel, None, self.room, False)
                self.assertEqual("virtio-blk-pci.disable-modern=on" in args, expected)

    def test_an_emulator_that_aborts_gets_one_more_try(self):
        kernel, starts = self.room / "bzImage", self.room / "starts"
        kernel.touch()
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

    def test_a_kernel_that_complains_is_not_well(self):
        for line in ("[    3.924684] BUG: Bad page cache in process file_rmap  pfn:3ec68",
                     "[   12.000001] WARNING: mm/rmap.c:7 at rmap_walk+0x7/0x70",
                     "[   31.924684] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!"):
            self.assertIn(line.split(": ")[-1].strip(), guest.complaint(f"[    1.000000] well\n{line}\n"))
        self.assertEqual(guest.complaint("[    1.0] a DEBUG: word\nno WARNING: of the kernel's\n"), "")


class Measurements(Sandbox):
    def test_boots_alternate(self):
        leg = measure.Leg("x", ["exec"], 8, 4, 4)
        sides = [side[0] for _, _, side in measure.order([leg])]
        self.assertEqual("".join(sides), "bppbbppb")

    def test_a_failed_guest_leaves_latest_alone(self):
        results = self.room / "results"
        results.mkdir()
        (results / "latest").symlink_to("earlier")
        self.refused("run make kernel", "bench/measure.py", "run", RESULTS=str(results))
        self.assertEqual((results / "latest").readlink(), Path("earlier"))
        self.assertEqual(len(list(results.glob("*-failed"))), 1)

    def test_legs_say_which_kernels_are_needed(self):
        def flavours(*legs, form="run"):
            return self.good("bench/measure.py", form, "--flavours", *legs).split()
        self.assertEqual(flavours("--legs", "rates, truncate"), ["base", "patched"])
        self.assertEqual(flavours("--legs", "lock_stat"), ["base-lock_stat", "patched-lock_stat"])
        self.assertEqual(flavours("--legs", "shards", form="bench"),
                         ["base-lock_stat", "patched-lock_stat"])
        self.assertEqual(len(flavours()), 6)
        self.refused("rate is none of", "bench/measure.py", "run", "--legs", "rate")
        self.refused("use make bench", "bench/measure.py", "run", "--legs", "shards")

    def test_workloads_are_measured_by_name(self):
        def legs(form, *names):
            args = SimpleNamespace(form=form, cpus=8, nodes=4, mem="4G", runs=1, seconds=1,
                                   rounds=1, most_cpus=8, execl="", legs=names)
            return [leg for leg in measure.plan(args) if leg.kind == "workloads"]
        self.assertEqual(legs("run"), [])
        self.assertEqual([(leg.sides, leg.cpus, bool(leg.rounds), leg.command())
                          for leg in legs("run", "workloads")], [
            (("base", "patched"), 1, True, "./workloads -i /run/out"),
            (("patched",), 1, True, "./workloads -i /run/out"),
            (("base", "patched"), 8, False, "./workloads /run/out"),
            (("patched",), 8, False, "./workloads /run/out")])
        self.assertEqual(legs("bench"), legs("run", "workloads"))

    def test_workloads_that_are_slower_are_told(self):
        self.assertEqual(workloads.too_slow([1000, 1001], [1009, 1010], True), "")
        self.assertIn("+1.10 %", workloads.too_slow([1000, 1000], [1011, 1011], True).replace("%", " %"))
        self.assertIn("are 0.80% apart", workloads.too_slow([1000, 1008], [1000, 1000], True))
        self.assertEqual(workloads.too_slow([10, 14], [13, 30], False), "")
        self.assertEqual(workloads.too_slow([10, 11], [14, 15], False), "")
        self.assertIn("1.60 times", workloads.too_slow([10, 10], [15, 17], False))

    def test_external_benchmark_must_exist(self):
        self.refused("not an executable", "bench/measure.py", "run", "--execl", "/none")


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
ok 4 file_rmap
category file_rmap status 0
"""

    def test_results_are_read(self):
        log = self.room / "log"
        log.write_text(self.LOG)
        said = {}
        self.assertEqual(vmtests.results(log, said), {
            "left out: on-fault-limit": "skip", "left out: khugepaged all:vfat": "skip",
            "mmap: map_fixed_noreplace": "ok", "mmap: droppable": "skip",
            "mmap: map_populate": "fail", "mremap: mremap_test": "timeout",
            "thp: khugepaged all:file /tmp/xfs_dir": "ok",
            "file_rmap: file_rmap": "ok", "file_rmap: file_rmap: file_rmap.huge": "skip",
            "file_rmap: file_rmap: file_rmap.truncate": "ok"})
        self.assertEqual(said["mmap: map_populate"], ["not ok 3 map_populate # exit=1"])
        self.assertEqual(said["mremap: mremap_test"], ["# remapping"])
        self.assertEqual(said["file_rmap: file_rmap: file_rmap.huge"],
                         ["# #  ok 2 file_rmap.huge # SKIP no huge pages"])

    def test_cases_that_fail_are_named(self):
        self.assertEqual(vmtests.failed_cases([
            "# # not ok 1 cow.swapped", "# not ok 3 hmm.huge # exit=1", "# ok 4 mlock", "a not ok 1 x",
            "not ok 2 cow # exit=1"]), {"cow.swapped", "hmm.huge", "cow"})

    def test_what_run_vmtests_leaves_out_is_not_a_failure_of_ours(self):
        (self.room / "vmtests.log").write_text("category file_rmap\n# SKIP ./on-fault-limit\n"
                                               "# running ./file_rmap\n# #  ok 1 file_rmap.truncate\n"
                                               "ok 1 file_rmap\ncategory file_rmap status 0\n")
        result = SimpleNamespace(ok=True, out=self.room, explain=str)
        with mock.patch.object(harness, "tap") as tap:
            harness.all_pass("guest", result, ["file_rmap"])
        self.assertEqual([call.args[:2] for call in tap.result.call_args_list], [
            (True, "guest: races without a splat"),
            (True, "guest: file_rmap: file_rmap: file_rmap.truncate"),
            (True, "guest: file_rmap: file_rmap")])
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
        both = {"m: a": ["ok"], "m: b": ["skip"], "m: c": ["fail"], "o: d": ["skip"]}
        runs = {"base": {**both, "m: e": ["ok"], "m: f": ["ok"]},
                "patched": {**both, "m: e": ["fail"], "m: f": ["skip"]}, "sharded": both}
        self.assertEqual(self.judged(runs, ["o"]), {
            "patched: m: a": "ok", "patched: m: b": "skip", "patched: m: c": "same",
            "patched: o: d": "fail", "patched: m: e": "fail", "patched: m: f": "fail",
            "sharded: m: a": "ok", "sharded: m: b": "skip", "sharded: m: c": "same",
            "sharded: o: d": "fail", "sharded: m: e": "fail", "sharded: m: f": "fail"})

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
        config = self.room / "arm64-defconfig/.config"
        config.parent.mkdir(exist_ok=True)
        config.write_text("CONFIG_PER_VMA_LOCK=y\n")
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


class Shell(Sandbox):
    def test_unknown_flavours_are_refused(self):
        self.refused("begins with base or patched", "kernel/kernel", "wrong")
        self.refused("no lab/kernel/configs/none.config", "kernel/kernel", "base-none")
        self.refused("run make tree", "kernel/kernel", "base")

    def test_every_machine_has_a_flavour(self):
        (self.build / "patched/src").mkdir(parents=True)
        (self.build / "patched/src/Makefile").write_text("")
        images = {arch: self.good("kernel/kernel", "--image", f"patched-{arch}-kunit").strip()
                  for arch in guest.FOREIGN}
        images["amd64"] = self.good("kernel/kernel", "--image", "patched").strip()
        for arch in guest.FOREIGN:
            self.assertTrue(images[arch].startswith(f"{self.build}/patched/{arch}-kunit/"))
        self.assertEqual(len({Path(path).relative_to(self.build).parts[2:]
                              for path in images.values()}), len(guest.MACHINES))

    def test_a_kernel_that_is_not_built_is_named(self):
        (self.build / "patched/src").mkdir(parents=True)
        (self.build / "patched/src/Makefile").write_text("")
        with mock.patch.dict("os.environ", BUILD=str(self.build)):
            for flavour, words in (("patched-debug", "run lab/kernel/kernel patched-debug"),
                                   ("other", "begins with base or patched")):
                with self.assertRaisesRegex(guest.Fail, words):
                    harness.image_of(flavour)
            image = self.build / "patched/guest/arch/x86/boot/bzImage"
            image.parent.mkdir(parents=True)
            image.touch()
            self.assertEqual(harness.image_of("patched"), image)

    def test_source_packages_are_listed_where_asked_for(self):
        (self.room / "apt-get").write_text(
            "#!/bin/sh\n[ $1 != indextargets ] || echo http://mirror/debian Debian/Debian\n")
        (self.room / "apt-get").chmod(0o755)
        script = self.room / "lists"
        script.write_text(f". {TOP}/lab/host/common.sh\nPATH={self.room}:$PATH\n"
                          f". {TOP}/lab/host/apt.sh\nset -eu\nprivate_lists one two\n"
                          "cat $apt_dir/sources.list\nsources=yes private_lists one\n"
                          "cat $apt_dir/sources.list\nprivate_lists one\ncat $apt_dir/sources.list\n")
        deb = "http://mirror/debian {} main"
        self.assertEqual(self.good("tests/as-bash", str(script)).splitlines(), [
            "deb " + deb.format("one"), "deb " + deb.format("two"),
            "deb " + deb.format("one"), "deb-src " + deb.format("one"), "deb " + deb.format("one")])

    def test_packages_without_a_list_are_refused(self):
        self.refused("usage: setup [WORD]", "host/setup", "none")

    def test_a_full_disk_is_told_before(self):
        script = self.room / "full"
        script.write_text(f". {TOP}/lab/host/common.sh\nneed_space 999999\n")
        self.refused("make room or set BUILD=", "tests/as-bash", str(script))

    def test_a_failed_step_shows_its_log(self):
        script = self.room / "step"
        script.write_text(f". {TOP}/lab/host/common.sh\n"
                          "fails() { echo the reason; return 3; }\nstep work $BUILD/log/x fails\n")
        done = self.run_tool("tests/as-bash", str(script))
        self.assertEqual(done.returncode, 3)
        self.assertIn("    the reason", done.stdout)
        # nor does it go on behind an error when its output is shown
        script.write_text(f"set -e\n. {TOP}/lab/host/common.sh\n"
                          "fails() { false; echo went on; }\nstep work $BUILD/log/x fails\necho behind it\n")
        for verbose in ("0", "1"):
            done = self.run_tool("tests/as-bash", str(script), V=verbose)
            self.assertEqual(done.returncode, 1, verbose)
            self.assertNotIn("went on", done.stdout)
            self.assertNotIn("behind it", done.stdout)

    def test_two_runs_wait_for_each_other(self):
        script = self.room / "script"
        script.write_text(f". {TOP}/lab/host/common.sh\nonly_one thing\necho mine\n")
        self.good("tests/as-bash", str(script))
        with open(self.build / "log/thing.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            waiting = self.start("tests/as-bash", str(script))
            said = waiting.stdout.readline()
            self.assertIn("another run is at thing", said)
            self.assertIsNone(waiting.poll())
        self.assertEqual(waiting.communicate(timeout=20)[0], "mine\n")

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

    def test_runs_of_another_kernel_are_not_mixed_in(self):
        out = self.room / "storm"
        (out / "runs/4").mkdir(parents=True)
        done = subprocess.run([TOP / "lab/server/storm-suite", "-s", "/bin/true", str(out), "exec"],
                              text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("holds runs already", done.stderr)

    def test_a_leg_of_another_form_is_refused(self):
        self.refused("shards is not part of make run", "bench/measure.py", "run", "--validate",
                     "--legs", "rates shards")
        self.assertEqual(self.refused("CPUS: invalid", "bench/measure.py", "run", "--cpus", "abc").count("\n"), 1)

    def test_what_is_ours_is_removed(self):
        for name in ("herd", "others", "check", "soak", "each", "source"):
            (self.build / name).mkdir(parents=True)
        self.good("host/clean", "--all")
        self.assertFalse(self.build.exists())

    def test_a_kernel_configuration_must_exist(self):
        (self.build / "patched/src").mkdir(parents=True)
        (self.build / "patched/src/Makefile").write_text("")
        self.refused("CONFIG=/none does not exist", "server/package", "/none", "deb")

    def test_help_names_every_target(self):
        text = self.good("host/help", str(TOP / "Makefile"))
        targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.M))
        self.assertGreater(len(targets), 20)
        for target in targets - {"arguments", "kernels"}:
            self.assertIn(f"  make {target} ", text)
