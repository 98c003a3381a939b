"""Bits of integers under TensorFlow's names."""

from __future__ import annotations

from typing import Any

from distflow.core.tensor import Tensor
from distflow.ops.prims import elementwise as p


def bitwise_and(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x & y for ints."""
    return p.and_(x, y)


def bitwise_or(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x | y for ints."""
    return p.or_(x, y)


def bitwise_xor(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x ^ y for ints."""
    return p.xor(x, y)


def invert(x: Any, name: Any = None) -> Tensor:
    """Returns ~x for ints."""
    return p.logical_not(x)


def left_shift(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x << y for ints."""
    return p.shl(x, y)


def right_shift(x: Any, y: Any, name: Any = None) -> Tensor:
    """Returns x >> y for ints; the sign bit is copied."""
    return p.shr(x, y)
