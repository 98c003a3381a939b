"""What each executor promises about the bits of an eager operation on small arrays.

These run on NumPy. So does the numpy executor, to the bit; the cpu executor has functions of its
own, whose errors are bounded.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

# Units in the last place by which NumPy's functions, and formulas of a few of them, may be wrong.
_NUMPY_ULPS = 4.0


def assert_like_eager(found: Any, eager: Any, executor: str, op: str) -> None:
    """A compiled result of one elementwise primitive is as near to the eager one as promised."""
    found, eager = np.asarray(found), np.asarray(eager)
    assert found.dtype == eager.dtype
    assert found.shape == eager.shape
    bounds = () if executor == "numpy" else _bounds().get(op, ())
    if not bounds or eager.dtype not in (np.float32, np.float64):
        np.testing.assert_array_equal(found, eager)
        return
    finite = np.isfinite(eager)
    np.testing.assert_array_equal(found[~finite], eager[~finite])
    found, eager = found[finite], eager[finite]
    ulps = bounds[0 if eager.dtype == np.float32 else 1] + _NUMPY_ULPS
    # Errors of digamma count from 1 upwards: its zeros have no closed form.
    one_ulp = np.spacing(np.maximum(np.abs(eager), 1.0 if op == "digamma" else 0.0))
    assert np.all(np.abs(found - eager) <= ulps * one_ulp), f"{found} != {eager}"


def _bounds() -> dict[str, tuple[float, float]]:
    # Imported on first use: it needs llvmlite.
    return importlib.import_module("distflow.compiler.cpu.math").ULP_BOUNDS
