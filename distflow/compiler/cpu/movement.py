"""Movement that no view expresses: concat, pad, reverse, copies; each is strided loops.

Elements are moved as integers of their size, so that every dtype of 1 to 8 bytes is moved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from distflow.compiler.cpu import jit, loops
from distflow.compiler.cpu.emit import Code
from distflow.compiler.cpu.nest import broadcast, contiguous
from distflow.compiler.cpu.steps import Loop
from distflow.compiler.cpu.task import Call, Kernel, Layout, Scratch

_BYTES = {"bool": 1, "bfloat16": 2, "complex64": 8}

# (operand, offset in elements) of each pointer that a loop takes.
Places = Sequence[tuple[int, int]]


def item_bytes(dtype: str) -> int:
    """Returns the size of an element."""
    return _BYTES.get(dtype) or int("".join(c for c in dtype if c.isdigit())) // 8


class Moves:
    """Loops that follow each other, made into one kernel.

    Args:
      num_inputs: of the kernel; its result is the operand after them.
    """

    def __init__(self, num_inputs: int):
        self.result = num_inputs
        self._code = Code()
        self._calls: list[tuple[loops.Stage, tuple[tuple[int, int], ...], tuple[int, ...]]] = []
        self._scratch: list[Scratch] = []

    def buffer(self, num_bytes: int) -> int:
        """Returns the number of a new scratch buffer."""
        self._scratch.append(Scratch(num_bytes))
        return self.result + len(self._scratch)

    def copy(
        self, kind: str, shape: Sequence[int], source: tuple[int, int, Sequence[int]],
        target: tuple[int, Sequence[int]],
    ) -> None:  # fmt: skip
        """Adds the copy of a box of elements into the result.

        Args:
          kind: unsigned dtype of that size.
          shape: of the box; nothing is done if it is empty.
          source: operand, offset and strides, in elements.
          target: offset in the result, and strides.
        """
        if not math.prod(shape):
            return
        number, begin, strides = source
        offset, to = target
        loop = Loop(tuple(shape), ((kind, tuple(strides)),), (), ((0, tuple(to)),))
        self.loop(loop, [(number, begin), (self.result, offset)])

    def loop(self, loop: Loop, places: Places) -> None:
        """Adds a loop whose pointers are operands from an element on."""
        dtypes = [
            *(dtype for dtype, _ in loop.inputs),
            *(loop.dtype(p) for p, _ in loop.stores),
            *(r.dtype for r in loop.reductions),
        ]
        arguments = [(n, at * item_bytes(dtype)) for (n, at), dtype in zip(places, dtypes)]
        writes = [n for n, _ in places[len(loop.inputs) :]]
        if loop.scratch_bytes:
            scratch = self.buffer(loop.scratch_bytes)
            arguments.append((scratch, 0))
            writes.append(scratch)
        for stage in loops.emit_loop(self._code, loop, self.name()):
            self.stage(stage, arguments, writes)

    def name(self) -> str:
        """Returns the name of the next function."""
        return f"move{len(self._calls)}"

    def add(self, function: str) -> None:
        """Adds the text of a function that a stage names."""
        self._code.add(function)

    @property
    def code(self) -> Code:
        """The module."""
        return self._code

    def stage(
        self, stage: loops.Stage, arguments: Sequence[tuple[int, int]], writes: Sequence[int]
    ) -> None:
        """Adds a call: (operand, offset in bytes) of each pointer."""
        self._calls.append((stage, tuple(arguments), tuple(dict.fromkeys(writes))))

    def calls(self) -> tuple[Call, ...]:
        """Compiles the module and returns its calls."""
        module = jit.compile_module(
            jit.vectors(self._code.text() + loops.metadata()), "movement", later=True
        )
        return tuple(
            Call(module.ranged(s.symbol), arguments, writes, s.units, s.work_ns)
            for s, arguments, writes in self._calls
        )

    def scratch(self) -> tuple[Scratch, ...]:
        """Returns the buffers."""
        return tuple(self._scratch)

    def kernel(self) -> Kernel:
        """Returns what was collected."""
        return Kernel(self.calls(), self.scratch())


def _kind(x: Layout) -> str | None:
    """Returns the integer dtype as which elements are moved."""
    if x.dtype in ("complex128", "string"):
        return None
    return f"uint{8 * item_bytes(x.dtype)}"


def lower_copy(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """reshape, broadcast_to, transpose, stop_gradient: where no view does."""
    x, kind = inputs[0], _kind(inputs[0])
    if kind is None:
        return None
    shape, strides, to = x.shape, x.strides, contiguous(x.shape)
    if "perm" in attributes:
        shape, to = result.shape, result.strides
        strides = tuple(x.strides[p] for p in attributes["perm"])
    elif x.size != result.size:
        shape, to = result.shape, result.strides
        strides = broadcast(x.shape, x.strides, shape)
    moves = Moves(len(inputs))
    moves.copy(kind, shape, (0, 0, strides), (0, to))
    return moves.kernel()


def lower_concat(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """Each input into its part of the result."""
    kind, axis = _kind(result), attributes["axis"]
    if kind is None:
        return None
    moves, start = Moves(len(inputs)), 0
    for i, x in enumerate(inputs):
        moves.copy(kind, x.shape, (i, 0, x.strides), (start, result.strides))
        start += x.shape[axis] * result.strides[axis]
    return moves.kernel()


def lower_slice(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """Every n-th element between two of each axis."""
    (x,), kind = inputs, _kind(result)
    if kind is None:
        return None
    begin, strides = 0, []
    rows = zip(attributes["starts"], attributes["stops"], attributes["strides"])
    for (start, stop, step), extent, stride in zip(rows, x.shape, x.strides):
        begin += slice(start, stop, step).indices(extent)[0] * stride
        strides.append(step * stride)
    moves = Moves(1)
    moves.copy(kind, result.shape, (0, begin, strides), (0, result.strides))
    return moves.kernel()


def lower_reverse(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """Some axes from their end."""
    (x,), kind, axes = inputs, _kind(result), attributes["axes"]
    if kind is None or not x.size:
        return None
    begin = sum((x.shape[a] - 1) * x.strides[a] for a in axes)
    strides = [-s if i in axes else s for i, s in enumerate(x.strides)]
    moves = Moves(1)
    moves.copy(kind, x.shape, (0, begin, strides), (0, result.strides))
    return moves.kernel()


def lower_pad(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """The value everywhere, then the elements that remain in their places."""
    (x, value), kind = inputs, _kind(result)
    if kind is None:
        return None
    shape, begin, offset, to = [], 0, 0, []
    for (low, _, interior), extent, size, stride, target in zip(
        attributes["config"], x.shape, result.shape, x.strides, result.strides
    ):
        step = interior + 1
        first = max(0, -(low // step)) if low < 0 else 0
        position = low + first * step
        count = 0 if position >= size else min(extent - first, (size - position - 1) // step + 1)
        shape.append(max(count, 0))
        begin += first * stride
        offset += position * target
        to.append(step * target)
    moves = Moves(2)
    if math.prod(shape) != result.size:
        zero = (0,) * len(result.shape)
        moves.copy(kind, result.shape, (1, 0, zero), (0, result.strides))
    moves.copy(kind, shape, (0, begin, x.strides), (offset, to))
    del value
    return moves.kernel()
