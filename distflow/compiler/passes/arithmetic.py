"""Rules on element-by-element operations: each gives the very bits of what it replaces.

x * 1, x / 1, x - 0 and x + (-0.0) are x, but x + 0.0 is not (-0.0 + 0.0 is 0.0), and x * 0 is not
0 (NaN, infinities, signs). Only what no comparison sees may differ: sign and payload of a NaN.
Complex numbers are left alone: inf * 1 has a NaN in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import dtypes
from distflow.compiler.passes.rebuild import Rebuild, is_static
from distflow.graph.ir import Node, Value

# Casts that keep every value: the way through the second dtype can be left out.
_EMBEDDINGS = {
    (a, b)
    for a in dtypes.STORED
    for b in dtypes.STORED
    if a is not b and not a.is_complex and not b.is_complex and np.can_cast(a.numpy, b.numpy)
}


def neutral(new: Rebuild, node: Node) -> Value | None:
    """x * 1, x / 1, x + (-0.0), x - 0.0, and for integers x + 0: x."""
    x, y = node.inputs
    name = node.primitive.name
    if x.dtype.is_complex:
        return None
    wanted: Any = 1 if name in ("mul", "div") else 0
    if name == "add" and x.dtype.is_floating:
        wanted = -0.0
    if _is(new.uniform(y), wanted):
        return _spread(new, x, node, y)
    if name in ("mul", "add") and _is(new.uniform(x), wanted):
        return _spread(new, y, node, x)
    return None


def _is(number: Any, wanted: Any) -> bool:
    """Whether a 0-d array is the wanted number, the sign of a zero included."""
    if number is None or number != wanted:
        return False
    return wanted != 0 or number.dtype.kind in "iu" or (
        math.copysign(1, float(number)) == math.copysign(1, wanted)
    )  # fmt: skip


def _spread(new: Rebuild, x: Value, node: Node, *others: Value) -> Value | None:
    """x in the shape of the node's result."""
    (result,) = node.outputs
    if x.shape == result.shape and (
        is_static(x)
        or all(len(y.shape) <= len(x.shape) and all(d == 1 for d in y.shape) for y in others)
    ):
        return x
    if not is_static(result):
        return None
    return new.add("broadcast_to", x, shape=tuple(result.shape))


def same_operands(new: Rebuild, node: Node) -> Value | None:
    """max, min, and, or of x and x: x."""
    x, y = node.inputs
    return x if x is y else None


def twice(new: Rebuild, node: Node) -> Value | None:
    """neg, not or conj of itself: nothing."""
    inner = new.maker(node.inputs[0], node.primitive.name)
    return inner.inputs[0] if inner else None


def abs_of_neg(new: Rebuild, node: Node) -> Value | None:
    """abs(-x), for floats: abs(x)."""
    inner = new.maker(node.inputs[0], "neg")
    if inner is None or not node.inputs[0].dtype.is_floating:
        return None
    return new.add("abs", inner.inputs[0])


def add_of_neg(new: Rebuild, node: Node) -> Value | None:
    """x + (-y) and (-y) + x: x - y; x - (-y): x + y."""
    x, y = node.inputs
    inner = new.maker(y, "neg")
    if node.primitive.name == "sub":
        return new.add("add", x, inner.inputs[0]) if inner else None
    if inner is not None:
        return new.add("sub", x, inner.inputs[0])
    inner = new.maker(x, "neg")
    return new.add("sub", y, inner.inputs[0]) if inner else None


def by_power_of_two(new: Rebuild, node: Node) -> Value | None:
    """x / 2**k: x * 2**-k, which is the same real number, rounded once."""
    x, y = node.inputs
    if x.dtype not in (dtypes.float32, dtypes.float64):
        return None
    number = new.uniform(y)
    if number is None or not np.isfinite(number) or number == 0:
        return None
    fraction, exponent = math.frexp(float(number))
    # The reciprocal must be a normal number of the dtype.
    if abs(fraction) != 0.5 or abs(exponent - 1) > (126 if x.dtype is dtypes.float32 else 1022):
        return None
    if not is_static(y):
        return None
    return new.add("mul", x, new.constant(np.full(y.shape, 1 / number, x.dtype.numpy)))


def chosen(new: Rebuild, node: Node) -> Value | None:
    """select with a predicate that is the same everywhere, or of x and x: the operand."""
    predicate, x, y = node.inputs
    if x is y:
        return _spread(new, x, node, predicate)
    known = new.uniform(predicate)
    if known is None:
        return None
    return _spread(new, x, node, predicate, y) if known else _spread(new, y, node, predicate, x)


def negated_choice(new: Rebuild, node: Node) -> Value | None:
    """select(not c, x, y): select(c, y, x)."""
    predicate, x, y = node.inputs
    inner = new.maker(predicate, "not")
    return new.add("select", inner.inputs[0], y, x) if inner else None


def cast(new: Rebuild, node: Node) -> Value | None:
    """A cast to its own dtype: nothing; a cast of a cast that lost nothing: one cast."""
    (x,) = node.inputs
    dtype = node.attributes["dtype"]
    if x.dtype is dtype:
        return x
    inner = new.maker(x, "cast")
    if inner is None or (inner.inputs[0].dtype, x.dtype) not in _EMBEDDINGS:
        return None
    source = inner.inputs[0]
    if source.dtype is dtype:
        return source
    # What a float out of an integer's range becomes depends on the float's type.
    if source.dtype.is_floating and not dtype.is_floating:
        return None
    return new.add("cast", source, dtype=dtype)


def identity(new: Rebuild, node: Node) -> Value | None:
    """stop_gradient: its operand."""
    return node.inputs[0]


def spread_operand(new: Rebuild, node: Node) -> Value | None:
    """An operand that is only spread to the result's shape: unspread, as operations spread it.

    The same for a reshape that adds leading dimensions of 1, and for one number everywhere.
    """
    if len(node.inputs) < 2:
        return None
    inputs = list(node.inputs)
    sources = [_source(new, value) for value in inputs]
    if all(source is None for source in sources) or not is_static(*node.outputs, *inputs):
        return None
    for i, source in enumerate(sources):
        if source is None:
            continue
        shapes = [v.shape for v in (*inputs[:i], source, *inputs[i + 1 :])]
        if node.primitive.shape_rule(*shapes, **node.attributes) == node.outputs[0].shape:
            inputs[i] = source if isinstance(source, Value) else new.constant(source)
    if all(a is b for a, b in zip(inputs, node.inputs)):
        return None
    return new.add(node.primitive.name, *inputs, **node.attributes)


def _source(new: Rebuild, value: Value) -> Value | np.ndarray[Any, Any] | None:
    """What an operand is spread from: a value, or the one number in a constant."""
    node = new.any_maker(value)
    name = None if node is None else node.primitive.name
    if node is not None and name == "broadcast_to" and len(node.inputs) == 1:
        return node.inputs[0]
    if name == "reshape":
        return _without_ones(new, value)
    return new.uniform(value) if name == "constant" and value.shape else None


def _without_ones(new: Rebuild, value: Value) -> Value | None:
    """What a reshape that only adds leading dimensions of 1 was given."""
    node = new.maker(value, "reshape")
    if node is None or len(node.inputs) > 1 or not is_static(node.inputs[0]):
        return None
    short, long = tuple(node.inputs[0].shape), tuple(value.shape)
    lead = len(long) - len(short)
    return node.inputs[0] if lead > 0 and long == (1,) * lead + short else None


def unit_axes(new: Rebuild, node: Node) -> Value | None:
    """f(x with dimensions of 1 put in): f(x) with these put in.

    They wander down to where they matter, so that chains on what a reduction gives, such as the
    statistics of a normalisation, have its shape and are not cut by reshapes.
    """
    (result,) = node.outputs
    if 1 not in result.shape or not is_static(result):
        return None
    reshapes = [new.maker(v, "reshape") for v in node.inputs]
    first = next((n for n in reshapes if n and len(n.inputs) == 1), None)
    if first is None or not is_static(first.inputs[0]):
        return None
    axes = _put_in(tuple(first.inputs[0].shape), tuple(first.outputs[0].shape))
    if not axes:
        return None
    inputs = []
    for value, reshape in zip(node.inputs, reshapes):
        short = _left_out(value.shape, axes)
        if short == tuple(value.shape):
            inputs.append(value)
        elif reshape and len(reshape.inputs) == 1 and short == tuple(reshape.inputs[0].shape):
            inputs.append(reshape.inputs[0])
        else:
            return None
    shape = tuple(node.primitive.shape_rule(*[v.shape for v in inputs], **node.attributes))
    if shape != _left_out(result.shape, axes):
        return None
    inner = new.add(node.primitive.name, *inputs, **node.attributes)
    return new.add("reshape", inner, shape=tuple(result.shape))


def _put_in(short: tuple[int, ...], long: tuple[int, ...]) -> set[int]:
    """The axes of 1, counted from the end, that a reshape puts in; none if it does more."""
    axes, rest = set(), list(short)
    for i in range(1, len(long) + 1):
        if rest and rest[-1] == long[-i]:
            rest.pop()
        elif long[-i] == 1:
            axes.add(-i)
        else:
            return set()
    return set() if rest else axes


def _left_out(shape: Sequence[Any], axes: set[int]) -> tuple[Any, ...] | None:
    """A shape without some axes, counted from its end; None if one of them is not 1."""
    if any(shape[i] != 1 for i in axes if -i <= len(shape)):
        return None
    return tuple(d for i, d in enumerate(shape, -len(shape)) if i not in axes)
