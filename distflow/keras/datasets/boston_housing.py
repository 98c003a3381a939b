"""Boston housing: 506 districts with 13 numbers and the median price of a home.

The data have an ethical problem: one column takes people's origin for a cause of prices.

Source: Harrison & Rubinfeld 1978, Hedonic prices and the demand for clean air.
"""

from __future__ import annotations

from typing import Any

from distflow.keras.datasets import housing

_SHA256 = "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5"


def load_data(path: str = "boston_housing.npz", test_split: float = 0.2, seed: int = 113) -> Any:
    """Returns (x_train, y_train), (x_test, y_test): float64 [n, 13] and prices [n].

    Args:
      path: an .npz file; a bare name is looked for in ~/.keras/datasets and downloaded if it is
        not there.
      test_split: part of the rows that is kept for testing.
      seed: of the order of rows.
    """
    where = "boston_housing.load_data"
    housing.check_split(where, test_split)
    x, y = housing.load(where, path, "boston_housing.npz", _SHA256)
    return housing.split(x, y, test_split, seed)
