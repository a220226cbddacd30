# SPDX-License-Identifier: GPL-2.0
"""A machine, what its CPUs queue at, and the rate at which they get through: calculated.

exact()   exact mean value analysis of a closed network (Reiser and Lavenberg, 1980)
solve()   an approximation to what exact() cannot do: stations for groups of CPUs,
          hand-over that costs more the more are waiting, a line inside a lock

Times are microseconds.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache


@dataclass(frozen=True)
class Layout:
    """CPUs, numbered node by node, cache by cache, core by core, of which the first
    per_node of each node run; or all. latency: between CPUs of one core, one cache,
    one node, one socket, and the rest. possible: CPUs that have percpu memory, if not all run."""
    nodes: int
    node_cpus: int
    cache_cpus: int
    nodes_per_socket: int
    latency: tuple
    threads: int = 2
    possible: int = 0

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
        found = [self.between(0, other) for other in range(1, min(group, self.cpus))
                 if near is None or near == (other < self.node_cpus)]
        return sum(found) / len(found) if found else 0.0


@dataclass(frozen=True)
class Line:
    """A cache line that all CPUs write: a station that serves one at a time. A visit is
    so many transfers, of which each lasts as the way from whoever had it last. Or so many
    alike, each with as many visits. wait: the part of a visit in which its CPU does nothing
    else, as it fetches several lines at a time."""
    name: str
    visits: float
    transfers: float = 1.0
    lines: int = 1
    wait: float = 1.0


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
        return now * line.wait * line.lines

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
