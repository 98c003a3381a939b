"""Rules on arrays that are taken apart and put together: slices of sums, sums of padded parts.

The gradient of a split is a sum of its parts' gradients, each padded by zeros to the size of the
whole; it is their concatenation. Elementwise operations on what is only sliced afterwards go
over the slices, so that they are one with what reads these.
"""

from __future__ import annotations

import math

from distflow.compiler.passes.rebuild import Rebuild, is_static
from distflow.graph.ir import Node, Value

_ELEMENTWISE = ("unary", "binary", "select")


def sum_of_pads(new: Rebuild, node: Node) -> Value | None:
    """pad(x) + pad(y) + ... by zeros, which together fill the result: concat(x + 0, y + 0, ...).

    Adding 0.0 is what the sum does to each element: -0.0 becomes 0.0.
    """
    (result,) = node.outputs
    if not is_static(result):
        return None
    pads = _padded(new, node)
    if pads is None or len(pads) < 2:
        return None
    axes = {
        i
        for pad in pads
        for i, (low, high, _) in enumerate(pad.attributes["config"])
        if low or high
    }
    if len(axes) != 1:
        return None
    (axis,) = axes
    pads.sort(key=lambda pad: pad.attributes["config"][axis][0])
    end = 0
    for pad in pads:
        if pad.attributes["config"][axis][0] != end:
            return None
        end += pad.inputs[0].shape[axis]
    if end != result.shape[axis]:
        return None
    zero = pads[0].inputs[1]
    return new.add("concat", *[new.add("add", pad.inputs[0], zero) for pad in pads], axis=axis)


def _padded(new: Rebuild, node: Node) -> list[Node] | None:
    """Returns the pads that a sum consists of; None if there is anything else in it."""
    found = []
    for value in node.inputs:
        if value.shape != node.outputs[0].shape or not new.used_once(value):
            return None
        inner = new.maker(value, "add")
        if inner is not None:
            parts = _padded(new, inner)
            if parts is None:
                return None
            found += parts
            continue
        pad = new.maker(value, "pad")
        if pad is None or not is_static(pad.inputs[0]):
            return None
        zero = new.uniform(pad.inputs[1])
        if zero is None or zero.tobytes().strip(b"\0") or pad.inputs[1].shape:
            return None
        if any(low < 0 or high < 0 or within for low, high, within in pad.attributes["config"]):
            return None
        found.append(pad)
    return found


def slice_of_elementwise(new: Rebuild, node: Node) -> Value | None:
    """A slice of f(x, y), where nothing but slices read it, and more such operations these."""
    (x,) = node.inputs
    inner = new.any_maker(x)
    if inner is None or inner.primitive.family not in _ELEMENTWISE or inner.effect:
        return None
    if not is_static(x, *inner.inputs) or set(node.attributes["strides"]) != {1}:
        return None
    readers = new.readers(x)
    if readers is None or any(reader.primitive is not node.primitive for reader in readers):
        return None
    if sum(math.prod(r.outputs[0].shape) for r in readers) > math.prod(x.shape):
        return None
    for reader in readers:
        users = new.readers(reader.outputs[0])
        if not users or any(user.primitive.family not in _ELEMENTWISE for user in users):
            return None
    of = node.attributes
    return new.add(
        inner.primitive.name,
        *[_cut(new, v, x, of["starts"], of["stops"]) for v in inner.inputs],
        **inner.attributes,
    )


def _cut(
    new: Rebuild, value: Value, whole: Value, starts: tuple[int, ...], stops: tuple[int | None, ...]
) -> Value:
    """Returns the part of an operand that a part of the result needs."""
    lead = len(whole.shape) - len(value.shape)
    rows = [
        (start, stop) if value.shape[i] == whole.shape[i + lead] else (0, None)
        for i, (start, stop) in enumerate(zip(starts[lead:], stops[lead:]))
    ]
    if all(row == (0, None) for row in rows):
        return value
    return new.add(
        "slice", value, starts=tuple(a for a, _ in rows), stops=tuple(b for _, b in rows),
        strides=(1,) * len(rows),
    )  # fmt: skip
