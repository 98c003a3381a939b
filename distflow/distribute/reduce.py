"""ReduceOp: how values of replicas become one."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np

from distflow.base import errors


class ReduceOp(enum.Enum):
    """Sum, mean, minimum or maximum over replicas."""

    SUM = "SUM"
    MEAN = "MEAN"
    MIN = "MIN"
    MAX = "MAX"


# The communicator's word for the additions that each operation needs.
COLLECTIVE = {
    ReduceOp.SUM: "sum", ReduceOp.MEAN: "sum", ReduceOp.MIN: "min", ReduceOp.MAX: "max",
}  # fmt: skip


def as_reduce_op(value: Any) -> ReduceOp:
    """Returns a ReduceOp for a member or its name in any case."""
    if isinstance(value, ReduceOp):
        return value
    try:
        return ReduceOp[str(value).upper()]
    except KeyError as error:
        raise errors.invalid(
            "reduce", f"the operation must be one of {[op.value for op in ReduceOp]}", repr(value)
        ) from error


def divided(array: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Returns a sum over replicas divided once by their number, in the sum's own dtype."""
    if count <= 1:
        return array
    if array.dtype.kind in "iu":
        return array // np.asarray(count, array.dtype)
    return np.asarray(array / np.asarray(count, array.dtype), array.dtype)
