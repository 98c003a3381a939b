"""Whether two units can be one loop, and how: which values then pass from step to step.

A value that is made in a loop stays in registers if who reads it sees each element where it was
made: itself, or a view (a reshape by dimensions of 1, a broadcast) with the same strides over the
loop. Results of reductions over the last axes are seen by further passes over the same row, and so
is what is computed of them alone (a mean, a deviation): such narrow steps join the loop too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace

from distflow.compiler.cpu.forms import Form, Unit
from distflow.compiler.cpu.nest import broadcast, contiguous, spread
from distflow.compiler.cpu.shapes import Shape, ShapeTable
from distflow.compiler.cpu.views import Views
from distflow.graph.ir import Node, Value

# Rows that passes go over again must lie in the nearest cache, and be enough for all threads
# unless there is little to do.
_LONGEST_ROW, _FEWEST_ROWS, _LITTLE = 4096, 16, 1 << 14

Strides = tuple[int, ...]


def joined(
    a: Unit, b: Unit, numbers: Mapping[Node, int], shapes: ShapeTable, views: Views | None
) -> Unit | None:
    """Returns one unit in place of two; None if there is none.

    Args:
      numbers: of nodes, in the order of the program.
    """
    if not (a.is_loop and b.is_loop):
        return None
    axes = {u.axes() for u in (a, b)} - {None}
    if len(axes) > 1:
        return None
    both = a.shape, b.shape
    shape = max(both, key=lambda s: (math.prod(s), len(s)))
    reduced = next(iter(axes), None) or ()
    rows = _has_rows(shape, reduced)
    for own in both:
        if own != shape and not (rows and _is_narrow(own, shape, reduced)):
            return None
    pairs = sorted(zip((*a.nodes, *b.nodes), (*a.forms, *b.forms)), key=lambda p: numbers[p[0]])
    made: dict[Value, tuple[Strides, Form]] = {}
    forms: list[Form] = []
    # What a comes before b holds as it did, if the loop stays what it was.
    same = a.shape == shape and a.axes() == (reduced or None)
    if same and numbers[a.nodes[-1]] < numbers[b.nodes[0]]:
        forms += a.forms
        for node, form in zip(a.nodes, a.forms):
            made[node.outputs[0]] = _lies(form.shape, form.axes, shape, reduced), form
    for node, form in pairs[len(forms) :]:
        if form.axes is not None and form.shape != shape:
            return None
        operands = []
        for value in form.operands:
            root = value if views is None else views.root(value)
            if root not in made:
                operands.append(value)
                continue
            lies, maker = made[root]
            if form.primitive == "random_bits" or (maker.axes is not None and not rows):
                return None
            if value not in form.inside and (
                _seen(value, root, form, shape, reduced, shapes, views) != lies
            ):
                return None
            operands.append(root)
        inside = frozenset([v for v in operands if v in made])
        # Most forms of the two units stay as they are.
        if inside != form.inside or tuple(operands) != form.operands:
            form = replace(form, operands=tuple(operands), inside=inside)
        forms.append(form)
        made[node.outputs[0]] = _lies(form.shape, form.axes, shape, reduced), form
    return Unit([node for node, _ in pairs], forms)


@functools.lru_cache(maxsize=4096)
def over_loop(strides: Strides, own: Shape, shape: Shape, axes: tuple[int, ...]) -> Strides:
    """Returns strides over a form's own shape as strides over its loop's: 0 where it repeats."""
    if len(own) != len(shape):  # narrow, without the axes
        strides, own = spread(strides, axes, len(shape)), spread(own, axes, len(shape))
    return tuple(0 if d <= 1 else s for d, s in zip(own, strides))


def _has_rows(shape: Shape, axes: tuple[int, ...]) -> bool:
    kept = len(shape) - len(axes)
    length, count = math.prod(shape[kept:]), math.prod(shape[:kept])
    if axes != tuple(range(kept, len(shape))) or not 1 < length <= _LONGEST_ROW:
        return False
    return count >= _FEWEST_ROWS or count * length <= _LITTLE


def _is_narrow(own: Shape, shape: Shape, axes: tuple[int, ...]) -> bool:
    kept = len(shape) - len(axes)
    return own in (shape[:kept], shape[:kept] + (1,) * len(axes))


@functools.lru_cache(maxsize=4096)
def _lies(
    own: Shape, own_axes: tuple[int, ...] | None, shape: Shape, axes: tuple[int, ...]
) -> Strides:
    """Returns how the result of a form lies in memory, over the loop."""
    if own_axes is None:
        return over_loop(contiguous(own), own, shape, axes)
    kept = tuple(d for i, d in enumerate(shape) if i not in axes)
    return over_loop(contiguous(kept), kept, shape, axes)


def _seen(
    value: Value, root: Value, form: Form, shape: Shape, axes: tuple[int, ...],
    shapes: ShapeTable, views: Views | None,
) -> Strides | None:  # fmt: skip
    """Returns how a form sees the elements of a root, over the loop; None: not from the first."""
    own = shapes.of(value) or ()
    strides = None
    if views is not None and value is not root:
        view = views.of(value)
        if view.offset:
            return None
        strides = view.layout.strides
    return _spread_over(own, strides, form.shape, shape, axes)


@functools.lru_cache(maxsize=4096)
def _spread_over(
    own: Shape, strides: Strides | None, form: Shape, shape: Shape, axes: tuple[int, ...]
) -> Strides:
    strides = contiguous(own) if strides is None else strides
    return over_loop(broadcast(own, strides, form), form, shape, axes)
