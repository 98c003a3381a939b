"""conv as native calls: forward, input gradient and filter gradient, directly on the images.

Nothing is unfolded: a tile of outputs reads its windows from the image at constant distances
(direct convolution: Georganas et al. 2018, arXiv:1808.05567). Only zeros around an image are a
copy, made by the unit that reads it next.

An output's products are added in the order of window positions, slowest first, but that input
channels come before the last spatial axis: row by row of the window. With windows larger than the
result, as a filter's gradient has them (its channels are the images of the batch), channels come
first, in chunks: `conv_filter_gradient`. All of that is a function of the shapes alone.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from distflow.compiler.cpu import conv_filter_gradient, conv_images, isa
from distflow.compiler.cpu.epilogue import Epilogue
from distflow.compiler.cpu.phases import convolution
from distflow.compiler.cpu.recipe import Recipe
from distflow.compiler.cpu.rounding import ITEM_BYTES
from distflow.compiler.cpu.task import Kernel, Layout, contiguous


def lower(
    attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout,
    epilogue: Epilogue | None = None,
) -> Kernel | None:  # fmt: skip
    """Returns the kernel of a conv, or None for dtypes without one (integers, complex).

    Args:
      attributes: of the node.
      inputs: x and w; then the epilogue's operands, of the result's dtype and broadcast to its
        shape by strides of 0.
      result: contiguous. No input may overlap it.
      epilogue: what is done to the elements before they are written. None is returned where that
        cannot be: 16-bit results, sums in chunks (a filter's gradient), outputs that see nothing,
        operands whose last axis is neither contiguous nor repeated.
    """
    items = tuple(sorted((name, _frozen(value)) for name, value in attributes.items()))
    return _lowered(items, tuple(inputs), result, epilogue, isa.current())


@functools.lru_cache(maxsize=1024)
def _lowered(
    items: tuple[tuple[str, Any], ...], inputs: tuple[Layout, ...], result: Layout,
    epilogue: Epilogue | None, target: isa.Target,
) -> Kernel | None:  # fmt: skip
    """Returns the kernel; equal layers of a model share it."""
    attributes = dict(items)
    dtype = result.dtype
    if dtype not in ITEM_BYTES:
        return None
    recipe = Recipe(len(inputs))
    x, w, *extras = inputs
    if not result.size:
        return recipe.kernel()
    if epilogue is not None:
        assert [e.shape for e in extras] == [result.shape] * epilogue.extras, "wrong operands"
        return _with_epilogue(recipe, attributes, inputs, result, epilogue)
    if not x.size or not w.size:
        recipe.zeros(dtype, result.size)
        return recipe.kernel()
    places = [(0, 0), (1, 0)]
    to = recipe.result
    is_short = ITEM_BYTES[dtype] == 2
    if is_short:  # summed in float32, rounded once
        recipe.note = f"{dtype} by float32"
        for i, operand in enumerate(inputs):
            wide = contiguous("float32", operand.shape)
            places[i] = recipe.copy(operand, wide, places[i])
        x, w = (contiguous("float32", operand.shape) for operand in inputs)
        to = recipe.buffer("float32", result.size)
    problem = convolution(attributes, x, w, result.shape)
    if conv_filter_gradient.is_for(problem):
        conv_filter_gradient.add(recipe, problem, places[0], places[1], to)
    else:
        conv_images.add(recipe, problem, places[0], places[1], to)
    if is_short:
        recipe.copy(contiguous("float32", result.shape), result, to, recipe.result)
    return recipe.kernel()


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _with_epilogue(
    recipe: Recipe, attributes: dict[str, Any], inputs: Sequence[Layout], result: Layout,
    epilogue: Epilogue,
) -> Kernel | None:  # fmt: skip
    x, w, *extras = inputs
    if not x.size or not w.size or ITEM_BYTES[result.dtype] == 2:
        return None
    if any(e.dtype != result.dtype or not _is_side_by_side(e) for e in extras):
        return None
    problem = convolution(attributes, x, w, result.shape)
    if problem.has_empty or conv_filter_gradient.is_for(problem):
        return None
    operands = [(e, (2 + i, 0)) for i, e in enumerate(extras)]
    conv_images.add(recipe, problem, (0, 0), (1, 0), recipe.result, epilogue, operands)
    return recipe.kernel()


def _is_side_by_side(x: Layout) -> bool:
    return x.shape[-1] == 1 or x.strides[-1] in (0, 1)
