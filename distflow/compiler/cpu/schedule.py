"""When each operation of a plan runs: segments of native phases, host operations between them.

What does not wait for anything runs as early as it can, but long operations do not overtake each
other: what they make would lie in memory for longer. Calls of one phase run at once; their units
are dealt out to the threads in equal parts by cost, each thread's part contiguous, so that most
threads find what they wrote before. Which thread has a unit never changes a bit.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from distflow.compiler.cpu.operations import Arrival, Departure, Host, Native, Operation
from distflow.compiler.cpu.task import Call
from distflow.graph.ir import Value

# Nanoseconds of work of a phase below which one thread does all of it.
_FOR_ONE_THREAD = 3_000
# Nanoseconds of work of an operation that is long.
_LONG = 20_000
# Nanoseconds of work after which a bucket of gradients need not leave before the rest is done.
_WORTH_LEAVING_EARLY = 100_000


@dataclass
class Segment:
    """Native phases, then operations on the host."""

    phases: list[list[tuple[Native, Call]]] = field(default_factory=list)
    host: list[Host] = field(default_factory=list)


@dataclass
class Schedule:
    """The order of a plan's operations.

    Attributes:
      segments: one after the other.
      spans: first and last time of each operation; phases and host parts count as one each.
    """

    segments: list[Segment]
    spans: dict[Operation, tuple[int, int]]


def schedule(operations: Sequence[Operation], written: set[Value]) -> tuple[Schedule, set[Value]]:
    """Returns when operations run, and the variables that are written before a failure may come.

    Args:
      operations: each after those that make what it reads.
      written: roots that are variables, updated in place. Who reads one of them goes before.
    """
    waits = _waits(operations, written)
    late = _order_writes_last(operations, waits, written)
    segment: dict[int, int] = {}
    last_phase: dict[int, int] = {}
    segments: list[Segment] = [Segment()]
    leaving: dict[int, list[tuple[int, Host]]] = {}
    previous = 0
    heavy: dict[int, int] = {}  # by segment: the first phase for long operations

    def at(number: int) -> Segment:
        while len(segments) <= number:
            segments.append(Segment())
        return segments[number]

    for i in _in_order(waits):
        operation = operations[i]
        natives = [j for j in waits[i] if isinstance(operations[j], Native)]
        hosts = [segment[j] for j in waits[i] if isinstance(operations[j], Host)]
        if isinstance(operation, Host):
            number = max([*(segment[j] for j in natives), *hosts], default=0)
            if operation.has_order:
                number = previous = max(number, previous)
            segment[i] = number
            before = at(number).host
            if isinstance(operation, Departure) and all(isinstance(o, Arrival) for o in before):
                # It may leave before the segment's native work is done.
                phase = max([last_phase[j] + 1 for j in natives if segment[j] == number], default=0)
                leaving.setdefault(number, []).append((phase, operation))
            else:
                at(number).host.append(operation)
            continue
        assert isinstance(operation, Native)
        number = max([*(segment[j] for j in natives), *(s + 1 for s in hosts)], default=0)
        first = max((last_phase[j] + 1 for j in natives if segment[j] == number), default=0)
        if sum(call.work for call in operation.calls) >= _LONG:
            first = heavy[number] = max(first, heavy.get(number, 0))
        segment[i] = number
        last_phase[i] = first + len(operation.calls) - 1
        phases = at(number).phases
        for k, call in enumerate(operation.calls):
            while len(phases) <= first + k:
                phases.append([])
            phases[first + k].append((operation, call))
    segments = [
        part for number, whole in enumerate(segments) for part in _cut(whole, leaving.get(number))
    ]
    return Schedule(segments, _spans(segments)), late


def _cut(whole: Segment, leaving: list[tuple[int, Host]] | None) -> list[Segment]:
    """Returns a segment in parts, so that what leaves early does so between them."""
    if not leaving:
        return [whole]
    parts: list[Segment] = []
    at_end: list[Host] = []
    start = 0
    for phase, departure in leaving:
        assert isinstance(departure, Departure)
        phase = max(phase, start)  # they leave in their order
        rest = sum(call.work for calls in whole.phases[phase:] for _, call in calls)
        if at_end or not departure.is_early or rest < _WORTH_LEAVING_EARLY:
            at_end.append(departure)
        elif phase == start and parts:
            parts[-1].host.append(departure)
        else:
            parts.append(Segment(whole.phases[start:phase], [departure]))
            start = phase
    return [*parts, Segment(whole.phases[start:], [*at_end, *whole.host])]


def _waits(operations: Sequence[Operation], written: set[Value]) -> list[set[int]]:
    """Returns the operations that each has to wait for."""
    made = {v: i for i, operation in enumerate(operations) for v in operation.writes}
    readers: dict[Value, list[int]] = {}
    for i, operation in enumerate(operations):
        for v in operation.reads:
            if v in written:
                readers.setdefault(v, []).append(i)
    waits: list[set[int]] = []
    effect = arrival = -1
    for i, operation in enumerate(operations):
        needed = {
            made[v] for v in operation.reads if v in made and v not in written
        }  # the value of a variable before the step is there already
        for v in operation.writes:
            needed.update(readers.get(v, ()))
        if isinstance(operation, Host):
            if operation.checks is not None:
                needed.add(operations.index(operation.checks))
            elif isinstance(operation, Arrival):
                assert operation.departure is not None
                needed.add(operations.index(operation.departure))
                needed |= {arrival} if arrival >= 0 else set()
                arrival = i
            elif operation.has_order:
                needed |= {effect} if effect >= 0 else set()
                effect = i
        waits.append(needed - {i})
    return waits


def _order_writes_last(
    operations: Sequence[Operation], waits: list[set[int]], written: set[Value]
) -> set[Value]:
    """Lets writes of variables wait for all that can fail; returns the variables that cannot.

    A step that fails must leave the variables as they were.
    """
    writers = [
        i for i, operation in enumerate(operations) if written.intersection(operation.writes)
    ]
    failing = [i for i, o in enumerate(operations) if isinstance(o, Host) and o.can_fail]
    if not writers or not failing:
        return set()
    # Something that can fail needs what they write, too: the state of random numbers, say.
    needed = _needed(waits, failing)
    for i in writers:
        if i not in needed:
            waits[i].update(failing)
    return {v for i in writers if i in needed for v in operations[i].writes if v in written}


def _needed(waits: Sequence[set[int]], ends: Sequence[int]) -> set[int]:
    """Returns the operations that some wait for, directly or not, and these themselves."""
    found, open_ = set(ends), list(ends)
    while open_:
        for i in waits[open_.pop()]:
            if i not in found:
                found.add(i)
                open_.append(i)
    return found


def _in_order(waits: Sequence[set[int]]) -> list[int]:
    """Returns the operations in an order in which they can run, else in their own order."""
    followers: list[list[int]] = [[] for _ in waits]
    for i, needed in enumerate(waits):
        for j in needed:
            followers[j].append(i)
    missing = [len(needed) for needed in waits]
    ready = [i for i, count in enumerate(missing) if not count]
    order: list[int] = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in followers[i]:
            missing[j] -= 1
            if not missing[j]:
                heapq.heappush(ready, j)
    assert len(order) == len(waits), "operations wait for each other"
    return order


def _spans(segments: Sequence[Segment]) -> dict[Operation, tuple[int, int]]:
    spans: dict[Operation, tuple[int, int]] = {}
    time = 0
    for segment in segments:
        for phase in segment.phases:
            for operation, _ in phase:
                spans[operation] = (spans.get(operation, (time, 0))[0], time)
            time += 1
        for host in segment.host:
            spans[host] = (time, time)
        time += 1
    return spans


def deal(
    phase: Sequence[tuple[Native, Call]], threads: int
) -> list[list[tuple[Native, Call, int, int]]]:
    """Returns each thread's (operation, call, first unit, end) of a phase."""
    parts: list[list[tuple[Native, Call, int, int]]] = [[] for _ in range(threads)]
    total = sum(call.work for _, call in phase)
    if threads == 1 or total < _FOR_ONE_THREAD:
        parts[0] = [(operation, call, 0, call.units) for operation, call in phase]
        return parts
    done = 0
    for operation, call in phase:
        begin = 0
        for t in range(threads):
            # Where this thread's share of all work ends, in units of this call.
            end = total * (t + 1) / threads - done
            unit = min(max(round(end * call.units / max(call.work, 1)), begin), call.units)
            if t == threads - 1:
                unit = call.units
            if unit > begin:
                parts[t].append((operation, call, begin, unit))
                begin = unit
        done += call.work
    return parts
