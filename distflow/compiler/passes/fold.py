"""Constant folding: computes ahead what depends on constants and known shapes alone.

Only primitives whose result IEEE 754 (or integer arithmetic) fixes bit for bit are folded, so a
folded program gives the bits of the unfolded one on every executor and host; exp, pow or a sum of
floats stay where they are, since an executor has its own. What would raise is left to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.compiler.passes.rebuild import REARRANGEMENTS, Rebuild, is_static, num_bytes
from distflow.graph.ir import Graph, Node, Value

# A folded constant has at most so many bytes, or no more than the constants it is made of.
LARGEST_BYTES = 4096

# Element by element: also folded on operands that hold one number everywhere.
ELEMENTWISE = frozenset(
    "neg abs sign floor ceil round not sqrt add sub mul div max min and or xor shl shr eq ne lt "
    "le select stop_gradient cast bitcast complex real imag conj".split()
)
# Rearrangements, and comparisons between elements.
EXACT = ELEMENTWISE | frozenset(
    "floordiv mod iota random_bits reshape transpose broadcast_to slice pad concat reverse gather "
    "dynamic_slice dynamic_update_slice reduce_max reduce_min argmax argmin".split()
)
# Exact for integers only: floats round, and in an order that is the executor's own.
EXACT_FOR_INTEGERS = frozenset("reduce_sum reduce_prod cumsum cumprod pow unbroadcast".split())
# Primitives whose last operand, an int tensor, gives the shape of the result: how many they have.
_WITH_TARGET = {"reshape": 2, "broadcast_to": 2, "random_bits": 3}


def fold(graph: Graph) -> Graph:
    """Replaces what can be computed now by constants, and known target tensors by attributes."""
    new = Rebuild(graph)
    for node in graph.nodes:
        node = new.adopt(node)
        result = _folded(new, node)
        if result is None:
            new.keep(node)
        else:
            new.replace(node.outputs[0], result)
    return new.finish()


def is_exact(node: Node) -> bool:
    """Whether the reference's result is the only one that any executor may give."""
    name = node.primitive.name
    if name in EXACT:
        return not (name in ("mul", "div") and node.outputs[0].dtype.is_complex)
    return name in EXACT_FOR_INTEGERS and node.outputs[0].dtype in dtypes.INTEGER


def computed(node: Node, arrays: Sequence[Any]) -> np.ndarray[Any, Any] | None:
    """Returns what the reference gives for arrays; None if it raises, or gives another dtype."""
    try:
        with np.errstate(all="ignore"):
            found = node.primitive.reference(*arrays, **node.attributes)
    except (errors.OpError, ValueError, IndexError):
        return None  # the program says so itself, if it comes there
    # A copy: a view would keep a larger constant alive.
    array = np.array(found, order="C")
    return array if array.dtype == node.outputs[0].dtype.numpy else None


def _folded(new: Rebuild, node: Node) -> Value | None:
    name = node.primitive.name
    if len(node.outputs) != 1 or node.effect or name == "constant":
        return None
    if name == "shape_of":
        return _shape(new, node)
    if name in ("reshape", "broadcast_to", "random_bits", "iota", "unbroadcast"):
        found = _with_known_target(new, node)
        if found is not None:
            return found
    if not is_exact(node):
        return None
    return _evaluated(new, node) or _evaluated_once(new, node)


def _shape(new: Rebuild, node: Node) -> Value | None:
    (x,) = node.inputs
    if not is_static(x):
        return None
    return new.constant(np.asarray(tuple(x.shape), node.attributes["dtype"].numpy))


def _evaluated(new: Rebuild, node: Node) -> Value | None:
    """The node's value, if all operands are constants and it is not too large."""
    arrays = [new.array(v) for v in node.inputs]
    if any(a is None or a.dtype == object for a in arrays) or not is_static(*node.outputs):
        return None
    if _is_fill(node):
        return None
    limit = max(LARGEST_BYTES, sum(a.nbytes for a in arrays if a is not None))
    if num_bytes(node.outputs[0]) > limit:
        return None
    return _constant(new, node, arrays)


def _is_fill(node: Node) -> bool:
    """Whether one number is spread out: executors do that better than by reading an array."""
    return (
        node.primitive.name == "broadcast_to"
        and all(d == 1 for d in node.inputs[0].shape)
        and num_bytes(node.outputs[0]) > node.outputs[0].dtype.size
    )


def _evaluated_once(new: Rebuild, node: Node) -> Value | None:
    """One number spread out, if each operand is one number spread out."""
    (result,) = node.outputs
    if not node.inputs or not is_static(result) or 0 in result.shape:
        return None
    if node.primitive.name in REARRANGEMENTS:
        filled = node.primitive.name != "broadcast_to" and new.maker(node.inputs[0], "broadcast_to")
        array = new.uniform(node.inputs[0]) if filled else None
        number = None if array is None else new.constant(array)
    elif node.primitive.name in ELEMENTWISE:
        arrays = [new.uniform(v) for v in node.inputs]
        number = None if any(a is None for a in arrays) else _constant(new, node, arrays)
    else:
        return None
    if number is None or not result.shape:
        return number
    return new.add("broadcast_to", number, shape=tuple(result.shape))


def _constant(new: Rebuild, node: Node, arrays: Sequence[Any]) -> Value | None:
    array = computed(node, arrays)
    return None if array is None else new.constant(array)


# -- targets -------------------------------------------------------------------------------


def _with_known_target(new: Rebuild, node: Node) -> Value | None:
    """The node with its target tensor, which is a constant, as an attribute."""
    name = node.primitive.name
    if name == "unbroadcast":
        return _summed(new, node)
    if name == "iota":
        count = new.array(node.inputs[0]) if node.inputs else None
        if count is None:
            return None
        return new.add("iota", dtype=node.attributes["dtype"], length=int(count))
    if len(node.inputs) != _WITH_TARGET[name]:
        return None
    shape = _target(new, node)
    if shape is None:
        return None
    try:
        return new.add(name, *node.inputs[:-1], shape=shape)
    except errors.OpError:
        return None


def _target(new: Rebuild, node: Node) -> tuple[int, ...] | None:
    target = new.array(node.inputs[-1])
    if target is not None:
        return tuple(int(d) for d in target)
    # The result's shape may be known where the tensor that says it is not a constant.
    shape = node.outputs[0].shape
    return None if not is_static(node.outputs[0]) else tuple(int(d or 0) for d in shape)


def _summed(new: Rebuild, node: Node) -> Value | None:
    """unbroadcast between known shapes: a sum over known axes, as its reference does it."""
    x = node.inputs[0]
    shape = _target(new, node)
    if shape is None or not is_static(x) or len(shape) > len(x.shape):
        return None
    extra = len(x.shape) - len(shape)
    if any(d not in (1, x.shape[i + extra]) for i, d in enumerate(shape)):
        return None
    if shape == tuple(x.shape):
        return x
    axes = tuple(range(extra)) + tuple(
        i + extra for i, d in enumerate(shape) if d == 1 and x.shape[i + extra] != 1
    )
    total = new.add("reduce_sum", x, axes=axes)
    return total if tuple(total.shape) == shape else new.add("reshape", total, shape=shape)
