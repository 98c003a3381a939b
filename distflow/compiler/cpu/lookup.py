"""Rows of tables: gather, its gradient (scatter), and the position of the largest or least element.

A kernel cannot fail. Those with indices leave out rows that do not exist and note the least and
the largest index; whoever runs one calls `Checked.verify` afterwards, which raises the error of the
reference. Additions to a row are in the order of the indices: each unit has rows of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.compiler.cpu import formats, nest
from distflow.compiler.cpu.emit import BITS, LANES, MEMORY, REGISTER, Block, Operand
from distflow.compiler.cpu.flow import Flow
from distflow.compiler.cpu.loops import Stage
from distflow.compiler.cpu.movement import Moves, item_bytes
from distflow.compiler.cpu.steps import Loop, Reduced
from distflow.compiler.cpu.table import ELEMENTWISE, is_float
from distflow.compiler.cpu.task import Kernel, Layout

_MODES = {"add": "add", "sub": "sub", "max": "max", "min": "min", "update": ""}
# Parts of a table of which each is one unit that reads all indices.
_MOST_PARTS = 16
_ROW_NS = 5


@dataclass(frozen=True)
class Checked(Kernel):
    """A kernel with indices.

    Attributes:
      bounds: number (among the operands) of the scratch buffer that holds the least index in its
        first 8 bytes and the largest in the next 8, in the dtype of the indices.
      dtype: of the indices.
      size: indices must be in [0, size).
      role: who asks, and for what: "gather: indices".
    """

    bounds: int = 0
    dtype: str = "int32"
    size: int = 0
    role: str = "gather: indices"

    def verify(self, buffer: np.ndarray) -> None:
        """Raises InvalidArgumentError if an index was outside.

        Args:
          buffer: the first 16 bytes of the scratch buffer, as uint8.
        """
        low, high = (
            int(buffer[i : i + item_bytes(self.dtype)].view(self.dtype)[0]) for i in (0, 8)
        )
        if low < 0 or high >= self.size:
            bad = low if low < 0 else high
            name, _, what = self.role.partition(": ")
            raise errors.invalid(name, f"{what} must be in [0, {self.size})", str(bad))


def lower_gather(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """params[..., indices, ...] along an axis."""
    params, indices = inputs
    axis = attributes["axis"]
    before, after = params.shape[:axis], params.shape[axis + 1 :]
    outer = _one_stride(before, params.strides[:axis])
    flat = _one_stride(indices.shape, indices.strides)
    if (
        not result.size or params.dtype in ("complex128", "string")
        or outer is None or flat is None
        or not _side_by_side(after, params.strides[axis + 1 :])
    ):  # fmt: skip
        return None
    moves = Moves(2)
    bounds = _note_bounds(moves, 1, indices)
    kind, inner = f"uint{8 * item_bytes(params.dtype)}", math.prod(after)
    flow = Flow(moves.code)
    table, index, target = (_pointer(flow, i) for i in range(3))
    with flow.loop("%begin", "%end") as unit:
        i, j = flow.divide(unit, indices.size)
        at = _index(flow, indices.dtype, index, flow.times(j, flat))
        # In range whatever it is: `verify` says so when all is over.
        at = flow.minimum(flow.maximum(at, 0), params.shape[axis] - 1)
        start = flow.plus(flow.times(i, outer), flow.times(at, params.strides[axis]))
        _row(flow, inner, kind, (table, start), (target, flow.times(unit, inner)))
    units = math.prod(before) * indices.size
    name = moves.name()
    moves.add(flow.function(name))
    work = int(units * (_ROW_NS + 0.04 * inner * item_bytes(params.dtype)))
    moves.stage(Stage(name, units, work), [(0, 0), (1, 0), (2, 0)], [2])
    return Checked(
        moves.calls(), moves.scratch(), bounds, indices.dtype, params.shape[axis],
        attributes.get("role", "gather: indices"),
    )  # fmt: skip


def lower_scatter(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """A copy of the operand in which rows are replaced by, or combined with, those of updates."""
    operand, indices, updates = inputs
    name, dtype = _MODES[attributes["mode"]], operand.dtype
    if indices.shape[-1:] != (1,) or not result.size or not updates.size:
        return None
    if dtype not in REGISTER or (name and dtype not in ELEMENTWISE[name].dtypes):
        return None
    flat = _one_stride(indices.shape[:-1], indices.strides[:-1])
    count, row = math.prod(indices.shape[:-1]), operand.shape[1:]
    lead = len(indices.shape) - 1
    each = _one_stride(updates.shape[:lead], updates.strides[:lead])
    if flat is None or each is None or not _side_by_side(row, updates.strides[lead:]):
        return None
    inner, rows = math.prod(row), operand.shape[0]
    moves = Moves(3)
    bounds = _note_bounds(moves, 1, indices)
    moves.copy(
        f"uint{8 * item_bytes(dtype)}", operand.shape, (0, 0, operand.strides), (0, result.strides)
    )
    parts = min(rows, _MOST_PARTS)
    part = -(-rows // parts)
    flow = Flow(moves.code)
    index, update, target = (_pointer(flow, i) for i in range(3))
    low, high = flow.times("%begin", part), flow.minimum(flow.times("%end", part), rows)
    with flow.loop("0", str(count)) as j:
        at = _index(flow, indices.dtype, index, flow.times(j, flat))
        here = flow.let(f"icmp sge i64 {at}, {low}")
        below = flow.let(f"icmp slt i64 {at}, {high}")
        mine = flow.let(f"and i1 {here}, {below}")
        once = flow.let(f"zext i1 {mine} to i64")
        with flow.loop("0", once):
            places = (update, flow.times(j, each)), (target, flow.times(at, inner))
            _row(flow, inner, dtype, *places, combine=name)
    symbol = moves.name()
    moves.add(flow.function(symbol))
    work = int(count * (_ROW_NS + 0.06 * inner * item_bytes(dtype)))
    moves.stage(Stage(symbol, -(-rows // part), work), [(1, 0), (2, 0), (3, 0)], [3])
    return Checked(
        moves.calls(), moves.scratch(), bounds, indices.dtype, rows, "scatter: indices"
    )  # fmt: skip


def lower_argmax(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """Position of the first largest element (or NaN) along an axis."""
    return _lower_position(attributes["axis"], inputs[0], result, "gt")


def lower_argmin(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """Position of the first least element (or NaN) along an axis."""
    return _lower_position(attributes["axis"], inputs[0], result, "lt")


def _lower_position(axis: int, x: Layout, result: Layout, better: str) -> Kernel | None:
    if x.dtype not in REGISTER or not x.size:
        return None
    moves = Moves(1)
    flow = Flow(moves.code)
    source, target = _pointer(flow, 0), _pointer(flow, 1)
    block = Block(moves.code, flow.lines, 1)
    kept = [(d, s) for i, (d, s) in enumerate(zip(x.shape, x.strides)) if i != axis]
    kind = REGISTER[x.dtype]
    flow.entry += [f"%best = alloca {kind}, align 8", "%where = alloca i64, align 8"]

    def element(offset: str) -> Operand:
        place = flow.let(f"getelementptr {MEMORY[x.dtype]}, ptr {source}, i64 {offset}")
        return formats.to_register(block, x.dtype, block.load(x.dtype, place, 1))

    with flow.loop("%begin", "%end") as unit:
        rest, offset = unit, "0"
        for extent, stride in reversed(kept):
            rest, index = flow.divide(rest, extent)
            offset = flow.plus(offset, flow.times(index, stride))
        flow.lines += [f"store {kind} {element(offset).text}, ptr %best", "store i64 0, ptr %where"]
        if x.shape[axis] > 1:
            with flow.loop("1", str(x.shape[axis])) as i:
                value = element(flow.plus(offset, flow.times(i, x.strides[axis])))
                best = Operand(flow.let(f"load {kind}, ptr %best"), kind)
                taken = _is_better(block, better, value, best)
                before = Operand(flow.let("load i64, ptr %where"), "i64")
                where = block.select(taken, Operand(i, "i64"), before)
                flow.lines += [
                    f"store {kind} {block.select(taken, value, best).text}, ptr %best",
                    f"store i64 {where.text}, ptr %where",
                ]
        where = Operand(flow.let("load i64, ptr %where"), "i64")
        held = ELEMENTWISE["cast"].emit(block, where, to=result.dtype)
        place = flow.let(f"getelementptr {MEMORY[result.dtype]}, ptr {target}, i64 {unit}")
        block.store(held, place)
    name = moves.name()
    moves.add(flow.function(name))
    moves.stage(Stage(name, result.size, 2 * x.size), [(0, 0), (1, 0)], [1])
    return moves.kernel()


def _is_better(b: Block, better: str, x: Operand, best: Operand) -> Operand:
    if not is_float(x):
        unsigned = x.unsigned or x.kind == "i1"
        return b.compare(f"icmp {'u' if unsigned else 's'}{better}", x, best)
    found = b.op("or", b.compare(f"fcmp o{better}", x, best), b.compare("fcmp uno", x, x))
    return b.op("and", found, b.compare("fcmp ord", best, best))


def _note_bounds(moves: Moves, operand: int, indices: Layout) -> int:
    """Adds the loop that writes the least and the largest index to a new buffer."""
    bounds = moves.buffer(16)
    if not indices.size:
        return bounds
    dtype = indices.dtype
    one = (0,) * len(indices.shape)
    loop = Loop(
        indices.shape or (1,), ((dtype, indices.strides or (0,)),), (), (),
        tuple(Reduced(name, 0, dtype, one or (0,)) for name in ("reduce_min", "reduce_max")),
        tuple(range(len(indices.shape) or 1)),
    )  # fmt: skip
    moves.loop(loop, [(operand, 0), (bounds, 0), (bounds, 8 // item_bytes(dtype))])
    return bounds


def _pointer(flow: Flow, i: int) -> str:
    flow.entry += [
        f"%a{i} = getelementptr ptr, ptr %pointers, i64 {i}",
        f"%p{i} = load ptr, ptr %a{i}, align 8",
    ]
    return f"%p{i}"


def _index(flow: Flow, dtype: str, pointer: str, offset: str) -> str:
    kind = MEMORY[dtype]
    place = flow.let(f"getelementptr {kind}, ptr {pointer}, i64 {offset}")
    value = flow.let(f"load {kind}, ptr {place}, align {BITS[kind] // 8}")
    if kind == "i64":
        return value
    name = "zext" if dtype.startswith("uint") else "sext"
    return flow.let(f"{name} {kind} {value} to i64")


def _row(
    flow: Flow, size: int, dtype: str, source: tuple[str, str], target: tuple[str, str],
    combine: str = "",
) -> None:  # fmt: skip
    """Copies a row of neighbours, or combines it with what is there."""
    kind = MEMORY[dtype]
    read, write = (
        flow.let(f"getelementptr {kind}, ptr {pointer}, i64 {offset}")
        for pointer, offset in (source, target)
    )

    def visit(index: str, count: int) -> None:
        block = Block(flow.code, flow.lines, 1 << (count - 1).bit_length(), count)
        here, there = (
            flow.let(f"getelementptr {kind}, ptr {start}, i64 {index}") for start in (write, read)
        )
        value = block.load(dtype, there, 1)
        if combine:
            pair = [
                formats.to_register(block, dtype, v) for v in (block.load(dtype, here, 1), value)
            ]
            found = ELEMENTWISE[combine].emit(block, *pair, to=dtype)
            value = formats.to_memory(block, dtype, found)
        block.store(value, here)

    full = size - size % LANES
    if full:
        with flow.loop("0", str(full), LANES) as index:
            visit(index, LANES)
    if size > full:
        visit(str(full), size - full)


def _one_stride(shape: Sequence[int], strides: Sequence[int]) -> int | None:
    """Returns the stride with which all elements are visited in order; None if there is none."""
    found = nest.merged([nest.Dimension(d, (s,)) for d, s in zip(shape, strides) if d != 1])
    if len(found) > 1:
        return None
    return found[0].strides[0] if found else 0


def _side_by_side(shape: Sequence[int], strides: Sequence[int]) -> bool:
    return _one_stride(shape, strides) == 1 or math.prod(shape) == 1
