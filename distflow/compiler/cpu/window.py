"""Pooling over windows of channels-last arrays, and the maximum's gradient, vector by vector.

Elements of a window are combined in row-major order, as the references do; channels fill the
vectors, so neither their width nor the number of threads can change a bit.
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

from distflow.compiler.cpu import contract, isa, jit
from distflow.compiler.cpu.vectors import I64, Vectors, loop, ranged
from distflow.ops.prims import contraction
from distflow.ops.prims import window as primitive

# Windows are unrolled; larger ones stay with the reference.
_MOST_ELEMENTS = 256

Kernel = Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Geometry:
    """Windows over a contiguous array; the last axis has no windows.

    Attributes:
      x: shape of the array, padding and spread included.
      out: number of windows along each axis.
      window, strides: along each axis.
    """

    x: tuple[int, ...]
    out: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]

    def offsets(self) -> list[int]:
        """Returns where a window's elements lie after its first, in row-major order."""
        steps = contiguous_strides(self.x)
        return [
            sum(i * step for i, step in zip(at, steps))
            for at in itertools.product(*map(range, self.window))
        ]


def contiguous_strides(shape: Sequence[int]) -> list[int]:
    """Returns the distance of neighbours along each axis, in elements."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def prepare_sum(attributes: Any, shapes: Any, dtypes: Any) -> Kernel | None:
    """Returns the kernel of a reduce_window_sum; None where there is none."""
    return _prepare_reduce("sum", attributes, shapes[0], np.dtype(dtypes[0]))


def prepare_max(attributes: Any, shapes: Any, dtypes: Any) -> Kernel | None:
    """Returns the kernel of a reduce_window_max; None where there is none."""
    return _prepare_reduce("max", attributes, shapes[0], np.dtype(dtypes[0]))


def prepare_scatter(attributes: Any, shapes: Any, dtypes: Any) -> Kernel | None:
    """Returns the kernel of a select_and_scatter_add; None where there is none."""
    dtype, shape = np.dtype(dtypes[0]), shapes[0]
    geometry, inside = _geometry(attributes, shape, dtype)
    if geometry is None or geometry.window[0] != 1:
        return None
    if not math.prod(shapes[1]):
        return lambda arrays: np.zeros(shape, dtype)
    pad = _padding(geometry.x, inside, -np.inf, dtype)

    def kernel(arrays: Sequence[np.ndarray]) -> np.ndarray:
        x, g = pad(arrays[0]), _aligned(arrays[1])
        code = _scatter_code(geometry, dtype.name, isa.current())
        result = np.zeros(geometry.x, dtype)
        contract.run(
            code, geometry.out[0], x.size,
            result.ctypes.data, x.ctypes.data, g.ctypes.data,
        )  # fmt: skip
        return result if result.shape == shape else np.ascontiguousarray(result[inside])

    return kernel


def _prepare_reduce(
    kind: str, attributes: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype
) -> Kernel | None:
    geometry, inside = _geometry(attributes, shape, dtype)
    if geometry is None:
        return None
    if not math.prod(geometry.out):
        return lambda arrays: np.empty(geometry.out, dtype)
    pad = _padding(geometry.x, inside, 0.0 if kind == "sum" else -np.inf, dtype)

    def kernel(arrays: Sequence[np.ndarray]) -> np.ndarray:
        x = pad(arrays[0])
        code = _reduce_code(geometry, kind, dtype.name, isa.current())
        result = np.empty(geometry.out, dtype)
        contract.run(code, geometry.out[0], x.size, result.ctypes.data, x.ctypes.data)
        return result

    return kernel


def _geometry(
    attributes: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype
) -> tuple[Geometry | None, tuple[slice, ...]]:
    """Returns the windows, and where the operand lies in the padded array."""
    window, strides = attributes["window"], attributes["strides"]
    dilation = attributes.get("dilation") or (1,) * len(shape)
    out = primitive.window_shape(shape, **attributes)
    spread = tuple(contraction.dilated(n, d) for n, d in zip(shape, dilation))
    pads = primitive.window_padding(spread, window, strides, attributes["padding"])
    plain_channels = len(shape) > 1 and (
        (window[-1], strides[-1], dilation[-1], tuple(pads[-1])) == (1, 1, 1, (0, 0))
    )
    cropped = any(low < 0 or high < 0 for low, high in pads)
    if (
        dtype not in (np.float32, np.float64) or not plain_channels or cropped
        or math.prod(window) > _MOST_ELEMENTS
    ):  # fmt: skip
        return None, ()
    padded = tuple(low + n + high for n, (low, high) in zip(spread, pads))
    inside = tuple(slice(low, low + n, d) for n, d, (low, _) in zip(spread, dilation, pads))
    return Geometry(padded, out, tuple(window), tuple(strides)), inside


def _padding(
    shape: tuple[int, ...], inside: tuple[slice, ...], fill: float, dtype: np.dtype
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function that puts an operand between fill values, if there are any."""

    def pad(x: np.ndarray) -> np.ndarray:
        if x.shape == shape:
            return _aligned(x)
        padded = np.full(shape, fill, dtype)
        padded[inside] = x
        return padded

    return pad


def _aligned(x: np.ndarray) -> np.ndarray:
    return np.require(x, requirements=["C", "A"])


# -- code ----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _reduce_code(geometry: Geometry, kind: str, dtype: str, target: isa.Target) -> Any:
    """Returns a ranged function (result, x) over positions of the first axis."""
    module, vectors = ir.Module(kind), Vectors(dtype, target)
    combine = _larger if kind == "max" else lambda builder, a, b: builder.fadd(a, b)

    def one(builder: Any, pointers: list[Any], n: int) -> None:
        out, x = pointers
        result = None
        for offset in geometry.offsets():
            value = vectors.load(builder, vectors.at(builder, x, offset), n)
            result = value if result is None else combine(builder, result, value)
        vectors.store(builder, result, out, n)

    of_x, of_out = _steps(geometry)
    _windows(module, vectors, geometry, [of_out, of_x], one, backward=False)
    return contract.function(jit.compile_module(module, f"window {kind}"), "windows")


@functools.lru_cache(maxsize=1024)
def _scatter_code(geometry: Geometry, dtype: str, target: isa.Target) -> Any:
    """Returns a ranged function (result, x, g); result holds zeros before.

    Windows are walked backward: what several of them add to one element then comes in the order
    of its position in the window, as in the reference.
    """
    module, vectors = ir.Module("scatter"), Vectors(dtype, target)
    zero = ir.Constant(vectors.vector, None)
    bits = ir.VectorType(ir.IntType(1), vectors.lanes)

    def one(builder: Any, pointers: list[Any], n: int) -> None:
        result, x, g = pointers
        offsets = geometry.offsets()
        values = [vectors.load(builder, vectors.at(builder, x, o), n) for o in offsets]
        best = functools.reduce(lambda a, b: _larger(builder, a, b), values)
        gradient = vectors.load(builder, g, n)
        is_open: Any = ir.Constant(bits, [1] * vectors.lanes)
        for offset, value in zip(offsets, values):
            hit = builder.and_(builder.fcmp_ordered("==", value, best), is_open)
            is_open = builder.and_(is_open, builder.not_(hit))
            place = vectors.at(builder, result, offset)
            old = vectors.load(builder, place, n)
            added = builder.fadd(old, builder.select(hit, gradient, zero))
            vectors.store(builder, added, place, n)

    of_x, of_out = _steps(geometry)
    _windows(module, vectors, geometry, [of_x, of_x, of_out], one, backward=True)
    return contract.function(jit.compile_module(module, "scatter"), "windows")


def _larger(builder: Any, a: Any, b: Any) -> Any:
    """Returns the maximum, NaN if one is NaN, the first of equals: as `np.maximum`."""
    first = builder.or_(builder.fcmp_ordered(">=", a, b), builder.fcmp_unordered("uno", a, a))
    return builder.select(first, a, b)


def _steps(geometry: Geometry) -> tuple[list[int], list[int]]:
    """Returns how far neighbouring windows lie apart in x, and in an array of one each."""
    strides = contiguous_strides(geometry.x)
    return [n * s for n, s in zip(strides, geometry.strides)], contiguous_strides(geometry.out)


def _windows(
    module: Any, vectors: Vectors, geometry: Geometry, steps: list[list[int]],
    one: Callable[[Any, list[Any], int], None], backward: bool,
) -> None:  # fmt: skip
    """Adds the ranged function "windows" that runs one(builder, pointers, lanes) everywhere."""
    builder, pointers, begin, end = ranged(module, "windows", len(steps))
    channels = geometry.out[-1]

    def moved(builder: Any, pointers: list[Any], index: Any, axis: int) -> list[Any]:
        return [
            vectors.at(builder, p, builder.mul(index, I64(s[axis])))
            for p, s in zip(pointers, steps)
        ]

    def walk(builder: Any, pointers: list[Any], axis: int) -> None:
        if axis == len(geometry.out) - 1:
            whole, rest = divmod(channels, vectors.lanes)

            def vector(builder: Any, i: Any, _: list[Any]) -> list[Any]:
                here = builder.mul(i, I64(vectors.lanes))
                one(builder, moved(builder, pointers, here, -1), vectors.lanes)
                return []

            loop(builder, I64(0), I64(whole), [], vector)
            if rest:
                here = I64(whole * vectors.lanes)
                one(builder, moved(builder, pointers, here, -1), rest)
            return
        extent = geometry.out[axis]

        def position(builder: Any, i: Any, _: list[Any]) -> list[Any]:
            if backward:
                i = builder.sub(I64(extent - 1), i)
            walk(builder, moved(builder, pointers, i, axis), axis + 1)
            return []

        loop(builder, I64(0), I64(extent), [], position)

    def first(builder: Any, i: Any, _: list[Any]) -> list[Any]:
        walk(builder, moved(builder, pointers, i, 0), 1)
        return []

    loop(builder, begin, end, [], first)
    builder.ret_void()
