"""indicator_column and embedding_column: categorical ids as vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.tensor import Tensor
from distflow.feature_column.column import CategoricalColumn, DenseColumn, Features
from distflow.ops import reduce
from distflow.ops.creation import one_hot
from distflow.ops.embedding import embedding_lookup
from distflow.ops.math import cast, maximum, sqrt
from distflow.ops.prims.elementwise import max_
from distflow.ops.shaping import expand_dims
from distflow.random import truncated_normal

WEIGHTS = "embedding_weights"


@dataclass(frozen=True)
class IndicatorColumn(DenseColumn):
    """How often each id occurs in an example."""

    categorical_column: CategoricalColumn

    @property
    def name(self) -> str:
        """The categorical column's name with _indicator."""
        return f"{self.categorical_column.name}_indicator"

    @property
    def width(self) -> int:
        """The number of ids."""
        return self.categorical_column.num_buckets

    def dense(self, features: Features, weights: Mapping[str, Any]) -> Tensor:
        """Returns counts; absent and unknown values count nothing."""
        ids = features.ids(self.categorical_column)
        return reduce.reduce_sum(one_hot(ids, self.width), 1)


@dataclass(frozen=True)
class EmbeddingColumn(DenseColumn):
    """The combined rows of a trained table for an example's ids."""

    categorical_column: CategoricalColumn
    dimension: int
    combiner: str = "mean"
    initializer: Callable[..., Any] | None = None
    max_norm: float | None = None
    trainable: bool = True

    @property
    def name(self) -> str:
        """The categorical column's name with _embedding."""
        return f"{self.categorical_column.name}_embedding"

    @property
    def width(self) -> int:
        """The dimension."""
        return self.dimension

    @property
    def weights_shape(self) -> tuple[int, int]:
        """Shape of the table."""
        return self.categorical_column.num_buckets, self.dimension

    def initial_weights(self, shape: Any, dtype: Any = dtypes.float32) -> Any:
        """Returns the table's first values: the initializer's, or N(0, 1 / dimension) truncated."""
        if self.initializer is not None:
            return self.initializer(shape, dtype=dtype)
        return truncated_normal(shape, 0.0, 1.0 / math.sqrt(self.dimension), dtype)

    def dense(self, features: Features, weights: Mapping[str, Any]) -> Tensor:
        """Returns the sum, mean or sum / sqrt(n) of the rows; zeros where there is no id."""
        ids = features.ids(self.categorical_column)
        known = cast(ids >= np.int64(0), dtypes.float32)
        safe = max_(ids, np.int64(0))
        rows = embedding_lookup(weights[WEIGHTS], safe, max_norm=self.max_norm)
        total = reduce.reduce_sum(rows * expand_dims(known, -1), 1)
        if self.combiner == "sum":
            return total
        count = maximum(reduce.reduce_sum(known, 1, keepdims=True), 1.0)
        return total / (count if self.combiner == "mean" else sqrt(count))


def indicator_column(categorical_column: Any) -> IndicatorColumn:
    """Returns the multi-hot form of a categorical column."""
    return IndicatorColumn(_categorical("indicator_column", categorical_column))


def embedding_column(
    categorical_column: Any,
    dimension: int,
    combiner: str = "mean",
    initializer: Callable[..., Any] | None = None,
    max_norm: float | None = None,
    trainable: bool = True,
) -> EmbeddingColumn:
    """Returns rows of a trained table for the ids of a categorical column.

    Args:
      categorical_column: gives the ids.
      dimension: length of a row.
      combiner: "mean", "sum" or "sqrtn" (sum / sqrt(n)), for several ids in an example.
      initializer: function of (shape, dtype); default a truncated normal of deviation
        1 / sqrt(dimension).
      max_norm: longer rows are scaled down to this l2 norm when they are read.
      trainable: whether the table is trained.
    """
    column = _categorical("embedding_column", categorical_column)
    if not isinstance(dimension, int | np.integer) or dimension < 1:
        raise errors.invalid("embedding_column", "dimension must be an integer >= 1",
                             repr(dimension))  # fmt: skip
    if combiner not in ("mean", "sum", "sqrtn"):
        raise errors.invalid("embedding_column", "combiner among mean, sum, sqrtn", repr(combiner))
    if initializer is not None and not callable(initializer):
        raise errors.invalid("embedding_column", "initializer must be callable", repr(initializer))
    if max_norm is not None and not max_norm > 0:
        raise errors.invalid("embedding_column", "max_norm must be > 0", repr(max_norm))
    return EmbeddingColumn(column, int(dimension), combiner, initializer, max_norm, trainable)


def _categorical(where: str, column: Any) -> CategoricalColumn:
    if not isinstance(column, CategoricalColumn):
        raise errors.invalid(where, "a categorical column", repr(column))
    return column
