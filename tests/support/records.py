"""Sample, Extreme and BadInput: what the op sample table is made of, and its tolerances.

A sample is one way to call one primitive. Expectations are formulas on Python numbers or naive
loops: never our own references.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from distflow.base import dtypes

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("int8", "int32", "int64", "uint8")
COMPLEX = ("complex64", "complex128")
REAL = FLOATS + INTS
NUMERIC = REAL + COMPLEX
INEXACT = FLOATS + COMPLEX
BITS = ("bool", *INTS)

# Relative error of one operation; sums of a few dozen terms stay within it as well.
TOLERANCE = {
    "float16": 4e-3, "bfloat16": 3e-2, "float32": 2e-5, "float64": 1e-11,
    "complex64": 4e-5, "complex128": 1e-11,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One call of a primitive.

    Args:
      op: the primitive's name.
      inputs: one function of a generator for each input, giving an array of float64 (cast to the
        dtype under test) or of another dtype (taken as it is).
      expected: (*arrays, **attributes) -> array or tuple of arrays, from arrays in 64 bits.
      attributes: keyword arguments of the primitive.
      dtypes: dtypes in which the float64 inputs are tried.
      differentiable: positions of the inputs that have a gradient; None: all float64 ones.
      known: for each input, the axes that must be known in a trace (None: all of them).
      label: tells apart samples of one op.
      step: of the central differences.
      orders: how many orders of derivative are exact (TF's conventions at zeros are not, in
        second order).
      traced_orders: how many orders can do without the dimensions that `known` leaves out.
    """

    op: str
    inputs: tuple[Callable[[np.random.Generator], Any], ...]
    expected: Callable[..., Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    dtypes: tuple[str, ...] = FLOATS
    differentiable: tuple[int, ...] | None = None
    known: tuple[tuple[int, ...] | None, ...] = ()
    label: str = ""
    step: float = 1e-5
    orders: int = 2
    traced_orders: int = 2

    @property
    def name(self) -> str:
        return f"{self.op}-{self.label}" if self.label else self.op

    def arrays(self, dtype: str, seed: int = 0) -> list[Any]:
        """Returns the inputs in a dtype."""
        drawn = [draw(np.random.default_rng(seed + i)) for i, draw in enumerate(self.inputs)]
        return [as_dtype(a, dtype) if a.dtype == np.float64 else a for a in drawn]

    def floating(self) -> tuple[int, ...]:
        """Returns the positions of the inputs that take the dtype under test."""
        drawn = [draw(np.random.default_rng(0)) for draw in self.inputs]
        return tuple(i for i, a in enumerate(drawn) if a.dtype == np.float64)

    def sources(self) -> tuple[int, ...]:
        """Returns the positions of the inputs that are differentiated."""
        return self.floating() if self.differentiable is None else self.differentiable

    def unknown_shapes(self) -> list[tuple[Any, ...]]:
        """Returns the shapes of the inputs with None wherever a trace need not know."""
        result = []
        for i, draw in enumerate(self.inputs):
            shape = draw(np.random.default_rng(0)).shape
            known = self.known[i] if i < len(self.known) else ()
            keep = range(len(shape)) if known is None else known
            result.append(tuple(d if axis in keep else None for axis, d in enumerate(shape)))
        return result


@dataclass(frozen=True)
class Extreme:
    """Special values (NaN, inf, -0.0, empty, huge, wrapping) with the exact results."""

    op: str
    inputs: tuple[Any, ...]
    expected: Any
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BadInput:
    """A call that must be refused, with the error's class and words of its message."""

    op: str
    inputs: tuple[Any, ...]
    error: type[Exception]
    words: str
    attributes: dict[str, Any] = field(default_factory=dict)


def as_dtype(array: Any, dtype: str) -> Any:
    """Returns drawn numbers in a dtype: integers are scaled and rounded, complex get a part."""
    target = dtypes.as_dtype(dtype)
    if target.is_bool:
        return array > 0
    if target.is_integer:
        scaled = np.rint(array * 3)
        return (np.abs(scaled) if target.is_unsigned else scaled).astype(target.numpy)
    if target.is_complex:
        return (array + 0.5j * np.flip(array)).astype(target.numpy)
    return array.astype(target.numpy)


def wide(array: Any) -> Any:
    """Returns an array in the widest dtype of its kind, where expectations are computed."""
    if array.dtype == ml_dtypes.bfloat16 or array.dtype.kind == "f":
        return array.astype(np.float64)
    kinds = {"i": np.int64, "u": np.int64, "c": np.complex128}
    return array.astype(kinds.get(array.dtype.kind, array.dtype))


def each(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function on arrays that applies a formula on Python numbers, broadcasting."""

    def apply(*arrays: Any, **attributes: Any) -> Any:
        together = np.broadcast_arrays(*arrays)
        rows = zip(*(a.reshape(-1).tolist() for a in together))
        return np.asarray([formula(*row) for row in rows]).reshape(together[0].shape)

    return apply


def normal(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Draws from the normal distribution."""
    return lambda rng: rng.normal(size=shape)


def uniform(low: float, high: float, *shape: int) -> Callable[[np.random.Generator], Any]:
    """Draws uniformly."""
    return lambda rng: rng.uniform(low, high, size=shape)


def distinct(*shape: int) -> Callable[[np.random.Generator], Any]:
    """Draws a permutation of well separated numbers: no ties, no kinks near by."""

    def draw(rng: np.random.Generator) -> Any:
        count = int(np.prod(shape))
        return (rng.permutation(count).reshape(shape) - count / 2 + 0.25) / 4

    return draw


def given(value: Any, dtype: Any = None) -> Callable[[np.random.Generator], Any]:
    """Gives a fixed array (as it is, unless it is float64)."""
    return lambda rng: np.asarray(value, dtype)


def positions(shape: tuple[int, ...]) -> Any:
    """Returns all index tuples of a shape."""
    return itertools.product(*map(range, shape))
