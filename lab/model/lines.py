# SPDX-License-Identifier: GPL-2.0
"""How many cache lines of an i_mmap tree a visit of its lock has to fetch: counted on one."""

import heapq
import itertools
import random
from functools import lru_cache


class Vma:
    """A node of the tree: what it maps, and which CPUs have its lines. As in 7.3, the
    tree's pointers are in one line (with vm_refcnt) and vm_pgoff is in another."""
    __slots__ = ("start", "last", "most", "kids", "up", "red", "have")

    def __init__(self, start, last, cpu):
        self.start, self.last, self.have = start, last, [1 << cpu] * 2
        self.kids, self.up, self.red, self.most = [None, None], None, True, last


POINTERS, OFFSET = 0, 1


class Tree:
    """An interval tree as lib/rbtree.c and interval_tree_generic.h keep it, which counts
    what has to be fetched from a CPU of the same node, and of another. A CPU waits for
    what it reads, but not for what it writes and has; and it fetches both lines of a
    node at a time."""

    def __init__(self, node_cpus):
        self.root, self.cpu, self.node_cpus = None, 0, node_cpus
        self.fetched, self.last = [0, 0], None

    def read(self, vma, line=POINTERS):
        have, me = vma.have[line], 1 << self.cpu
        if have & me:
            return
        if self.last is not vma:
            home = self.cpu // self.node_cpus * self.node_cpus
            near = have >> home & (1 << self.node_cpus) - 1
            self.fetched[not near] += 1
        self.last = vma
        vma.have[line] = have | me

    def write(self, vma):
        self.read(vma)
        vma.have[POINTERS] = 1 << self.cpu

    def link(self, vma, parent, side):
        if vma:
            vma.up = parent
        if parent is None:
            self.root = vma
        else:
            self.write(parent)
            parent.kids[side] = vma

    def side(self, vma):
        return int(vma.up is not None and vma.up.kids[1] is vma)

    def propagate(self, vma):
        """The largest end in a subtree; whether it has changed."""
        self.read(vma, OFFSET)
        most = vma.last
        for kid in vma.kids:
            if kid:
                self.read(kid)
                most = max(most, kid.most)
        if vma.most == most:
            return False
        self.write(vma)
        vma.most = most
        return True

    def rotate(self, vma, side):
        """vma goes down on that side, its other child comes up."""
        riser = vma.kids[1 - side]
        self.write(vma)
        self.write(riser)
        moved = riser.kids[side]
        vma.kids[1 - side] = moved
        if moved:
            self.write(moved)
            moved.up = vma
        self.link(riser, vma.up, self.side(vma))
        riser.kids[side], vma.up = vma, riser
        riser.most = vma.most
        self.propagate(vma)

    def insert(self, vma):
        parent, side, at = None, 0, self.root
        while at:
            parent = at
            self.read(at)
            self.read(at, OFFSET)
            if at.most < vma.last:
                self.write(at)
                at.most = vma.last
            side = int(vma.start >= at.start)
            at = at.kids[side]
        self.write(vma)
        vma.kids, vma.red, vma.most = [None, None], True, vma.last
        self.link(vma, parent, side)
        while vma.up and vma.up.red:
            parent, top = vma.up, vma.up.up
            side = self.side(parent)
            uncle = top.kids[1 - side]
            self.read(top)
            if uncle:
                self.read(uncle)
            if uncle and uncle.red:
                for one in (parent, uncle, top):
                    self.write(one)
                parent.red, uncle.red, top.red = False, False, True
                vma = top
                continue
            if self.side(vma) != side:
                self.rotate(parent, side)
                parent = vma
            self.rotate(top, 1 - side)
            parent.red, top.red = False, True
            break
        self.root.red = False

    def remove(self, vma):
        self.read(vma)
        gone = vma
        if all(vma.kids):
            gone = vma.kids[1]      # its successor takes its place
            self.read(gone)
            while gone.kids[0]:
                gone = gone.kids[0]
                self.read(gone)
        kid, parent, side, red = gone.kids[0] or gone.kids[1], gone.up, self.side(gone), gone.red
        if kid:
            self.write(kid)
        self.link(kid, parent, side)
        if gone is not vma:
            parent = gone if parent is vma else parent
            self.write(gone)
            gone.kids, gone.red, gone.most = vma.kids, vma.red, vma.most
            for one in filter(None, gone.kids):
                self.write(one)
                one.up = gone
            self.link(gone, vma.up, self.side(vma))
        at, past = parent, gone is vma
        while at and (self.propagate(at) or not past):
            past = past or at is gone
            at = at.up
        if not red:
            self.rebalance(kid, parent, side)

    def rebalance(self, at, parent, side):
        """A path through parent on that side has a black node too few."""
        while parent and not (at and at.red):
            other = parent.kids[1 - side]
            self.read(other)
            if other.red:
                other.red, parent.red = False, True
                self.rotate(parent, side)
                other = parent.kids[1 - side]
                self.read(other)
            near, far = other.kids[side], other.kids[1 - side]
            if not (near and near.red) and not (far and far.red):
                self.write(other)
                other.red = True
                at, parent = parent, parent.up
                side = self.side(at)
                continue
            if not (far and far.red):
                near.red, other.red = False, True
                self.rotate(other, 1 - side)
                other, far = near, other
            self.rotate(parent, side)
            other.red, parent.red, far.red = parent.red, False, False
            return
        if at:
            self.write(at)
            at.red = False


# what ld.so maps of a C library, in pages: four segments, and what it splits off
TEXT, CONST, DATA, RELRO, BSS, END = 38, 381, 461, 463, 467, 470


def visits_of_exec(tree, cpu):
    """One exec's visits of the lock of its C library, each with the changes of the tree
    that it makes. By kind they are as frequent as perf shows them (see MIX)."""
    def new(start, last):
        tree.cpu = cpu
        vma = Vma(start, last, cpu)
        tree.insert(vma)
        return vma

    def split(vma, at):
        upper = new(at, vma.last)
        tree.remove(vma)
        vma.last = at - 1
        vma.have[OFFSET] = 1 << cpu
        tree.insert(vma)
        return upper

    def remove(vma):
        tree.cpu = cpu
        tree.remove(vma)

    whole = new(0, END)
    yield LINK
    text = split(whole, TEXT)
    yield SPLIT
    const = split(text, CONST)
    yield SPLIT
    remove(text)
    yield UNLINK
    text = new(TEXT, CONST - 1)
    yield LINK
    rest = split(const, DATA)
    yield SPLIT
    remove(const)
    yield UNLINK
    const = new(CONST, DATA - 1)
    yield LINK
    remove(rest)
    yield UNLINK
    data = new(DATA, END)
    yield LINK
    bss = split(data, BSS)
    yield SPLIT
    remove(bss)
    yield UNLINK
    first = split(data, DATA + 1)
    yield SPLIT
    second = split(first, RELRO)
    yield SPLIT
    for vma in (whole, text, const, data, first, second):
        vma.have[POINTERS] = 1 << cpu       # page faults write vm_refcnt
    for vma in (whole, text, const, data, first, second):
        remove(vma)
    yield EXIT


LINK, UNLINK, SPLIT, EXIT = range(4)
# of these a visit is, of 15: osq_lock() by callers, in shares of 6.15 %, is 4.0 in
# vma_link_file, 4.0 in mmap_region's unlinking, 3.0 + 2.0 + 1.0 in __split_vma, 1.0 in
# exit_mmap (perf of 220 execl copies; linux-mm, RMAP_EXCLUDE thread, April 2026)
MIX = (4, 4, 6, 1)


def turns(group, burst, draw):
    """Whose visit is next, without end. Of CPUs that queue for the lock, anybody's. Of others,
    who maps the library does so at once, in that part of an exec's time; EXIT is about half
    way to the next time."""
    if not burst:
        while True:
            yield draw.randrange(group)
    visits = sum(MIX)
    due = [(draw.random(), cpu, 1) for cpu in range(group)]
    heapq.heapify(due)
    while True:
        at, cpu, made = due[0]
        yield cpu
        gap = burst / (visits - 2) if made < visits - 1 else (1 - burst) * draw.uniform(0.4, 0.6)
        heapq.heapreplace(due, (at + gap, cpu, made % visits + 1))


@lru_cache(maxsize=None)
def lines(group, node_cpus, idle=0, burst=0, seed=1):
    """(from the same node, from another) of the lines that a visit waits for, if so many
    CPUs share a tree, in which each also has idle VMAs of processes that do nothing. For burst
    see turns()."""
    draw = random.Random(seed)
    tree = Tree(node_cpus)
    for cpu in range(group):
        for _ in range(idle):
            tree.cpu = cpu
            tree.insert(Vma(draw.choice((0, TEXT, CONST, DATA)), END, cpu))
    execs = [None] * group
    warm, rounds = 2 * sum(MIX) * group, max(3 * sum(MIX) * group, 20000)
    for count, cpu in enumerate(itertools.islice(turns(group, burst, draw), warm + rounds)):
        if count == warm:
            tree.fetched = [0, 0]
        execs[cpu] = execs[cpu] or visits_of_exec(tree, cpu)
        tree.cpu, tree.last = cpu, None
        if next(execs[cpu]) == EXIT:
            execs[cpu] = None           # who maps it next is a new process
    return tree.fetched[0] / rounds, tree.fetched[1] / rounds
