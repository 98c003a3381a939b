"""Pooling over windows of channels-last images, and the maximum's gradient, as native calls.

Units are images. Elements of a window are combined in row-major order, as the references do;
channels fill the vectors, so neither their width nor the number of threads can change a bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distflow.compiler.cpu import pad, pooling, pooling_gradient
from distflow.compiler.cpu.phases import Phase, margins, phases
from distflow.compiler.cpu.recipe import Operand, Recipe
from distflow.compiler.cpu.rounding import ITEM_BYTES
from distflow.compiler.cpu.task import Kernel, Layout, contiguous
from distflow.ops.prims import contraction
from distflow.ops.prims import window as primitive

# Windows are unrolled; larger ones stay with the reference.
_MOST_ELEMENTS = 256

Lower = Callable[[dict[str, Any], Sequence[Layout], Layout], "Kernel | None"]


@dataclass(frozen=True)
class _Windows:
    """Where windows lie: the phases of each spatial axis, and zeros seen around an image."""

    axes: tuple[tuple[Phase, ...], ...]
    margins: tuple[tuple[int, int], ...]


def lower_sum(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """Returns the kernel of a reduce_window_sum; None where there is none."""
    return _lower_reduce("sum", attributes, inputs[0], result)


def lower_max(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """Returns the kernel of a reduce_window_max; None where there is none."""
    return _lower_reduce("max", attributes, inputs[0], result)


def lower_scatter(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout
) -> Kernel | None:
    """Returns the kernel of a select_and_scatter_add; None where there is none."""
    windows = _windows(attributes, inputs[0], result.dtype)
    if windows is None:
        return None
    recipe = Recipe(2)
    if not result.size:
        return recipe.kernel()
    if not inputs[1].size:
        recipe.zeros(result.dtype, result.size)
        return recipe.kernel()
    (x, of), (g, by) = (_channels_last(recipe, layout, (i, 0)) for i, layout in enumerate(inputs))
    image = _padded(x, windows)
    axes = [axis[0] for axis in windows.axes]
    to = _target(recipe, x.dtype, result)
    pooling_gradient.add(recipe, x, g, axes, image, of, by, to)
    return _finished(recipe, x.dtype, result, to)


def _lower_reduce(
    kind: str, attributes: dict[str, Any], x: Layout, result: Layout
) -> Kernel | None:
    windows = _windows(attributes, x, result.dtype)
    if windows is None:
        return None
    recipe = Recipe(1)
    if not result.size:
        return recipe.kernel()
    x, of = _channels_last(recipe, x, (0, 0))
    image, to = _padded(x, windows), _target(recipe, x.dtype, result)
    pooling.add(recipe, kind, x, result.shape, windows.axes, image, of, to)
    return _finished(recipe, x.dtype, result, to)


def _windows(attributes: dict[str, Any], x: Layout, dtype: str) -> _Windows | None:
    """Returns where the windows lie; None if there is no kernel for them."""
    shape, window, strides = x.shape, attributes["window"], attributes["strides"]
    dilation = attributes.get("dilation") or (1,) * len(shape)
    if dtype not in ITEM_BYTES or len(shape) < 2 or math.prod(window) > _MOST_ELEMENTS:
        return None
    out = primitive.window_shape(shape, **attributes)
    spread = tuple(contraction.dilated(n, d) for n, d in zip(shape, dilation))
    pads = primitive.window_padding(spread, window, strides, attributes["padding"])
    for i in (0, -1):  # the batch and the channels
        if (window[i], strides[i], dilation[i], tuple(pads[i])) != (1, 1, 1, (0, 0)):
            return None
    rows = zip(out, window, strides, (low for low, _ in pads), dilation)
    axes = tuple(tuple(phases(*row, 1)) for row in rows)[1:-1]
    return _Windows(axes, tuple(margins(axis, n) for axis, n in zip(axes, shape[1:])))


def _channels_last(recipe: Recipe, x: Layout, place: Operand) -> tuple[Layout, Operand]:
    """Returns an input with its channels side by side, in float32 if it is shorter."""
    dtype = "float32" if ITEM_BYTES[x.dtype] == 2 else x.dtype
    if dtype == x.dtype and (x.strides[-1] == 1 or x.shape[-1] == 1):
        return x, place
    to = contiguous(dtype, x.shape)
    return to, recipe.copy(x, to, place)


def _padded(x: Layout, windows: _Windows) -> pad.Padded | None:
    if not any(map(any, windows.margins)):
        return None
    return pad.padded(x.shape[1:], x.strides[1:], [*windows.margins, (0, 0)])


def _target(recipe: Recipe, dtype: str, result: Layout) -> Operand:
    """Returns where a result is computed: in a buffer if it is to be rounded then."""
    return recipe.result if dtype == result.dtype else recipe.buffer(dtype, result.size)


def _finished(recipe: Recipe, dtype: str, result: Layout, place: Operand) -> Kernel:
    """Returns the kernel, with the copy that rounds its result to 16 bits if need be."""
    if dtype != result.dtype:
        recipe.copy(contiguous(dtype, result.shape), result, place, recipe.result)
    return recipe.kernel()
