"""Rules on rearrangements of elements, and on products whose operands or result are transposed.

A product of transposed operands is the same product along other axes: every output is the same
sum in the same order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from distflow.base import dtypes
from distflow.compiler.passes.rebuild import Rebuild, is_static
from distflow.graph.ir import Node, Value

# Elements of a constant that a rule may make.
_FEW = 64

# -- reshape, broadcast_to -----------------------------------------------------------------


def reshape(new: Rebuild, node: Node) -> Value | None:
    """A reshape to its own shape: nothing; of a reshape: one; with -1: the number."""
    (result,) = node.outputs
    x = node.inputs[0]
    if not is_static(result):
        return None
    if x.shape == result.shape:
        return x
    shape = tuple(result.shape)
    inner = new.maker(x, "reshape")
    source = inner.inputs[0] if inner else x
    if inner is not None and len(source.shape) == len(shape) and source.shape == result.shape:
        return source
    if source is x and node.attributes["shape"] == shape:
        return None
    return new.add("reshape", source, *node.inputs[1:], shape=shape)


def broadcast(new: Rebuild, node: Node) -> Value | None:
    """A broadcast to its own shape: nothing; of a broadcast: one; of leading ones: without them."""
    (result,) = node.outputs
    x = node.inputs[0]
    if not is_static(result, x) or len(node.inputs) > 1:
        return None
    if x.shape == result.shape:
        return x
    inner = new.maker(x, "broadcast_to")
    if inner is not None and len(inner.inputs) == 1:
        return new.add("broadcast_to", inner.inputs[0], shape=tuple(result.shape))
    inner = new.maker(x, "reshape")
    if inner is not None and len(inner.inputs) == 1 and is_static(inner.inputs[0]):
        source = tuple(inner.inputs[0].shape)
        lead = len(x.shape) - len(source)
        if lead > 0 and all(d == 1 for d in x.shape[:lead]) and tuple(x.shape[lead:]) == source:
            return new.add("broadcast_to", inner.inputs[0], shape=tuple(result.shape))
    return None


# -- transpose -----------------------------------------------------------------------------


def transpose(new: Rebuild, node: Node) -> Value | None:
    """The identity: nothing; of a transpose: one; of dimensions of 1 only: a reshape."""
    (x,) = node.inputs
    perm = node.attributes["perm"]
    if perm == tuple(range(len(perm))):
        return x
    inner = new.maker(x, "transpose")
    if inner is not None:
        first = inner.attributes["perm"]
        return new.add("transpose", inner.inputs[0], perm=tuple(first[i] for i in perm))
    if is_static(x):
        moved = [i for i in perm if x.shape[i] != 1]
        if moved == sorted(moved):
            return new.add("reshape", x, shape=tuple(node.outputs[0].shape))
    return None


def reverse(new: Rebuild, node: Node) -> Value | None:
    """Without axes of size 1; along no axis: nothing; of a reverse along the same: nothing."""
    (x,) = node.inputs
    axes = node.attributes["axes"]
    needed = tuple(i for i in axes if x.shape[i] != 1)
    if not needed:
        return x
    inner = new.maker(x, "reverse")
    if inner is not None and sorted(inner.attributes["axes"]) == sorted(axes):
        return inner.inputs[0]
    return None if needed == tuple(axes) else new.add("reverse", x, axes=needed)


# -- slice, pad, concat, reductions --------------------------------------------------------


def slice_(new: Rebuild, node: Node) -> Value | None:
    """A slice of everything: nothing."""
    (x,) = node.inputs
    rows = zip(*(node.attributes[k] for k in ("starts", "stops", "strides")), x.shape)
    everything = all(
        start == 0 and stride == 1 and (stop is None or (d is not None and stop >= d))
        for start, stop, stride, d in rows
    )
    return x if everything else None


def rows(new: Rebuild, node: Node) -> Value | None:
    """gather of known neighbours in order: a slice."""
    x, indices = node.inputs
    axis, which = node.attributes["axis"], new.array(indices)
    size = x.shape[axis]
    if which is None or which.ndim != 1 or not which.size or size is None:
        return None
    start, stop = int(which[0]), int(which[0]) + which.size
    if start < 0 or stop > size or not np.array_equal(which, np.arange(start, stop)):
        return None
    before, after = (0,) * axis, (0,) * (len(x.shape) - axis - 1)
    return new.add(
        "slice", x, starts=(*before, start, *after), strides=(1,) * len(x.shape),
        stops=tuple(stop if i == axis else None for i in range(len(x.shape))),
    )  # fmt: skip


def pad(new: Rebuild, node: Node) -> Value | None:
    """Padding by nothing: nothing."""
    x, _ = node.inputs
    nothing = all(
        (low, high) == (0, 0) and (interior == 0 or d in (0, 1))
        for (low, high, interior), d in zip(node.attributes["config"], x.shape)
    )
    return x if nothing else None


def concat(new: Rebuild, node: Node) -> Value | None:
    """Of one tensor: the tensor; empty ones among several are left out."""
    axis = node.attributes["axis"]
    filled = [v for v in node.inputs if v.shape[axis] != 0]
    if len(node.inputs) == 1 or (len(filled) == 1 and is_static(*node.inputs)):
        return (filled or node.inputs)[0]
    return None


def reduction(new: Rebuild, node: Node) -> Value | None:
    """Over no axes: nothing; along axes of size 1: a reshape. Sums of floats: only the former.

    A sum of floats starts from 0.0, which makes -0.0 of one element 0.0.
    """
    (x,) = node.inputs
    axes = node.attributes["axes"]
    if node.primitive.name == "reduce_sum" and x.dtype not in dtypes.INTEGER:
        few = is_static(x) and math.prod(x.shape) <= _FEW
        if axes or not x.dtype.is_floating or not few:
            return None
        return new.add("add", x, new.constant(np.zeros(x.shape, x.dtype.numpy)))
    if not axes:
        return x
    if is_static(x) and all(x.shape[i] == 1 for i in axes):
        return new.add("reshape", x, shape=tuple(node.outputs[0].shape))
    return None


# -- products ------------------------------------------------------------------------------


def transposed_product(new: Rebuild, node: Node) -> Value | None:
    """transpose(dot_general(a, b)) with a's and b's free axes swapped: dot_general(b, a)."""
    (x,) = node.inputs
    inner = new.maker(x, "dot_general")
    if inner is None or not new.used_once(x):
        return None
    a, b = inner.inputs
    contract, batch = inner.attributes["contract"], inner.attributes["batch"]
    lead = len(batch[0])
    middle = lead + len(a.shape) - lead - len(contract[0])
    swapped = (*range(lead), *range(middle, len(x.shape)), *range(lead, middle))
    if node.attributes["perm"] != swapped:
        return None
    return new.add("dot_general", b, a, contract=contract[::-1], batch=batch[::-1])


def product_of_transposed(new: Rebuild, node: Node) -> Value | None:
    """dot_general of a transposed operand whose free axes keep their order: of the operand.

    Axes that are summed over must stay neighbours in order, so that kernels see one axis.
    """
    operands = list(node.inputs)
    contract, batch = list(node.attributes["contract"]), list(node.attributes["batch"])
    changed = False
    for i, value in enumerate(operands):
        inner = new.maker(value, "transpose")
        if inner is None:
            continue
        perm = inner.attributes["perm"]
        free = [perm[k] for k in _free(len(perm), contract[i], batch[i])]
        summed = [perm[k] for k in contract[i]]
        together = all(b == a + 1 for a, b in itertools.pairwise(summed))
        if free == sorted(free) and together:
            operands[i] = inner.inputs[0]
            contract[i] = tuple(perm[k] for k in contract[i])
            batch[i] = tuple(perm[k] for k in batch[i])
            changed = True
    if not changed:
        return None
    return new.add("dot_general", *operands, contract=tuple(contract), batch=tuple(batch))


def _free(rank: int, *used: Sequence[int]) -> list[int]:
    taken = {i for axes in used for i in axes}
    return [i for i in range(rank) if i not in taken]
