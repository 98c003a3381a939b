"""Denormal numbers of an optimizer's slots become zeros, as on TensorFlow's CPU kernels.

The moment of a weight that gets no gradient shrinks with each step, to 1e-38 after some 800 steps
with 0.9, and there it stays: the smallest denormal times 0.9 rounds to itself. Each product with
such a number costs a processor a hundred cycles or more, so an embedding whose rows are rarely used
trained at a quarter of its speed. Weights see no difference: what such a moment adds to them is
far below their last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.core.convert import convert_to_tensor
from distflow.ops import math
from distflow.ops.prims.elementwise import select

# Of these a normal number is smaller than any that matters; half precision has no such room.
_DTYPES = ("float32", "float64")


def to_zeros(value: Any) -> Any:
    """Returns a tensor with zeros for denormal numbers; NaNs stay."""
    value = convert_to_tensor(value)
    if value.dtype.name not in _DTYPES:
        return value
    smallest = float(np.finfo(value.dtype.numpy).tiny)
    # A scalar: the compiler would fold zeros of the slot's shape to an array in memory.
    zero = convert_to_tensor(0, value.dtype)
    return select(math.less(math.abs(value), smallest), zero, value)
