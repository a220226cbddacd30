# SPDX-License-Identifier: GPL-2.0
"""lab/lines: what the counter says of accesses that are known one by one, and how it is read."""

import collections
import os
import subprocess
import sys
import unittest
from unittest import mock

from sandbox import TOP, Sandbox

sys.path.append(str(TOP / "lab/lines"))
import count                                             # noqa: E402
from analysis import RECORD, Counts, Line, Site       # noqa: E402
from layout import Fail, Kernel, Types                   # noqa: E402

DIRECT = 0xffff888000000000
OPERATION, NEXT, INTERRUPT, TASK, CODE = 0x100, 0x200, 0x300, 0x400, 0x500
A, B = DIRECT + 0x10000, DIRECT + 0x20000
EACH = [f"x {cpu} {OPERATION:x}" for cpu in range(4)]


class Counter(Sandbox):
    """Four CPUs: two nodes, of which the second has two shards. One operation of each is counted."""

    def setUp(self):
        super().setUp()
        self.alone = self.room / "alone"
        subprocess.run(["gcc", "-O1", "-Wall", "-Wno-unused-parameter", "-o", self.alone,
                        TOP / "lab/tests/counter_alone.c"], check=True)

    def tell(self, events, **more):
        options = {"operation": f"{OPERATION:#x}:4:1:1", "next": f"{NEXT:#x}", "nodes": "0:0:1:1",
                   "shards": "0:0:1:2", "memory": "0x100000", "direct": f"{DIRECT:#x}",
                   "interrupt": f"{INTERRUPT:#x}", "task": f"{TASK:#x}", "out": self.room / "counts", **more}
        done = subprocess.run([self.alone, *(f"{k}={v}" for k, v in options.items())], text=True,
                              input="\n".join(events) + "\n", capture_output=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def count(self, *events, **more):
        """{line: Line} of what happens while it counts."""
        return self.count_from([*EACH, *events, *EACH], **more)

    def count_from(self, events, **more):
        status, said = self.tell([f"x 0 {NEXT:x}", *EACH, f"r 2 {CODE:x} {DIRECT + 0x180000:x} 8", *events], **more)
        self.assertEqual((status, said), (0, ""))
        return {at + DIRECT: Line(list(map(Site, records)), None)
                for at, records in Counts(self.room / "counts.0")}

    def sums(self, line):
        """(fetched, upgraded) between CPUs, shards, nodes"""
        return [(sum(one.fetched[level] for one in line.sites), sum(one.upgraded[level] for one in line.sites))
                for level in range(3)]

    @staticmethod
    def access(what, cpu, address, size=8):
        return f"{what} {cpu} {CODE:x} {address:x} {size}"

    def test_private(self):
        lines = self.count(*[self.access(what, cpu, A + 64 * cpu) for what in "rwa" * 5 for cpu in range(4)])
        for cpu in range(4):
            line = lines[A + 64 * cpu]
            self.assertEqual(self.sums(line), [(0, 0)] * 3)
            self.assertEqual((line.total("reads"), line.total("writes"), line.total("atomics")), (5, 10, 5))

    def test_read_by_all(self):
        line = self.count(*[self.access("r", cpu, A) for cpu in (0, 1, 2, 3) * 5])[A]
        self.assertEqual(self.sums(line), [(0, 0)] * 3)
        self.assertEqual(line.total("reads"), 20)
        self.assertFalse(line.shared([0, 0, 1, 1]))

    def test_ping_pong_of_nodes(self):
        line = self.count(*[self.access(what, cpu, A) for _ in range(5) for cpu in (0, 2) for what in "rw"])[A]
        # the first read finds a line that nobody has written, and the first write nobody else
        self.assertEqual(self.sums(line), [(9, 9)] * 3)
        self.assertTrue(line.shared([0, 0, 1, 1]))

    def test_ping_pong_within_a_node(self):
        line = self.count(*[self.access("w", cpu, A) for _ in range(5) for cpu in (0, 1)])[A]
        self.assertEqual(self.sums(line), [(9, 0), (0, 0), (0, 0)])
        line = self.count(*[self.access("w", cpu, A) for _ in range(5) for cpu in (2, 3)])[A]
        self.assertEqual(self.sums(line), [(9, 0), (9, 0), (0, 0)])

    def test_a_lock_is_one_access(self):
        line = self.count(*[self.access(what, cpu, A) for cpu in (0, 2) * 5 for what in "aw"])[A]
        self.assertEqual(self.sums(line), [(9, 0)] * 3)
        self.assertEqual((line.total("atomics"), line.total("writes"), line.total("reads")), (10, 20, 0))

    def test_many_readers_of_what_one_writes(self):
        line = self.count(*[self.access(what, cpu, A) for _ in range(3)
                            for what, cpu in (("w", 0), ("r", 1), ("r", 2), ("r", 3))])[A]
        # each reader fetches, of a node the first; the writer takes it away two times more
        self.assertEqual(self.sums(line), [(9, 2), (6, 2), (3, 2)])

    def test_false_sharing(self):
        lines = self.count(*[self.access("w", cpu, A + cpu, 1) for cpu in (0, 2) * 5],
                           *[self.access("w", cpu, B, 1) for cpu in (0, 2) * 5])
        self.assertEqual(self.sums(lines[A]), [(9, 0)] * 3)
        self.assertTrue(lines[A].falsely())
        self.assertFalse(lines[B].falsely())

    def test_an_access_to_two_lines(self):
        lines = self.count(self.access("w", 0, A + 60))
        self.assertEqual([lines[A].sites[0].written, lines[A + 64].sites[0].written], [0xf << 60, 0xf])

    def test_interrupts_are_apart(self):
        lines = self.count(f"x 0 {INTERRUPT:x}", self.access("w", 0, A), f"x 0 {TASK:x}",
                           self.access("w", 0, A), self.access("w", 2, A))
        self.assertEqual(sorted((one.cpu, one.interrupt, one.writes) for one in lines[A].sites),
                         [(0, 0, 1), (0, 1, 1), (2, 0, 1)])

    def test_whole_operations_are_counted(self):
        """Before its first and behind its last, a CPU takes lines away, no more."""
        begin, end = EACH[0], EACH[1:]
        lines = self.count_from([self.access("w", 0, A), begin, self.access("w", 2, A), self.access("w", 0, A),
                                 begin, self.access("w", 0, B), *end, self.access("w", 2, B), *end])
        self.assertEqual([(one.cpu, one.writes, one.fetched[0]) for one in lines[A].sites], [(0, 1, 1)])
        self.assertEqual([(one.cpu, one.writes, one.fetched[0]) for one in lines[B].sites], [(2, 1, 1)])
        self.assertEqual(Counts(self.room / "counts.0").words["operations"], 4)

    def test_a_guest_that_ends_early(self):
        for events, words in (([], "0 of 4 CPUs had executed it 1 times"),
                              ([*EACH, *EACH, EACH[0]], "1 of 4 CPUs had executed it 2 times more")):
            _, said = self.tell([f"x 0 {NEXT:x}", *events, "e"])
            self.assertIn(words, said)

    def test_kinds_of_instructions(self):
        known = {"f0 48 0f b1 0e": "atomic",    # lock cmpxchg
                 "65 f0 ff 05": "atomic",       # a prefix before lock
                 "87 07": "atomic", "48 87 07": "atomic",   # xchg with memory
                 "87 c7": "plain", "90": "plain", "48 01 07": "plain", "f3 48 a5": "plain",
                 "00 00": "plain", "0f b1 0e": "plain", "cf": "iret", "48 cf": "iret"}
        _, said = self.tell([f"k {one}" for one in known])
        self.assertEqual(said.split(), list(known.values()))

    def test_it_says_what_is_wrong(self):
        for words, more in (("is not a number", {"memory": "much"}), ("is not ADDRESS", {"operation": "0x1:2"}),
                            ("there is no option color", {"color": "1"}),
                            ("not of the same number", {"shards": "0:1"})):
            status, said = self.tell([], **more)
            self.assertEqual(status, 1)
            self.assertIn(words, said)

    def test_beyond_memory_is_no_line(self):
        status, said = self.tell([f"x 0 {NEXT:x}", *EACH, f"r 2 {CODE:x} {DIRECT + 0x180000:x} 8",
                                  f"w 0 {CODE:x} {2**40:x} 8"])
        self.assertEqual(status, 1)
        self.assertIn("beyond the guest's memory", said)

    def test_what_is_cut_off_is_refused(self):
        self.count(self.access("w", 0, A))
        file = self.room / "counts.0"
        file.write_bytes(file.read_bytes()[:-1])
        with self.assertRaisesRegex(Fail, "cut off"):
            Counts(file)
        self.assertEqual(RECORD.size, 80)


class Operate(Sandbox):
    def test_each_cpu_starts_a_program_so_often(self):
        """And goes on until the slowest has: that is whose program ran first, which sleeps."""
        operate, program, log = (self.room / one for one in ("operate", "program", "log"))
        subprocess.run(["gcc", "-Wall", "-o", operate, TOP / "lab/lines/operate.c"], check=True)
        program.write_text(f"""#!/bin/sh
            echo "$PPID $1" >>{log}
            read first <{log}
            [ "$first" != "$PPID $1" ] || sleep 0.2
        """)
        program.chmod(0o755)
        for mode in ("start", "stagger"):
            with self.subTest(mode):
                subprocess.run([operate, mode, "3", program], check=True)
                lines = log.read_text().splitlines()
                rounds = collections.Counter(lines)
                self.assertEqual(len(rounds), os.cpu_count())
                self.assertTrue(all(line.endswith(" --exit") for line in rounds))
                self.assertEqual(rounds.pop(lines[0]), 3)
                self.assertTrue(all(more > 3 for more in rounds.values()), rounds)
                log.unlink()
        failed = self.room / "failed"
        program.write_text(f"#!/bin/sh\n! mkdir {failed} 2>/dev/null\n")
        done = subprocess.run([operate, "start", "3", program], text=True, capture_output=True, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (1, f"operate: {program} --exit failed\n"))


class Looking(Sandbox):
    def test_a_guest_whose_time_is_over(self):
        """It says nothing more, nor does who looked at it meanwhile."""
        with subprocess.Popen("true") as gone:
            pass
        (self.room / "pid").write_text(f"{gone.pid}\n")
        (self.room / "counts.0").touch()
        with mock.patch("threading.excepthook") as complain:
            looked = count.Stopped(self.room, [count.OPERATIONS["exec"]], lambda operation, counts: "it")
            looked.join(10)
        self.assertEqual((looked.found, complain.called, looked.is_alive()), ({"exec": "it"}, False, False))


class Layout(Sandbox):
    SOURCE = """
        struct inner { char a; union { long b; struct { int c, d; }; }; };
        typedef struct { struct inner in[3]; unsigned e:3, f:9; } outer_t;
        struct outer { const void *p; outer_t o; struct outer *next; } it;
    """

    def test_fields(self):
        source, made = self.room / "a.c", self.room / "a.o"
        source.write_text(self.SOURCE)
        subprocess.run(["gcc", "-gbtf", "-c", "-o", made, source], check=True)
        subprocess.run(["objcopy", "-O", "binary", "--only-section=.BTF", "--set-section-flags=.BTF=alloc",
                        made, self.room / "btf"], check=True)
        types = Types((self.room / "btf").read_bytes())
        self.assertEqual((types.sizeof("inner"), types.sizeof("outer")), (16, 72))
        self.assertEqual((types.offset("outer", "o"), types.offset("inner", "d"), types.offset("outer", "next")),
                         (8, 12, 64))
        self.assertEqual([types.path(types.find("outer"), at) for at in (0, 8, 24 + 8, 64)],
                         ["p", "o.in.a", "o.in.b", "next"])
        with self.assertRaisesRegex(Fail, "no field q"):
            types.offset("outer", "q")
        with self.assertRaisesRegex(Fail, "no struct none"):
            types.sizeof("none")


class Folders(Sandbox):
    def test_an_image_is_one_in_the_folder_where_it_was_built(self):
        for image in ("/bzImage", self.room / "bzImage", self.room / "arch/x86/boot/bzImage"):
            with self.assertRaisesRegex(Fail, "System.map does not exist: the counter needs the folder"):
                Kernel(image, self.room)


if __name__ == "__main__":
    unittest.main()
