# SPDX-License-Identifier: GPL-2.0
"""What lab/model/model.py calculates with; nothing here knows a parameter of exec.

Layout    which CPUs there are, and how long a cache line takes between two of them
lines()   how many cache lines of an i_mmap tree a visit of its lock has to fetch
exact()   exact mean value analysis of a closed network (Reiser and Lavenberg, 1980)
solve()   an approximation to what exact() cannot do: stations for groups of CPUs,
          hand-over that costs more the more are waiting, a line inside a lock
simulate()  the same, event by event, with the distance of each hand-over

Times are microseconds. Everything repeats exactly: random numbers have a seed.
"""

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache


@dataclass(frozen=True)
class Layout:
    """CPUs, numbered node by node, cache by cache, core by core, of which the first
    per_node of each node run; or all. latency: between CPUs of one core, one cache,
    one node, one socket, and the rest."""
    nodes: int
    node_cpus: int
    cache_cpus: int
    nodes_per_socket: int
    latency: tuple
    threads: int = 2

    @property
    def cpus(self):
        return self.nodes * self.node_cpus

    def between(self, one, other):
        if one == other:
            return 0.0
        for size, latency in zip((self.threads, self.cache_cpus, self.node_cpus,
                                  self.node_cpus * self.nodes_per_socket), self.latency):
            if one // size == other // size:
                return latency
        return self.latency[-1]

    @cached_property
    def distances(self):
        return [[self.between(one, other) for other in range(self.cpus)]
                for one in range(self.cpus)]

    @lru_cache(maxsize=None)
    def mean(self, group, near=None):
        """Between two CPUs of a group; if near is told, of one node, or of two."""
        found = [self.distances[0][other] for other in range(1, min(group, self.cpus))
                 if near is None or near == (other < self.node_cpus)]
        return sum(found) / len(found) if found else 0.0


# --- a tree, and where its cache lines are ------------------------------------

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
        self.link_or_clear(kid, parent, side)
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

    def link_or_clear(self, kid, parent, side):
        if kid:
            self.link(kid, parent, side)
        elif parent is None:
            self.root = None
        else:
            self.write(parent)
            parent.kids[side] = None

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


@lru_cache(maxsize=None)
def lines(group, node_cpus, idle=0, seed=1):
    """(from the same node, from another) of the lines that a visit waits for, if so many
    CPUs share a tree, in which each also has idle VMAs of processes that do nothing."""
    draw = random.Random(seed)
    tree = Tree(node_cpus)
    for cpu in range(group):
        for _ in range(idle):
            tree.cpu = cpu
            tree.insert(Vma(draw.choice((0, TEXT, CONST, DATA)), END, cpu))
    execs = [None] * group
    warm, rounds, seen = 2 * sum(MIX) * group, max(3 * sum(MIX) * group, 6000), 0
    total = [0, 0]
    for count in range(warm + rounds):
        cpu = draw.randrange(group)
        if count == warm:
            total, seen = [0, 0], 0
        tree.fetched, tree.last = [0, 0], None
        if execs[cpu] is None:
            execs[cpu] = visits_of_exec(tree, cpu)
        tree.cpu = cpu
        if next(execs[cpu]) == EXIT:
            execs[cpu] = None           # who maps it next is a new process
        seen += 1
        total = [have + more for have, more in zip(total, tree.fetched)]
    return total[0] / seen, total[1] / seen


# --- queues ---------------------------------------------------------------------

@dataclass(frozen=True)
class Line:
    """A cache line that all CPUs write: a station that serves one at a time. A visit is
    so many transfers, of which each lasts as the way from whoever had it last."""
    name: str
    visits: float
    transfers: float = 1.0


@dataclass(frozen=True)
class Lock:
    """A lock for each group of CPUs, first come first served. Whoever finds it free
    fetches its line. Whoever waits spins and keeps his CPU; he gets it from who had it in
    so many transfers (handed), and before he goes on sends forward who spins behind him,
    if anybody does (passed). A visit may touch a line that all CPUs write: so often before
    and after it has the lock, and so often while it has it."""
    name: str
    visits: float
    hold: float
    group: int
    line: Line = None
    outside: float = 0
    inside: float = 0
    handed: float = 3
    passed: float = 2


def exact(customers, think, demands):
    """Rounds per unit of time of so many customers who think, and then queue at each
    station for the time it demands (exponential, first come first served)."""
    queues = [0.0] * len(demands)
    rate = 0.0
    for present in range(1, customers + 1):
        stays = [demand * (1 + queue) for demand, queue in zip(demands, queues)]
        rate = present / (think + sum(stays))
        queues = [rate * stay for stay in stays]
    return rate


def solve(customers, think, stations, layout):
    """(rounds per microsecond, {station: share of the time in which it is busy}).

    As exact(), customer by customer, but service depends on the queue that who arrives
    finds, and at a station for a group of them he finds that of his group (by Bard and
    Schweitzer: the mean without himself). So it is an approximation."""
    queue, busy, rate = {}, {}, 0.0
    everybody = layout.mean(layout.cpus)
    arrivals = {}

    def at_line(line, visits, here=1.0):
        """here: of the queue, what is not he who arrives."""
        service = line.transfers * everybody
        now = service * (1 + here * queue.get(line.name, 0.0))
        arrivals[line.name] = visits, service, now, 1
        return now

    def at_lock(lock, present):
        group = min(lock.group, customers)
        here = present * group / customers
        others = queue.get(lock.name, 0.0)
        if group < customers:
            others *= max(0.0, here - 1) / here * present / max(1, present - 1)
        waited, behind = min(1.0, others), min(1.0, max(0.0, others - 1))
        moves = 1 + waited * (lock.handed - 1 + behind * lock.passed)
        service, before = lock.hold + layout.mean(group) * moves, 0.0
        if lock.line:
            # of those who have a lock, there are only as many as locks, and he is one
            touches = lock.inside + lock.outside
            mine = lock.inside / touches * group / customers
            before = lock.outside * at_line(lock.line, 0)
            touch = at_line(lock.line, 0, 1 - mine)
            service += lock.inside * touch
            arrivals[lock.line.name] = (lock.visits * touches, lock.line.transfers * everybody,
                                        (before + lock.inside * touch) / touches, 1)
        arrivals[lock.name] = lock.visits, service, service * (1 + others), group / customers
        return service * (1 + others) + before

    for present in range(1, customers + 1):
        stay = sum(one.visits * (at_lock(one, present) if isinstance(one, Lock) else
                                 at_line(one, one.visits)) for one in stations)
        rate = present / (think + stay)
        for name, (visits, service, now, part) in arrivals.items():
            queue[name] = rate * part * visits * now
            busy[name] = rate * part * visits * service
    return rate, busy


class Word:
    """A Line in simulate(): free from a time on, and where it was last."""

    def __init__(self, line, layout):
        self.transfers, self.way = line.transfers, layout.distances
        self.free, self.last = 0.0, 0

    def touch(self, now, cpu):
        """When a CPU that wants it now has done with it."""
        self.free = max(now, self.free) + self.transfers * self.way[self.last][cpu]
        self.last = cpu
        return self.free


class Held:
    """A Lock of one group in simulate()."""

    def __init__(self, layout):
        self.way, self.last, self.taken, self.queue = layout.distances, 0, False, deque()


class Gate:
    """Closed while somebody walks a file; those who came meanwhile pass one by one."""

    def __init__(self):
        self.open_at, self.passed = 0.0, 0.0


def simulate(customers, think, stations, layout, execs=6, seed=1, walks=None):
    """Rounds per microsecond, of so many by each customer, the first left out.
    walks: (name of a lock, walks per microsecond, length of a walk). A walk takes its turn
    at a lock that all share. If it is of groups, who comes during a walk waits for its
    end, and then they pass one by one."""
    draw, order = random.Random(seed), itertools.count()
    events = []     # (time, order, process)
    locks, words, gates = {}, {}, {}
    for one in stations:
        line = one if isinstance(one, Line) else one.line
        if line:
            words.setdefault(line.name, Word(line, layout))
        if isinstance(one, Lock):
            locks[one.name] = [Held(layout) for _ in range(-(-customers // one.group))]
    if walks and len(locks[walks[0]]) > 1:
        gates[walks[0]] = Gate()
    everybody = layout.mean(layout.cpus)

    def some(amount):
        return int(amount) + (draw.random() < amount % 1)

    def walker(lock, often, length):
        now, gate = 0.0, gates.get(lock.name)
        while True:
            now = yield now + draw.expovariate(often)
            if gate:
                gate.open_at = now + length
                now = yield gate.open_at
            else:
                now = yield from visit(replace(lock, hold=length), customers, now)

    def visit(lock, who, now):
        cpu = who % customers           # who walks does so from the first
        gate = gates.get(lock.name)
        if gate and now < gate.open_at:
            # i_mmap_rwsem of a file that is sharded, for writing, and at once released
            gate.passed = max(gate.passed, gate.open_at) + lock.handed * everybody
            now = yield gate.passed
        word = words[lock.line.name] if lock.line else None
        before = some(lock.outside / 2)
        for _ in range(before):
            now = yield word.touch(now, cpu)
        held = locks[lock.name][cpu // lock.group]
        if held.taken:
            held.queue.append((cpu, running[who]))
            now = yield None                    # until who has it hands it over
        else:
            held.taken = True
            now = yield now + held.way[held.last][cpu]
        inside = some(lock.inside)
        for _ in range(inside):
            now = yield now + draw.expovariate(1 / lock.hold) / (inside + 1)
            now = yield word.touch(now, cpu)
        now = yield now + draw.expovariate(1 / lock.hold) / (inside + 1)
        held.last = cpu
        if held.queue:
            head, waiting = held.queue.popleft()
            arrives = now + lock.handed * held.way[cpu][head]
            if held.queue:
                arrives += lock.passed * held.way[head][held.queue[0][0]]
            heapq.heappush(events, (arrives, next(order), waiting))
        else:
            held.taken = False
        for _ in range(some(lock.outside - before)):
            now = yield word.touch(now, cpu)
        return now

    progress = [0.0]

    def customer(cpu):
        now = 0.0
        while True:
            plan = [one for one in stations for _ in range(some(one.visits))]
            draw.shuffle(plan)
            for one in plan:
                now = yield now + draw.expovariate(len(plan) / think)
                if isinstance(one, Lock):
                    now = yield from visit(one, cpu, now)
                else:
                    now = yield words[one.name].touch(now, cpu)
                progress[0] += 1 / len(plan)

    running = [customer(cpu) for cpu in range(customers)]
    if walks:
        walked = next(one for one in stations if one.name == walks[0])
        running.append(walker(walked, *walks[1:]))
    for one in running:
        heapq.heappush(events, (next(one), next(order), one))
    began = None
    while progress[0] < execs * customers:
        now, _, one = heapq.heappop(events)
        if began is None and progress[0] > customers:
            began, first = now, progress[0]
        then = one.send(now)
        if then is not None:
            heapq.heappush(events, (then, next(order), one))
    return (progress[0] - first) / (now - began)
