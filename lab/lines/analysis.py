# SPDX-License-Identifier: GPL-2.0
"""From the counter's records, and the memory in which it found them, to what they say."""

import itertools
import operator
import struct
from collections import defaultdict

from layout import Fail
from memory import DIRECT

RECORD = struct.Struct("<5Q9I2H")
CPU, SHARD, NODE = range(3)      # between what lines move
COUNTED = ("between_nodes", "between_shards", "within_nodes", "atomics", "writes", "lines", "accesses")
# i_mmap: VMAs, fields of an address_space whose names hold it, shards and sets of them
I_MMAP, FOLIO, PERCPU, REST = CLASSES = ("i_mmap", "file folios", "percpu", "rest")
# whose functions work on the trees of VMAs that map a file, and on their locks
I_MMAP_OBJECTS = ("mm/i_mmap.o", "mm/interval_tree.o")


class Counts:
    """What the counter wrote: (words of its first line, an iterator over records)."""

    def __init__(self, path):
        with open(path, "rb") as file:
            head = file.readline().decode(errors="replace").split()
            self.data = file.read()
        if head[:2] != ["lines", "1"]:
            raise Fail(f"{path} was not written by the counter")
        self.words = dict(zip(head[2::2], map(int, head[3::2])))
        if len(self.data) != self.words["sites"] * RECORD.size:
            raise Fail(f"{path} is cut off")

    def __iter__(self):
        """(address of a line, words of its records)"""
        for at, records in itertools.groupby(RECORD.iter_unpack(self.data), operator.itemgetter(0)):
            yield at, list(records)


class Site:
    """What a CPU did to a line by an instruction."""
    __slots__ = ("line", "pc", "vaddr", "read", "written", "reads", "writes", "atomics",
                 "fetched", "upgraded", "moved", "cpu", "interrupt", "of")

    def __init__(self, words):
        (self.line, self.pc, self.vaddr, self.read, self.written, self.reads, self.writes,
         self.atomics) = words[:8]
        self.fetched, self.upgraded, self.cpu, self.interrupt = words[8:11], words[11:14], *words[14:]
        self.moved = tuple(map(sum, zip(self.fetched, self.upgraded)))
        self.of = None      # its class, when somebody has asked

    @property
    def first_byte(self):
        bits = self.read | self.written
        return (bits & -bits).bit_length() - 1


class Line:
    """All that was done to a line, and whose it is."""

    def __init__(self, sites, thing):
        self.sites, self.thing = sites, thing
        self.tasks = [one for one in sites if not one.interrupt]
        self.cpus = {one.cpu for one in sites}
        self.written = any(one.writes for one in sites)

    def total(self, name):
        return sum(getattr(one, name) for one in self.tasks)

    def moved(self, level):
        return sum(one.moved[level] for one in self.tasks)

    def shared(self, groups):
        """Whether CPUs of different groups touch it, and one of them writes."""
        return self.written and len({groups[cpu] for cpu in self.cpus}) > 1

    def falsely(self):
        """Whether several CPUs touch it, but none a byte that another one writes."""
        touched, written = defaultdict(int), defaultdict(int)
        for one in self.sites:
            touched[one.cpu] |= one.read | one.written
            written[one.cpu] |= one.written
        return len(touched) > 1 and any(written.values()) and not any(
            written[a] & touched[b] for a in written for b in touched if a != b)


class Analysis:
    def __init__(self, counts, kernel, memory, nodes):
        self.kernel, self.memory, self.nodes = kernel, memory, nodes
        self.operations = counts.words["operations"]
        self.accesses = counts.words["accesses"]
        tree_code = kernel.functions_of(*I_MMAP_OBJECTS)
        self.lines = {}
        for at, records in counts:
            cpus = {words[14] for words in records}
            if len(cpus) == 1: # of interest only if it is another one's
                area = memory.percpu_area(records[0][2])
                if not area or area[1] in cpus:
                    continue
            sites = list(map(Site, records))
            byte = sites[0].first_byte
            self.lines[at] = Line(sites, memory.thing(sites[0].vaddr + byte, at + byte))
        # of which no slab cache tells that they belong to a mapping's trees
        self.sets = {line.thing.start for line in self.lines.values()
                     if line.thing.kind == "slab" and line.thing.name.startswith("kmalloc")
                     and any(self.function(one) in tree_code for one in line.sites)}

    def function(self, site):
        symbol = self.kernel.symbol(site.pc)
        return symbol[0] if symbol else "user" if site.pc < 1 << 63 else "?"

    def field(self, line, site):
        if line.thing.kind == "user":
            return f"+{site.vaddr % 4096 + site.first_byte}"
        return self.memory.field_of(line.thing, site.vaddr + site.first_byte, site.line + site.first_byte)

    def class_of(self, line, site):
        if not site.of:
            site.of = self.find_class(line, site)
        return site.of

    def find_class(self, line, site):
        thing = line.thing
        if thing.kind == "percpu":
            return PERCPU
        if thing.file:
            return FOLIO
        if thing.kind == "slab" and (
                thing.struct == "vm_area_struct" or thing.name.startswith("i_mmap")
                or thing.start in self.sets or "i_mmap" in self.field(line, site)):
            return I_MMAP
        return REST

    # --- what it says -----------------------------------------------------------------

    def per(self, value):
        return value / self.operations

    def summary(self):
        """{class: {what: per operation}}; what moves between nodes and within them, and what
        is done to lines that CPUs of different nodes share, of which "lines" is the number."""
        found = {name: dict.fromkeys(COUNTED, 0) for name in (*CLASSES, "total", "interrupts")}
        for line in self.lines.values():
            across, seen = line.shared(self.nodes), set()
            for site in line.sites:
                names = ("interrupts",) if site.interrupt else (self.class_of(line, site), "total")
                for one in map(found.get, names):
                    one["between_nodes"] += site.moved[NODE]
                    one["between_shards"] += site.moved[SHARD]
                    one["within_nodes"] += site.moved[CPU] - site.moved[NODE]
                    one["accesses"] += site.reads + site.writes
                    if across:
                        one["atomics"] += site.atomics
                        one["writes"] += site.writes
                seen |= set(names)
            for name in seen:
                found[name]["lines"] += across
        return {name: {what: value if what == "lines" else self.per(value) for what, value in one.items()}
                for name, one in found.items()}

    def remote_percpu(self):
        """Accesses to the percpu memory of one other CPU, per operation."""
        cpus = len(self.nodes)
        return self.per(sum(site.reads + site.writes for line in self.lines.values()
                            if line.thing.kind == "percpu" for site in line.tasks
                            if site.cpu != line.thing.cpu)) / max(1, cpus - 1)

    def hottest_atomics(self):
        """Atomic operations on the line with most of them, of those that nodes share."""
        return self.per(max((line.total("atomics") for line in self.lines.values()
                             if line.shared(self.nodes)), default=0))

    def title(self, line):
        """What lines are told together."""
        thing = line.thing
        at = line.sites[0]
        if thing.kind == "page":
            return f"struct page of {thing.name}"
        if thing.kind == "percpu":
            return f"percpu {thing.name}" if thing.name == "dynamic" else \
                f"percpu {thing.name}{self.behind(at.vaddr - thing.start)}"
        if thing.kind == "symbol":
            return f"{thing.name}{self.behind(at.vaddr - thing.start)}"
        if thing.kind == "slab":
            return f"{thing.struct or thing.name}{self.behind(at.line + DIRECT - thing.start)}"
        return f"{thing.kind}: {thing.name}"

    @staticmethod
    def behind(offset):
        offset = offset if offset < 1 << 63 else offset - (1 << 64)
        return f" {offset:+d}" if offset else ""

    def ranked(self, most=40, level=NODE, only=lambda line: True, sources=True):
        """Lines by what moves between nodes, those of one name together."""
        groups = defaultdict(list)
        for line in self.lines.values():
            if line.moved(level) and only(line):
                groups[self.title(line)].append(line)
        found = []
        for title, lines in groups.items():
            each = sorted((self.per(line.moved(level)) for line in lines), reverse=True)
            found.append({"name": title, "lines": len(lines), "transfers": sum(each), "hottest": each[0],
                          "atomics": self.per(sum(line.total("atomics") for line in lines)),
                          "hottest_atomics": self.per(max(line.total("atomics") for line in lines)),
                          "group": lines})
        found.sort(key=lambda one: (-one["transfers"], one["name"]))
        for one in found[:most]:
            one["class"], one["by"] = self.who(one.pop("group"), level, sources)
        return found[:most]

    def who(self, lines, level, sources, most=4):
        """(class, [[function, source line, field, what moved]]) of those that move most."""
        moved, classes = defaultdict(float), defaultdict(float)
        for line in lines:
            for site in line.tasks:
                count = self.per(site.moved[level])
                if count:
                    symbol = self.kernel.symbol(site.pc) or (self.function(site), 0)
                    moved[(*symbol, self.field(line, site))] += count
                    classes[self.class_of(line, site)] += count
        functions = defaultdict(float)
        for (function, _, field), count in moved.items():
            functions[function, field] += count
        told = []
        for (function, field), count in sorted(functions.items(), key=lambda one: -one[1])[:most]:
            at = max((one for one in moved if (one[0], one[2]) == (function, field)), key=moved.get)[1]
            told.append([function, self.kernel.source_line(function, at) if sources else "", field, count])
        return max(classes, key=classes.get), told
