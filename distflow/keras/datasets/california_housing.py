"""California housing: 20640 blocks with 8 numbers and the median price of a home.

Source: Pace & Barry 1997, Sparse spatial autoregressions.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras.datasets import housing

_SHA256 = "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f"
_SMALL_ROWS = 600


def load_data(version: str = "large", path: str = "california_housing.npz",
              test_split: float = 0.2, seed: int = 113) -> Any:  # fmt: skip
    """Returns (x_train, y_train), (x_test, y_test): float32 [n, 8] and prices [n].

    Args:
      version: "large", or "small" for the first 600 rows.
      path: an .npz file; a bare name is looked for in ~/.keras/datasets and downloaded if it is
        not there.
      test_split: part of the rows that is kept for testing.
      seed: of the order of rows.
    """
    where = "california_housing.load_data"
    housing.check_split(where, test_split)
    if version not in ("small", "large"):
        raise errors.invalid(where, "version must be 'small' or 'large'", repr(version))
    x, y = housing.load(where, path, "california_housing.npz", _SHA256)
    rows = _SMALL_ROWS if version == "small" else len(x)
    return housing.split(x[:rows], y[:rows], test_split, seed)
