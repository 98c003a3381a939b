"""Collective primitives: all_reduce, all_gather and replica_id, with their gradients.

The gradient of all_reduce(sum) is all_reduce(sum) of the gradients, that of the mean their mean:
the loss of a job is the sum of its replicas' losses, so each replica's input feeds all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core import context
from distflow.core.primitive import Primitive
from distflow.distribute.reduce import ReduceOp, as_reduce_op
from distflow.ops import array, dims, indexing, math, reduce


def _each(*inputs: Any, **attributes: Any) -> Any:
    return tuple(inputs)


def _all_reduce_dtype(*inputs: Any, op: Any) -> Any:
    for dtype in inputs:
        if dtype not in dtypes.STORED:
            raise errors.DtypeMismatchError(f"all_reduce: expected numbers; received {dtype.name}.")
    return tuple(inputs)


def _all_reduce(*arrays: Any, op: Any) -> Any:
    replica = context.state.replica
    if replica is None:
        return tuple(arrays)
    op = as_reduce_op(op)
    return tuple(replica.reduce_arrays(list(arrays), op, f"all_reduce({op.value})"))


def _all_reduce_grad(g: Any, out: Any, *inputs: Any, op: Any) -> Any:
    if as_reduce_op(op) not in (ReduceOp.SUM, ReduceOp.MEAN):
        raise errors.UnimplementedError(f"all_reduce: {as_reduce_op(op).value} has no gradient.")
    return all_reduce(*g, op=op)


all_reduce = Primitive(
    "all_reduce",
    _all_reduce_dtype,
    lambda *inputs, op: [tuple(shape) for shape in inputs],
    _all_reduce,
    _all_reduce_grad,
    family="collective",
    effect="order",
)


def _reduce_bucket(*arrays: Any, op: Any, number: int, count: int, early: bool) -> Any:
    replica = context.state.replica
    if replica is None:
        return tuple(arrays)
    flat = np.concatenate([array.reshape(-1) for array in arrays])
    replica.start_bucket(flat, op, number, count).wait()
    ends = np.cumsum([array.size for array in arrays])[:-1]
    parts = np.split(flat, ends)
    return tuple(part.reshape(array.shape) for part, array in zip(parts, arrays))


# Some of the arrays of an all_reduce, which travel as one (`compiler.passes.collectives`); `early`:
# it may leave while work goes on that does not wait for it.
reduce_bucket = Primitive(
    "reduce_bucket",
    lambda *inputs, **attributes: tuple(inputs),
    lambda *inputs, **attributes: [tuple(shape) for shape in inputs],
    _reduce_bucket,
    None,
    family="collective",
    effect="order",
)


def _gather(x: Any, *, axis: int) -> Any:
    replica = context.state.replica
    return (x if replica is None else replica.gather_array(x, axis),)


def _gather_grad(g: Any, out: Any, x: Any, *, axis: int) -> Any:
    """All replicas' gradients are summed, and each takes the rows of what it had given."""
    (total,) = all_reduce(g[0], op=ReduceOp.SUM.value)
    rows = math.cast(dims.size(x, axis), dtypes.int32)
    counts = all_gather(array.reshape(rows, (1,)), axis=0)[0]
    below = math.cast(math.range(dims.size(counts, 0)) < replica_id(), dtypes.int32)
    start = reduce.reduce_sum(counts * below)
    return (indexing.gather(total, math.range(start, start + rows), axis=axis),)


all_gather = Primitive(
    "all_gather",
    lambda x, *, axis: (x,),
    lambda x, *, axis: [tuple(None if i == axis else d for i, d in enumerate(x))],
    _gather,
    _gather_grad,
    family="collective",
    effect="order",
)


def _replica_id() -> Any:
    replica = context.state.replica
    return np.asarray(0 if replica is None else replica.replica_id, np.int32)


# The number of the replica that runs the graph: traced once, different on each.
replica_id = Primitive(
    "replica_id",
    lambda: dtypes.int32,
    lambda: (),
    _replica_id,
    None,
    family="state",
    effect="read",
)


def _cross_reduce(*arrays: Any, strategy: Any, op: ReduceOp, axis: Any) -> Any:
    return strategy.reduce_arrays(list(arrays), op, axis)


# strategy.reduce inside a traced function: one input for each replica of this worker.
cross_reduce = Primitive(
    "cross_reduce",
    lambda *inputs, **attributes: inputs[0],
    lambda *inputs, strategy, op, axis: tuple(
        d for i, d in enumerate(inputs[0]) if axis is None or i != axis % len(inputs[0])
    ),
    _cross_reduce,
    None,
    family="collective",
    effect="order",
)
