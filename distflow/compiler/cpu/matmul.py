"""dot_general on the microkernel: any transposition by strides, batch axes, float16 by float32.

The order of additions follows the contracted axes as the attributes list them, whatever the
layout, the number of rows or the target.

float16 is widened, multiplied and added as float32, and rounded once. Products of bfloat16 have an
order of their own, and kernels in `pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from distflow.compiler.cpu import contract, pairs
from distflow.compiler.cpu.contract import Operand
from distflow.compiler.cpu.epilogue import NOTHING, Epilogue
from distflow.compiler.cpu.microkernel import Axis, collapse
from distflow.compiler.cpu.recipe import Recipe, in_order
from distflow.compiler.cpu.rounding import ITEM_BYTES
from distflow.compiler.cpu.task import Kernel, Layout, contiguous


def lower(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout,
    epilogue: Epilogue | None = None,
) -> Kernel | None:  # fmt: skip
    """Returns the kernel of a dot_general, or None for dtypes without one (integers, complex).

    Args:
      attributes: of the node.
      inputs: a and b; then the epilogue's operands, of the result's dtype and broadcast to its
        shape by strides of 0.
      result: contiguous. No input may overlap it.
      epilogue: what is done to the elements of the product before they are written. None is
        returned where that cannot be (16-bit results; a last axis that is not contiguous).
    """
    dtype, narrow = result.dtype, ITEM_BYTES.get(result.dtype) == 2
    a, b, *extras = inputs
    if dtype not in ITEM_BYTES or (narrow and epilogue is not None):
        return None
    if not result.size:
        return Kernel(())
    contracted, batch = attributes["contract"], attributes["batch"]
    free_a, free_b = (
        [i for i in range(len(x.shape)) if i not in (*contracted[s], *batch[s])]
        for s, x in enumerate((a, b))
    )
    empty = not all(a.shape[i] for i in contracted[0])
    if epilogue is not None:
        assert [x.shape for x in extras] == [result.shape] * epilogue.extras, "wrong operands"
        if empty or any(x.dtype != dtype for x in extras):
            return None
    if dtype == "bfloat16" and not empty:
        return pairs.lower(attributes, inputs, result)
    work = _Work(len(inputs))
    if empty:
        work.zeros(dtype, result.size)
        return work.kernel()
    places = work.places()
    if narrow:
        work.note = f"{dtype} by float32"
        (places[0], a), (places[1], b) = (work.widened(i, x) for i, x in enumerate((a, b)))
        places[2] = work.buffer("float32", result.size)
    n, m = len(batch[0]), len(batch[0]) + len(free_a)
    # Strides along the result's axes: its own, then those of the epilogue's operands.
    of_c = list(zip(result.strides, zip(*(x.strides for x in extras)) if extras else
                    [()] * len(result.shape)))  # fmt: skip
    if (
        len(
            collapse(tuple(Axis(b.shape[j], 0, b.strides[j], *c) for j, c in zip(free_b, of_c[m:])))
        )
        > 1
    ):
        # B's free axes do not lie as one: a copy in the order of the result.
        order = (*batch[1], *contracted[1], *free_b)
        to = in_order(b, order)
        places[1], b = work.copy(b, to, places[1]), to
    lead = [Axis(a.shape[i], a.strides[i], b.strides[j], *c) for i, j, c in zip(*batch, of_c)]
    rows = [Axis(a.shape[i], a.strides[i], 0, *c) for i, c in zip(free_a, of_c[n:])]
    inner = [Axis(a.shape[i], a.strides[i], b.strides[j], 0) for i, j in zip(*contracted)]
    columns = collapse(
        tuple(Axis(b.shape[j], 0, b.strides[j], *c) for j, c in zip(free_b, of_c[m:]))
    )
    column = columns[0] if columns else Axis(1, 0, 1, 1, (0,) * len(extras))
    if len(columns) > 1 or not set(column.extra) <= {0, 1}:
        assert epilogue is not None, "B was copied so that its columns are one axis"
        return None
    if column.extent == 1:
        lead, rows, inner, column, places = _flipped(lead, rows, inner, column, places)
    epilogue = epilogue or NOTHING
    if lead or not _swapped(work, rows, inner, column, a.dtype, places, epilogue):
        code = contract.contraction(a.dtype, [*lead, *rows], inner, column, epilogue)
        work.contract(code, places)
    if narrow:
        flat = (result.size,)
        work.copy(contiguous("float32", flat), contiguous(dtype, flat), places[2], work.result)
    return work.kernel()


class _Work(Recipe):
    """The calls and buffers of a dot_general, as they come."""

    def places(self) -> list[Operand]:
        """Returns where a, b, c and the epilogue's operands are."""
        return [(0, 0), (1, 0), self.result, *((i, 0) for i in range(2, self.result[0]))]

    def widened(self, operand: int, x: Layout) -> tuple[Operand, Layout]:
        """Copies an operand to float32, its axes in memory as they were."""
        # What is repeated is read once.
        shape = tuple(n if stride else 1 for n, stride in zip(x.shape, x.strides))
        source = Layout(x.dtype, shape, x.strides)
        order = sorted(range(len(shape)), key=lambda i: -x.strides[i])
        to = in_order(Layout("float32", shape, x.strides), order)
        place = self.copy(source, to, (operand, 0))
        strides = tuple(n and stride for n, stride in zip(x.strides, to.strides))
        return place, Layout("float32", x.shape, strides)

    def contract(self, code: contract.Contraction, places: Sequence[Operand]) -> None:
        """Adds a contraction; a, b, c and the epilogue's operands are at `places`."""
        a, b, c, *extras = places
        first = self.result[0] + 1 + len(self._scratch)
        calls, scratch = code.calls(c, a, b, first, extras)
        self._calls += calls
        self._scratch += scratch


def _flipped(
    lead: list[Axis], rows: list[Axis], inner: list[Axis], column: Axis, places: list[Operand]
) -> Any:
    """Returns the arguments with a and b exchanged where the rows can be columns.

    A product with one column has nothing to fill a vector with but its rows.
    """
    joined = collapse(tuple(rows))
    if len(joined) != 1 or joined[0].c != 1 or not set(joined[0].extra) <= {0, 1}:
        return lead, rows, inner, column, places
    lead, inner = ([replace(axis, a=axis.b, b=axis.a) for axis in axes] for axes in (lead, inner))
    a, b, *others = places
    return lead, [], inner, replace(joined[0], a=0, b=joined[0].a), [b, a, *others]


def _swapped(
    work: _Work, rows: list[Axis], inner: list[Axis], column: Axis, dtype: str,
    places: Sequence[Operand], epilogue: Epilogue,
) -> bool:  # fmt: skip
    """Adds C by way of its transpose B'A', where that copies fewer elements; else adds nothing.

    Where B must be transposed into panels (its columns are not contiguous) and A has few rows,
    making panels of A' and transposing C is less work. Products commute: the bits are the same.
    """
    joined = collapse(tuple(rows))
    if column.b == 1 or column.extent == 1 or len(joined) != 1:
        return False
    if joined[0].extent <= contract.ROWS_TO_TURN and inner and inner[-1].b == 1:
        return False
    row, products = joined[0], math.prod(axis.extent for axis in inner)
    m, n = row.extent, column.extent
    if products * n <= (products * m if row.a != 1 else 0) + m * n:
        return False
    if not set(row.extra) <= {0, 1}:
        return False
    turned = [Axis(axis.extent, axis.b, axis.a, 0) for axis in inner]
    new_rows, new_columns = Axis(n, column.b, 0, m, column.extra), Axis(m, 0, row.a, 1, row.extra)
    code = contract.contraction(dtype, [new_rows], turned, new_columns, epilogue)
    other = work.buffer(dtype, m * n)
    work.contract(code, [places[1], places[0], other, *places[3:]])
    work.copy(Layout(dtype, (m, n), (1, m)), contiguous(dtype, (m, n)), other, places[2])
    return True
