"""tf.data.experimental: older names of what `data` has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.core.tensor import Tensor
from distflow.data.dataset import Dataset
from distflow.data.node import INFINITE as INFINITE_CARDINALITY
from distflow.data.node import UNKNOWN as UNKNOWN_CARDINALITY
from distflow.data.options import AUTOTUNE, AutoShardPolicy, DistributeOptions, ThreadingOptions

__all__ = [
    "AUTOTUNE",
    "INFINITE_CARDINALITY",
    "UNKNOWN_CARDINALITY",
    "AutoShardPolicy",
    "DistributeOptions",
    "ThreadingOptions",
    "assert_cardinality",
    "cardinality",
    "get_single_element",
]


def cardinality(dataset: Dataset) -> Tensor:
    """Returns the number of elements as an int64 scalar (`dataset.cardinality()`)."""
    return dataset.cardinality()


def assert_cardinality(expected_cardinality: int) -> Callable[[Dataset], Dataset]:
    """Returns a transformation for `dataset.apply` that checks the number of elements."""
    return lambda dataset: dataset.assert_cardinality(expected_cardinality)


def get_single_element(dataset: Dataset) -> Any:
    """Returns the only element (`dataset.get_single_element()`)."""
    return dataset.get_single_element()
