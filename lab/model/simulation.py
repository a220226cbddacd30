# SPDX-License-Identifier: GPL-2.0
"""What queueing.solve() calculates, event by event, with the distance of each hand-over."""

import heapq
import itertools
import random
from collections import deque

from queueing import Line, Lock


class Word:
    """A Line in simulate(): free from a time on, and where it was last."""

    def __init__(self, line, layout):
        self.transfers, self.way, self.wait = line.transfers, layout.distances, line.wait
        self.free, self.last = 0.0, 0

    def touch(self, now, cpu):
        """Until when a CPU that wants it now waits for it."""
        self.free = max(now, self.free) + self.transfers * self.way[self.last][cpu]
        self.last = cpu
        return now + self.wait * (self.free - now)


class Held:
    """A Lock of one group in simulate()."""

    def __init__(self, layout):
        self.way, self.last, self.taken, self.queue = layout.distances, 0, False, deque()


def simulate(customers, think, stations, layout, execs=6, seed=1):
    """Rounds per microsecond, of so many by each customer, the first left out."""
    draw, order = random.Random(seed), itertools.count()
    events = []     # (time, order, process)
    locks, words = {}, {}
    for one in stations:
        line = one if isinstance(one, Line) else one.line
        if line:
            words.setdefault(line.name, [Word(line, layout) for _ in range(line.lines)])
        if isinstance(one, Lock):
            locks[one.name] = [Held(layout) for _ in range(-(-customers // one.group))]

    def some(amount):
        return int(amount) + (draw.random() < amount % 1)

    def visit(lock, cpu, now):
        word = words[lock.line.name][0] if lock.line else None
        before = some(lock.outside / 2)
        for _ in range(before):
            now = yield word.touch(now, cpu)
        held = locks[lock.name][cpu // lock.group]
        if held.taken:
            held.queue.append((cpu, running[cpu]))
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
            plan = [one for one in stations
                    for _ in range(some(one.visits * getattr(one, "lines", 1)))]
            draw.shuffle(plan)
            for one in plan:
                now = yield now + draw.expovariate(len(plan) / think)
                if isinstance(one, Lock):
                    now = yield from visit(one, cpu, now)
                else:
                    now = yield draw.choice(words[one.name]).touch(now, cpu)
                progress[0] += 1 / len(plan)

    running = [customer(cpu) for cpu in range(customers)]
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
