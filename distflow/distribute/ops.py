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
from distflow.distribute.reduce import ReduceOp


def _each(*inputs: Any, **attributes: Any) -> Any:
    return tuple(inputs)


def _all_reduce_dtype(*inputs: Any, op: ReduceOp) -> Any:
    for dtype in inputs:
        if dtype not in dtypes.STORED:
            raise errors.DtypeMismatchError(f"all_reduce: expected numbers; received {dtype.name}.")
    return tuple(inputs)


def _all_reduce(*arrays: Any, op: ReduceOp) -> Any:
    replica = context.state.replica
    if replica is None:
        return tuple(arrays)
    return tuple(replica.reduce_arrays(list(arrays), op, f"all_reduce({op.value})"))


def _all_reduce_grad(g: Any, out: Any, *inputs: Any, op: ReduceOp) -> Any:
    if op not in (ReduceOp.SUM, ReduceOp.MEAN):
        raise errors.UnimplementedError(f"all_reduce: {op.value} has no gradient.")
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


def _gather(x: Any, *, axis: int) -> Any:
    replica = context.state.replica
    return (x if replica is None else replica.gather_array(x, axis),)


def _gather_grad(g: Any, out: Any, x: Any, *, axis: int) -> Any:
    raise errors.UnimplementedError("all_gather has no gradient yet; use all_reduce.")


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
