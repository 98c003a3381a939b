"""conv on the microkernel: forward, input gradient and filter gradient are one kernel.

Nothing is unfolded: a tile of outputs reads its windows from the input at constant distances
(direct convolution: Georganas et al. 2018, arXiv:1808.05567). Only zero padding is a copy. Zeros
between the elements of a spread input (`lhs_dilation`) are skipped: outputs whose windows see
the same elements form a phase, which is a dense convolution of its own.

An output's products are added in the order of window positions, slowest first, then input
channels; with large windows, as the filter's gradient has (its channels are the images of the
batch), channels come first. That is a function of the shapes alone.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from distflow.compiler.cpu import contract, jit
from distflow.compiler.cpu.matmul import computed_in, element_strided
from distflow.compiler.cpu.microkernel import Axis
from distflow.compiler.cpu.packing import Step, emit_copy
from distflow.ops.prims import contraction as primitive

# Window positions from which channels are the slowest axis of the sums: then the filter's gradient
# reads image after image.
_LARGE_WINDOW = 64


@dataclass(frozen=True)
class Phase:
    """Along one spatial axis, outputs that see the same window positions.

    Output `first + q * step` sees, at window position `tap + j * tap_step`, the input at
    `base + q * move + j * tap_move` (outside the input: padding).
    """

    first: int
    step: int
    count: int
    tap: int
    tap_step: int
    taps: int
    base: int
    move: int
    tap_move: int

    def reach(self) -> tuple[int, int]:
        """Returns the lowest and the highest input position that is seen."""
        return self.base, self.base + (self.count - 1) * self.move + (self.taps - 1) * self.tap_move


def phases(
    out: int, window: int, stride: int, low: int, lhs_dilation: int, rhs_dilation: int
) -> list[Phase]:
    """Returns the phases of one spatial axis; together they hold every output once."""
    step = lhs_dilation // math.gcd(stride, lhs_dilation)
    tap_step = lhs_dilation // math.gcd(rhs_dilation, lhs_dilation)
    result = []
    for first in range(min(step, out)):
        count = -(-(out - first) // step)
        start = first * stride - low
        hits = [k for k in range(min(tap_step, window))
                if (start + k * rhs_dilation) % lhs_dilation == 0]  # fmt: skip
        tap = hits[0] if hits else 0
        result.append(
            Phase(
                first, step, count, tap, tap_step,
                -(-(window - tap) // tap_step) if hits else 0,
                (start + tap * rhs_dilation) // lhs_dilation,
                step * stride // lhs_dilation,
                tap_step * rhs_dilation // lhs_dilation,
            )
        )  # fmt: skip
    return result


def prepare(
    attributes: dict[str, Any], shapes: Sequence[tuple[int, ...]], dtypes: Sequence[Any]
) -> Callable[[Sequence[np.ndarray]], np.ndarray] | None:
    """Returns the kernel of a conv, or None for dtypes without one (integers, complex)."""
    dtype = np.dtype(dtypes[0])
    compute = computed_in(dtype)
    if compute is None:
        return None
    x, w = shapes
    out = primitive._conv_shape(x, w, **attributes)
    if not math.prod(out) or not math.prod(x) or not math.prod(w):
        return lambda arrays: np.zeros(out, dtype)
    pads = primitive._pads(
        x, w, attributes["strides"], attributes["padding"],
        attributes["lhs_dilation"], attributes["rhs_dilation"],
    )  # fmt: skip
    axes = [
        phases(*row)
        for row in zip(
            out[1:-1], w[:-2], attributes["strides"], (low for low, _ in pads),
            attributes["lhs_dilation"], attributes["rhs_dilation"],
        )
    ]  # fmt: skip
    groups = attributes["groups"]
    depthwise = w[-2] == 1 and w[-1] == groups

    @functools.lru_cache(maxsize=64)
    def variant(x_strides: tuple[int, ...], w_strides: tuple[int, ...]) -> Any:
        return _Conv(x, w, out, axes, groups, x_strides, w_strides, compute)

    def kernel(arrays: Sequence[np.ndarray]) -> np.ndarray:
        a, b = (element_strided(np.asarray(array), compute) for array in arrays)
        if depthwise and a.strides[-1] != a.itemsize:
            a = np.ascontiguousarray(a)
        result = np.empty(out, compute)
        variant(a.strides, b.strides)(result, a, b)
        return result if compute == dtype else result.astype(dtype)

    return kernel


class _Conv:
    """A convolution of arrays with known strides."""

    def __init__(
        self, x: tuple[int, ...], w: tuple[int, ...], out: tuple[int, ...],
        axes: list[list[Phase]], groups: int, x_strides: tuple[int, ...],
        w_strides: tuple[int, ...], dtype: np.dtype,
    ):  # fmt: skip
        size = dtype.itemsize
        of_x, of_w = ([s // size for s in row] for row in (x_strides, w_strides))
        of_c = [math.prod(out[i + 1 :]) for i in range(len(out))]
        reach = [[p.reach() for p in axis if p.taps] for axis in axes]
        low = [max(0, *(-lo for lo, _ in rows)) if rows else 0 for rows in reach]
        high = [
            max(0, *(hi - n + 1 for _, hi in rows)) if rows else 0 for rows, n in zip(reach, x[1:])
        ]
        large = math.prod(w[:-2]) >= _LARGE_WINDOW
        order = sorted(range(len(x)), key=lambda i: -abs(of_x[i]))
        scattered = large and x[-1] > 1 and order[0] != len(x) - 1
        if scattered:
            order = [len(x) - 1, *range(1, len(x) - 1), 0]
        pads = any(low) or any(high) or scattered
        self._padded = _Padded(x, of_x, low, high, order, dtype) if pads else None
        if self._padded:
            of_x = self._padded.strides
        self._empty = any(not p.taps for axis in axes for p in axis)
        wide, narrow = out[-1] // groups, w[-2]
        self._calls: list[tuple[contract.Contraction, int, int, int]] = []
        for chosen in itertools.product(*axes):
            if any(not p.taps for p in chosen):
                continue
            spatial = list(zip(chosen, of_x[1:], of_w, of_c[1:]))
            rows = [Axis(x[0], of_x[0], 0, of_c[0])]
            rows += [Axis(p.count, p.move * a, 0, p.step * c) for p, a, _, c in spatial]
            inner = [Axis(p.taps, p.tap_move * a, p.tap_step * b, 0) for p, a, b, _ in spatial]
            start = [
                sum(p.first * c for p, _, _, c in spatial),
                sum((p.base + lo) * a for (p, a, _, _), lo in zip(spatial, low)),
                sum(p.tap * b for p, _, b, _ in spatial),
            ]
            if narrow == wide == 1:
                # Depthwise: channels are the columns of all three.
                column = Axis(groups, of_x[-1], of_w[-1], 1)
                offsets = [start]
            else:
                inner.insert(0 if large else len(inner), Axis(narrow, of_x[-1], of_w[-2], 0))
                column = Axis(wide, 0, of_w[-1], 1)
                steps = (wide, narrow * of_x[-1], wide * of_w[-1])
                offsets = [[s + g * d for s, d in zip(start, steps)] for g in range(groups)]
            code = contract.contraction(dtype.name, rows, inner, column)
            self._calls += [(code, size * i, size * j, size * k) for i, j, k in offsets]

    def __call__(self, c: np.ndarray, x: np.ndarray, w: np.ndarray) -> None:
        """Writes the result to c."""
        if self._empty:
            c.fill(0)
        to, of, by = c.ctypes.data, x.ctypes.data, w.ctypes.data
        if self._padded is None:
            for code, i, j, k in self._calls:
                code(to + i, of + j, by + k)
            return
        padded = self._padded.take(of)
        for code, i, j, k in self._calls:
            code(to + i, padded.ctypes.data + j, by + k)
        self._padded.give_back(padded)


class _Padded:
    """Copies of an input between zeros, its axes in memory in a given order, slowest first."""

    def __init__(
        self, x: tuple[int, ...], strides: list[int], low: list[int], high: list[int],
        order: Sequence[int], dtype: np.dtype,
    ):  # fmt: skip
        low, high = [0, *low, 0], [0, *high, 0]
        self._shape = [n + lo + hi for n, lo, hi in zip(x, low, high)]
        self.strides, distance = [0] * len(x), 1
        for i in reversed(order):
            self.strides[i] = distance
            distance *= self._shape[i]
        self._dtype, self._free = dtype, list[np.ndarray]()
        self._start = dtype.itemsize * sum(lo * s for lo, s in zip(low, self.strides))
        steps = [Step(x[i], strides[i], self.strides[i]) for i in order]
        module = ir.Module("pad")
        emit_copy(module, "pad", dtype.name, steps)
        self._copy = contract.function(jit.compile_module(module, "pad"), "pad")
        self._count, self._work = steps[0].extent, math.prod(x) // 4

    def take(self, address: int) -> np.ndarray:
        """Returns a padded copy; the caller gives it back."""
        # Only the inside is ever written: the border stays zero from call to call.
        padded = self._free.pop() if self._free else np.zeros(self._shape, self._dtype)
        contract.run(self._copy, self._count, self._work, padded.ctypes.data + self._start, address)
        return padded

    def give_back(self, padded: np.ndarray) -> None:
        """Keeps a buffer for the next call."""
        self._free.append(padded)
