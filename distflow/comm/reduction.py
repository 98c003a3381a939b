"""The element-wise operations a collective can reduce with: one row each.

The order of operands is fixed by the tree (`tree.py`), so every row may be non-associative. NaN is
the exception: which operand's payload survives `NaN + NaN` depends on the position of an element in
the vector unit's lanes (seen with NumPy 2.4, AVX-512), hence on how a buffer was cut. NaN-ness does
not, so finished results have all their NaNs set to one canonical value (`settle_nans`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from distflow.base import errors

_NAMES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "float16 float32 float64 complex64 complex128"
)
# What may travel: fixed-size numbers whose bytes are all value (no padding, no pointers).
DTYPES: dict[str, np.dtype] = {name: np.dtype(name) for name in _NAMES.split()}
DTYPES["bfloat16"] = np.dtype(ml_dtypes.bfloat16)

_COMPLEX = frozenset({"complex64", "complex128"})


@dataclass(frozen=True)
class Reduction:
    """A binary operation, its value over no operands, and whether complex numbers have it."""

    ufunc: np.ufunc
    identity: Callable[[np.dtype], Any]
    complex: bool


def _lowest(dtype: np.dtype) -> Any:
    if dtype.kind == "b":
        return False
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _highest(dtype: np.dtype) -> Any:
    if dtype.kind == "b":
        return True
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


# On booleans sum and max are "any", prod and min are "all". The complex product is left out: NumPy
# may fuse its multiply-adds or not by position, which would make bits depend on the cut.
REDUCTIONS: dict[str, Reduction] = {
    "sum": Reduction(np.add, lambda dtype: 0, True),
    "prod": Reduction(np.multiply, lambda dtype: 1, False),
    "max": Reduction(np.maximum, _lowest, False),
    "min": Reduction(np.minimum, _highest, False),
}


def check(where: str, op: str, dtypes: Iterable[np.dtype]) -> None:
    """Raises InvalidArgumentError unless `op` exists and is defined for all `dtypes`."""
    if op not in REDUCTIONS:
        raise errors.invalid(where, f"op must be one of {sorted(REDUCTIONS)}", repr(op))
    for dtype in dtypes:
        if dtype.name in _COMPLEX and not REDUCTIONS[op].complex:
            raise errors.invalid(where, f"op {op!r} needs real numbers", dtype.name)


def combine(
    op: str, left: list[np.ndarray], right: list[np.ndarray], out: list[np.ndarray] | None
) -> list[np.ndarray]:
    """Returns op(left, right) array by array, written to `out` if given (it may be an operand)."""
    ufunc = REDUCTIONS[op].ufunc
    if out is None:
        out = [np.empty(a.shape, a.dtype) for a in left]
    # inf - inf and overflow are results here, not accidents to warn about.
    with np.errstate(all="ignore"):
        for a, b, o in zip(left, right, out, strict=True):
            ufunc(a, b, out=o)
    return out


def settle_nans(arrays: list[np.ndarray]) -> None:
    """Sets every NaN of the arrays, in place, to its dtype's one canonical quiet NaN."""
    for array in arrays:
        if array.dtype.char in "FD":
            array = array.reshape(-1).view(np.dtype(f"float{array.itemsize * 4}"))
        kind = array.dtype.char
        if kind in "fd" and array.size:
            largest = np.maximum.reduce(array, axis=None)  # NaN if there is one; twice as fast
            if largest == largest:
                continue
        if kind in "fde" or array.dtype == DTYPES["bfloat16"]:
            nans = np.isnan(array)
            if nans.any():
                array[nans] = np.nan
