"""A plan with memory of its own, ready to run: pointers in place, one program for each thread.

Calls at the same time have programs of their own. A call costs Python a few lookups for each input
and each host operation; all else is native.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from distflow.base import errors
from distflow.compiler.cpu import task, threads, timed
from distflow.compiler.cpu.bucket_places import BucketPlaces
from distflow.compiler.cpu.looping import add_loop
from distflow.compiler.cpu.operations import Arrival, Departure, Host, Native
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.cpu.scan_plan import Loop
from distflow.compiler.cpu.streams import Streams
from distflow.compiler.cpu.views import View
from distflow.core import variable
from distflow.graph.ir import Node, Value
from distflow.telemetry import timeline

# (word, offset in bytes): where the address of a value goes, and what is added to it.
_Patch = tuple[int, int]

# Runs the segments of programs in their place, to measure them (`compiler.profile`).
recorder: Any = None


class Program:
    """Runs a plan on some number of threads. One call at a time.

    Args:
      plan: what runs.
      count: number of threads.
    """

    def __init__(self, plan: Plan, count: int):
        self.plan = plan
        self.count = count
        self._arena = task.aligned_bytes(plan.arena_bytes, zeroed=True)
        self._base = self._arena.ctypes.data
        self._buckets = BucketPlaces(plan, self._arena)
        self._patches: dict[Value, list[_Patch]] = {}
        self._words, self._blocks = self._make_blocks()
        self._segments = [self._make_segment(s.phases) for s in plan.segments]
        self._is_parallel = any(s is not None and len(s[0]) > 1 for s in self._segments)
        self._make_accessors()

    # -- making --

    def _make_blocks(self) -> tuple[Any, dict[Any, int]]:
        """Returns the pointers of all calls as one array, and where each call's begin."""
        plan = self.plan
        pointers: list[int] = []
        # Equal operations share their calls.
        blocks: dict[Any, int] = {}
        for segment in plan.segments:
            for phase in segment.phases:
                for operation, call in phase:
                    blocks[operation, id(call)] = len(pointers)
                    for number, offset in call.arguments:
                        pointers.append(self._pointer(operation, number, offset, len(pointers)))
        return (ctypes.c_int64 * max(len(pointers), 1))(*pointers), blocks

    def _pointer(self, operation: Native, number: int, offset: int, word: int) -> int:
        """Returns an address that stays, or 0 for one that comes with each call."""
        if number >= len(operation.operands):
            return (
                self._base + self.plan.offsets[operation, number - len(operation.operands)] + offset
            )
        place = operation.operands[number]
        root, offset = place.root, place.offset + offset
        if root in self.plan.offsets:
            self._buckets.note(root, offset, word)
            return self._base + self.plan.offsets[root] + offset
        if root in self.plan.constants:
            return int(self.plan.constants[root].ctypes.data) + offset
        self._patches.setdefault(root, []).append((word, offset))
        return 0

    def _make_segment(self, phases: Sequence[Any]) -> tuple[list[int], int, Any, int] | None:
        """Returns (address of each thread's program, one for one thread, what to keep, shares)."""
        if not phases:
            return None
        streams, alone, kept = Streams(self.count), Streams(1), []
        for phase in phases:
            loops = [(o, call) for o, call in phase if isinstance(o, Loop)]
            calls = [(o, call) for o, call in phase if not isinstance(o, Loop)]
            for some in (streams, alone):
                some.phase(calls, self._pointers, shared=not loops)
                kept += [add_loop(o, self._pointers(0, o, call), some) for o, call in loops]
        made = streams.programs() + alone.programs()
        *programs, single = (ctypes.addressof(m) for m in made)
        if not any(streams.records[1:]):
            programs = [single]  # too little to do for others: they may sleep on
        shares = streams.shares()
        return (
            programs, single, (made, streams.labels, kept, shares, alone.labels),
            ctypes.addressof(shares[0]) if shares else 0,
        )  # fmt: skip

    def _pointers(self, thread: int, operation: Native, call: Any) -> int:
        return ctypes.addressof(self._words) + 8 * self._blocks[operation, id(call)]

    def _make_accessors(self) -> None:
        plan = self.plan
        inputs = plan.graph.inputs
        position = {v: i for i, v in enumerate(inputs)}
        self._inputs = [
            (i, v.dtype.numpy, self._patches.get(v, []))
            for v, i in position.items()
            if not v.resource
        ]
        self._variables = [
            (position[v], v in plan.variables.written, self._patches.get(v, []))
            for v in inputs if v in plan.variables.direct
        ]  # fmt: skip
        self._expected = {
            i: (v.dtype.numpy, plan.shapes.of(v)) for v, i in position.items() if v.resource
        }
        self._fresh = [
            (v, plan.shapes.of(v) or (), v.dtype.numpy, self._patches.get(v, []))
            for v in plan.fresh
        ]  # fmt: skip
        self._seen: dict[int, int] = {}
        # Buckets that have left in this call and have not arrived.
        self._under_way: dict[Departure, Any] = {}
        self._host = [
            [(host, self._host_runner(host)) for host in segment.host] for segment in plan.segments
        ]
        # What a host operation waits for may itself wait for the lock: those go without.
        waiting = any(
            host.keeps or isinstance(host, Departure)
            for segment in plan.segments for host in segment.host
        )  # fmt: skip
        self._locks = bool(plan.variables.written) and not waiting
        self._undone = [position[v] for v in plan.undone]
        self._results = [self._reader(v, hold=True) for v in plan.graph.outputs]

    # -- running --

    @property
    def is_free(self) -> bool:
        """Whether its memory may be used again: nothing of a call that failed is under way."""
        return not self._under_way

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Returns the results for inputs of the plan's shapes."""
        if not self._locks:
            return self._run(inputs)
        with variable.in_place:
            return self._run(inputs)

    def _run(self, inputs: Sequence[Any]) -> list[Any]:
        words, seen = self._words, self._seen
        arrays: dict[Value, Any] = {}
        if self._is_parallel:
            threads.wake()
        graph_inputs = self.plan.graph.inputs
        for i, dtype, patches in self._inputs:
            array = inputs[i]
            if type(array) is not np.ndarray:
                array = np.asarray(array)
            if not (array.flags.c_contiguous and array.flags.aligned) or array.dtype != dtype:
                array = np.array(array, dtype, order="C")
            arrays[graph_inputs[i]] = array
            if patches:
                address = array.__array_interface__["data"][0]
                if seen.get(i) != address:
                    seen[i] = address
                    for word, offset in patches:
                        words[word] = address + offset
        saved = [(s, s.save()) for s in (inputs[i].storage for i in self._undone)]
        for i, written, patches in self._variables:
            storage = inputs[i].storage
            if written:
                address = storage.claim()
                if not self._locks:
                    arrays[graph_inputs[i]] = storage.memory
            else:
                array = storage.read()
                if not (array.flags.c_contiguous and array.flags.aligned):
                    array = np.array(array, order="C")
                arrays[graph_inputs[i]] = array
                address = array.__array_interface__["data"][0]
            if seen.get(i) != address:
                self._verify(i, storage.read() if written else array)
                seen[i] = address
                for word, offset in patches:
                    words[word] = address + offset
        for value, shape, dtype, patches in self._fresh:
            array = arrays[value] = np.empty(shape, dtype)
            address = array.__array_interface__["data"][0]
            for word, offset in patches:
                words[word] = address + offset
        done: list[Host] = []
        try:
            try:
                if recorder is not None:
                    recorder.run(self, arrays, inputs, done)
                elif timeline.active is not None:
                    timed.run(self, arrays, inputs, done)
                else:
                    for segment, hosts in zip(self._segments, self._host):
                        if segment is not None:
                            threads.run(segment[0], segment[1], 0, segment[3])
                        for host, run in hosts:
                            done.append(host)
                            run(arrays, inputs)
            except _Surprise as surprise:
                for pending in self._under_way.values():
                    pending.wait()
                self._under_way.clear()
                return self._by_references(done, surprise, arrays, inputs)
        except BaseException:
            for storage, value in saved:
                storage.restore(value)
            raise
        self._buckets.settle(words)
        return [read(arrays, inputs) for read in self._results]

    def _verify(self, i: int, array: np.ndarray) -> None:
        # Machine code goes by the plan: another variable's memory may end before it does.
        dtype, shape = self._expected[i]
        if array.dtype != dtype or array.shape != shape:
            raise errors.invalid(
                self.plan.graph.name, f"input {i} must be a variable of {dtype} {shape}",
                f"{array.dtype} {array.shape}",
            )  # fmt: skip

    def _by_references(
        self, hosts: list[Host], surprise: _Surprise, arrays: dict[Value, Any],
        inputs: Sequence[Any],
    ) -> list[Any]:  # fmt: skip
        """Finishes a call node by node: an array has not the shape that machine code trusts in."""
        plan = self.plan
        stands_for = plan.variables.stands_for
        number = next(i for i, s in enumerate(plan.segments) if hosts[-1] in s.host)
        ran = [o for s in plan.segments[: number + 1] for phase in s.phases for o, _ in phase]
        done = {stands_for.get(n, n) for o in (*ran, *hosts) for n in o.nodes}
        made: dict[Value, Any] = dict(surprise.results)
        maker = {v: node for node in plan.graph.nodes for v in node.outputs}

        def get(value: Value) -> Any:
            if value not in made:
                node = maker.get(value)
                if node is None or node in done or value in plan.constants:
                    return self._reader(value, hold=True)(arrays, inputs)
                run(node)
            return made[value]

        def run(node: Node) -> None:
            result = reference(node)(*map(get, node.inputs))
            results = result if isinstance(result, tuple) else (result,)
            made.update(zip(node.outputs, map(np.asarray, results)))
            done.add(node)

        for node in plan.graph.nodes:
            if node.effect and node not in done:
                run(node)
        return [np.array(get(v)) for v in plan.graph.outputs]

    # -- values on the host --

    def _reader(self, value: Value, hold: bool) -> Callable[[dict[Value, Any], Any], Any]:
        """Returns a function that gives a value as an array.

        Args:
          hold: whether the array may outlive the call.
        """
        plan = self.plan
        if value.resource:
            position = plan.graph.inputs.index(value)
            return lambda arrays, inputs: inputs[position]
        if value in plan.constants:
            constant = plan.constants[value]
            return lambda arrays, inputs: constant
        if plan.shapes.of(value) is None or plan.shapes.of(plan.views.root(value)) is None:
            return lambda arrays, inputs: arrays[value]
        view = plan.views.of(value)
        memory = plan.memory_of(value)
        if memory in plan.offsets:
            offset = plan.offsets[memory]
            size = max(plan.shapes.size(memory), 1) * memory.dtype.numpy.itemsize
            found = self._buckets.find(memory)
            if found is not None:
                (place, byte), count = found, plan.shapes.size(memory)
                return lambda arrays, inputs: _seen(place.part(byte, count), view)
            whole = self._arena[offset : offset + size].view(memory.dtype.numpy)
            seen = _seen(whole, view)
            return lambda arrays, inputs: seen
        if memory in plan.constants:
            part = _seen(plan.constants[memory].reshape(-1), view)
            return lambda arrays, inputs: part
        if memory.resource and memory in plan.variables.written:
            position = plan.graph.inputs.index(memory)
            return lambda arrays, inputs: _seen(inputs[position].storage.read().reshape(-1), view)
        if view.root is value:
            return lambda arrays, inputs: arrays[memory]
        copy = hold and not view.is_contiguous
        if copy:
            return lambda arrays, inputs: np.array(_seen(arrays[memory].reshape(-1), view))
        return lambda arrays, inputs: _seen(arrays[memory].reshape(-1), view)

    def _departure(self, host: Departure) -> Callable[[dict[Value, Any], Any], None]:
        """Returns a function that lets a bucket leave, after what its makers left elsewhere."""
        place = self._buckets.of[host]
        copies, start = [], 0
        for v, count in zip(host.node.inputs, host.num_elements):
            if v not in host.inside:
                copies.append((start, count, self.plan.shapes.of(v), self._reader(v, hold=False)))
            start += count

        def run(arrays: dict[Value, Any], inputs: Any) -> None:
            for start, count, shape, read in copies:
                place.flat[start : start + count].reshape(shape)[...] = read(arrays, inputs)
            pending = place.leave()
            if pending is not None:
                self._under_way[host] = pending

        return run

    def _arrival(self, host: Arrival) -> Callable[[dict[Value, Any], Any], None]:
        departure = host.departure
        assert departure is not None

        def run(arrays: dict[Value, Any], inputs: Any) -> None:
            pending = self._under_way.get(departure)
            if pending is not None:
                pending.wait()
                del self._under_way[departure]

        return run

    def _host_runner(self, host: Host) -> Callable[[dict[Value, Any], Any], None]:
        if isinstance(host, Departure):
            return self._departure(host)
        if isinstance(host, Arrival):
            return self._arrival(host)
        if host.checks is not None:
            kernel: Any = host.checks.kernel
            number = kernel.bounds - len(host.checks.operands)
            offset = self.plan.offsets[host.checks, number]
            bounds = self._arena[offset : offset + 16]
            return lambda arrays, inputs: kernel.verify(bounds)
        node = host.node
        readers = [self._reader(v, host.keeps) for v in node.inputs]
        call = reference(node)
        is_read = node.primitive is variable.read_variable
        expected = [
            (v, self.plan.shapes.of(v), v.dtype.numpy, self._patches.get(v, []))
            for v in node.outputs
        ]

        def run(arrays: dict[Value, Any], inputs: Any) -> None:
            operands = [read(arrays, inputs) for read in readers]
            result = call(*operands)
            results = result if isinstance(result, tuple) else (result,)
            for (value, shape, dtype, patches), array in zip(expected, results):
                array = np.asarray(array)
                if not is_read and (array.base is not None or any(array is x for x in operands)):
                    # Views of the arena would change when it is used again; a variable's array,
                    # while somebody holds it, does not (`Storage.claim`).
                    array = array.copy()
                if patches:
                    if array.shape != shape or array.dtype != dtype:
                        raise _Surprise(zip(node.outputs, map(np.asarray, results)))
                    array = np.require(array, requirements=["C", "A"])
                    address = array.__array_interface__["data"][0]
                    for word, offset in patches:
                        self._words[word] = address + offset
                arrays[value] = array

        return run


class _Surprise(Exception):
    """A host operation returned another shape than it promised: `results`."""

    def __init__(self, results: Any):
        super().__init__("a host operation returned another shape than it promised")
        self.results = list(results)


def reference(node: Node) -> Callable[..., Any]:
    """Returns a function of arrays that runs a node by its NumPy reference."""
    function = node.primitive.reference
    return functools.partial(function, **node.attributes) if node.attributes else function


def _seen(flat: np.ndarray, view: View) -> np.ndarray:
    """Returns a view of the elements of a root."""
    size = flat.itemsize
    return as_strided(
        flat[view.offset :], view.layout.shape, [s * size for s in view.layout.strides]
    )
