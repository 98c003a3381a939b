"""Runs a program as events of the timeline: forward, backward, apply, and what the host does.

The native worker counts cycles of each record; here they are added up by phase, in the first of
some calls: the others take the shares of that one, as that costs more than an event.
What is forward and what is backward is read off the program (`phases_of`), which itself does not
tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from distflow.compiler.cpu import threads
from distflow.compiler.cpu.operations import Host, Operation
from distflow.graph.ir import Graph, Node
from distflow.telemetry import timeline

FORWARD, BACKWARD, APPLY = "forward", "backward", "apply"
_RANKS = {FORWARD: 0, BACKWARD: 1, APPLY: 2}
# From a gradient to a weight's new value there are operations of these families only.
_UPDATES = ("unary", "binary", "select", "movement", "creation", "state")
# The graph of an optimizer's update, once a worker (`distribute.once`).
_UPDATE = "once"
# Nanoseconds; what the host does for less is not worth an event.
_LEAST_HOST = 20_000
# Shorter stretches of a segment are shown with their neighbour.
_LEAST_SHARE = 0.02
# How many calls of a segment go by the cycles of one of them.
_CALLS_A_COUNT = 16


def phases_of(graph: Graph) -> dict[Node, str]:
    """Returns the phase of each node.

    forward: what the results of the program need. apply: what comes after a sum over workers, or
    lies between the last contraction or sum and a variable. backward: the rest.
    """
    maker = {value: node for node in graph.nodes for value in node.outputs}
    writes = [node for node in graph.nodes if node.primitive.name == "assign_variable"]
    read_after: dict[Node, Node] = {}  # a read, and the write before it
    last: dict[Any, Node] = {}
    for node in graph.nodes:
        if node.primitive.name == "assign_variable":
            last[node.inputs[0]] = node
        elif node.inputs and node.inputs[0] in last:
            read_after[node] = last[node.inputs[0]]

    def needed(values: Iterable[Any], found: set[Node]) -> set[Node]:
        waiting = [maker.get(value) for value in values]
        while waiting:
            node = waiting.pop()
            if node is not None and node not in found:
                found.add(node)
                waiting += [maker.get(value) for value in node.inputs]
                waiting.append(read_after.get(node))
        return found

    if graph.name == _UPDATE:
        return dict.fromkeys(graph.nodes, APPLY)
    forward = needed(graph.outputs, set())
    phases = {node: FORWARD if node in forward else BACKWARD for node in graph.nodes}
    for node in graph.nodes:
        # Checks of values, say: they belong to what they look at.
        if node not in forward and not node.outputs and node not in writes:
            if all(maker.get(value, node) in forward for value in node.inputs):
                phases[node] = FORWARD
    after: set[Any] = set()
    for node in graph.nodes:
        is_sum = node.primitive.family == "collective"
        if node not in forward and any(value in after for value in node.inputs):
            phases[node] = APPLY
        if is_sum or phases[node] == APPLY:
            after.update(node.outputs)
    for write in writes:
        if write in forward:
            continue
        phases[write] = APPLY
        waiting = list(write.inputs[1:])
        while waiting:
            before = maker.get(waiting.pop())
            if before is None or phases[before] != BACKWARD:
                continue
            if before.primitive.family in _UPDATES:
                phases[before] = APPLY
                waiting += before.inputs
    return phases


def run(program: Any, arrays: Any, inputs: Any, done: list[Host]) -> None:
    """Runs all segments of a program in place of its own loop, and adds their events."""
    found = program.__dict__.get("phases")
    if found is None:
        found = program.phases = _Phases(program)
    for number, (segment, hosts) in enumerate(zip(program._segments, program._host)):
        if segment is not None:
            found.run(number, segment)
        for host, call in hosts:
            done.append(host)
            start = timeline.now()
            call(arrays, inputs)
            end = timeline.now()
            if timeline.active is not None and end - start > _LEAST_HOST:
                title = found.title(host)
                if title is not None:
                    timeline.active.add(title, "compute", start, None, end)


class _Phases:
    """The phases of one program, and where its counters lie."""

    def __init__(self, program: Any):
        self._phases = phases_of(program.plan.graph)
        self._calls = [0] * len(program._segments)
        # Of each segment: its stretches, as (phase, share of the time at which it ends).
        self._shares: list[list[tuple[str, float]]] = [[] for _ in program._segments]
        self._segments = [
            None if segment is None else _Counters(
                self._stretches(segment[2][1]), self._stretches(segment[2][4])
            )
            for segment in program._segments
        ]  # fmt: skip

    def run(self, number: int, segment: Any) -> None:
        """Runs a segment of native work."""
        programs, alone, _, shares = segment
        counters = self._segments[number]
        assert counters is not None
        is_counted = self._calls[number] % _CALLS_A_COUNT == 0
        self._calls[number] += 1
        if is_counted:
            counters.words[:] = 0
        start = timeline.now()
        threads.run(programs, alone, counters.address if is_counted else 0, shares)
        end = timeline.now()
        recorder = timeline.active
        if is_counted:
            self._shares[number] = _shares(*counters.read())
        if recorder is None:
            return
        begun = start
        for phase, share in self._shares[number]:
            at = start + int((end - start) * share)
            recorder.add(phase, "compute", begun, None, at)
            begun = at

    def title(self, host: Host) -> str | None:
        """Returns what is shown for work on the host; None for what has events of its own."""
        if host.checks is not None:
            return "check of indices"
        if host.node.primitive.family == "collective":
            return None
        return f"{self._phase(host)}: {host.node.primitive.name} in NumPy"

    def _stretches(self, labels: Sequence[Operation | None]) -> _Stretches:
        first = next((self._phase(o) for o in labels if o is not None), FORWARD)
        starts, names = [0], [first]
        for i, operation in enumerate(labels):
            # What waits at a barrier waits for the work before.
            phase = names[-1] if operation is None else self._phase(operation)
            if phase != names[-1]:
                starts.append(i)
                names.append(phase)
        return _Stretches(len(labels), starts, names)

    def _phase(self, operation: Operation) -> str:
        found = [self._phases.get(node, FORWARD) for node in operation.nodes]
        return max(found, key=_RANKS.__getitem__, default=FORWARD)


def _shares(names: Sequence[str], cycles: Sequence[int]) -> list[tuple[str, float]]:
    """Returns the stretches that are long enough to be shown, and at which share each ends."""
    total = sum(cycles) or 1
    found, name, at = [], names[0], 0
    for phase, count in zip(names, cycles):
        if phase != name and count > _LEAST_SHARE * total:
            found.append((name, at / total))
            name = phase
        at += count
    return [*found, (name, 1.0)]


class _Stretches(NamedTuple):
    """Where in the records of a program each stretch of one phase begins, and which it is."""

    num_records: int
    starts: list[int]
    names: list[str]


class _Counters:
    """The counters of a segment, in the form for several threads or for one.

    Which of them ran, as the pool of threads may have been busy, the number of records tells.
    """

    def __init__(self, together: _Stretches, alone: _Stretches):
        self._forms = (together, alone)
        most = max(together.num_records, alone.num_records)
        self.words, self.address = threads.aligned_words(most + 1)

    def read(self) -> tuple[list[str], list[int]]:
        """Returns the phase of each stretch and its cycles."""
        counted = np.flatnonzero(self.words)
        num_records = int(counted[-1]) + 1 if len(counted) else 0
        together, alone = self._forms
        form = alone if num_records == alone.num_records != together.num_records else together
        if not form.num_records:
            return form.names, [0]
        return form.names, np.add.reduceat(self.words[: form.num_records], form.starts).tolist()
