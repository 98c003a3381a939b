"""numeric_column and bucketized_column: numbers as they are, and by intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.tensor import Tensor
from distflow.feature_column.column import CategoricalColumn, DenseColumn, Features, key_or_raise
from distflow.ops import reduce
from distflow.ops.creation import one_hot
from distflow.ops.math import cast, logical_not
from distflow.ops.shaping import expand_dims, reshape


@dataclass(frozen=True)
class NumericColumn(DenseColumn):
    """A feature's own numbers, as float32."""

    key: str
    shape: tuple[int, ...] = (1,)
    default_value: tuple[float, ...] | None = None
    dtype: dtypes.DType = dtypes.float32
    normalizer_fn: Callable[[Any], Any] | None = None

    @property
    def name(self) -> str:
        """The key."""
        return self.key

    @property
    def width(self) -> int:
        """The product of the shape."""
        return math.prod(self.shape)

    def values(self, features: Features) -> Tensor:
        """Returns the normalised feature as float32 [batch, *shape]."""
        x = features.raw(self.key)
        if x.dtype is dtypes.string:
            raise errors.DtypeMismatchError(
                f"numeric_column {self.key!r}: expected numbers; received strings.\n"
                "Use a categorical column, or tf.strings.to_number."
            )
        if shapes.size(x.shape[1:]) not in (None, self.width):
            raise errors.invalid(
                f"numeric_column {self.key!r}", f"feature must have shape [batch, "
                f"{', '.join(map(str, self.shape))}]", shapes.text(x.shape),
            )  # fmt: skip
        if self.normalizer_fn is not None:
            x = self.normalizer_fn(x)
        return cast(x, dtypes.float32)

    def dense(self, features: Features, weights: Mapping[str, Any]) -> Tensor:
        """Returns the numbers, [batch, width]."""
        return reshape(self.values(features), [-1, self.width])


@dataclass(frozen=True)
class BucketizedColumn(DenseColumn, CategoricalColumn):
    """In which interval a number lies: bucket i holds boundaries[i-1] <= x < boundaries[i]."""

    source_column: NumericColumn
    boundaries: tuple[float, ...]

    @property
    def name(self) -> str:
        """The source's name with _bucketized."""
        return f"{self.source_column.name}_bucketized"

    @property
    def num_buckets(self) -> int:
        """One more than the boundaries, for each number of the source."""
        return (len(self.boundaries) + 1) * self.source_column.width

    @property
    def width(self) -> int:
        """The same as num_buckets."""
        return self.num_buckets

    def _buckets(self, features: Features) -> Tensor:
        x = self.source_column.dense(features, {})
        edges = np.asarray(self.boundaries, np.float32)
        # "Not below" rather than "at least": NaN goes to the last bucket, as in TF.
        passed = logical_not(expand_dims(x, -1) < edges)
        return reduce.reduce_sum(cast(passed, dtypes.int64), -1)

    def dense(self, features: Features, weights: Mapping[str, Any]) -> Tensor:
        """Returns a one-hot vector for each number of the source."""
        hot = one_hot(self._buckets(features), len(self.boundaries) + 1)
        return reshape(hot, [-1, self.width])

    def ids(self, features: Features) -> Tensor:
        """Returns the buckets; those of the source's second number follow on its first's."""
        offsets = np.arange(self.source_column.width, dtype=np.int64) * (len(self.boundaries) + 1)
        return self._buckets(features) + offsets


def numeric_column(
    key: str,
    shape: Any = (1,),
    default_value: Any = None,
    dtype: Any = dtypes.float32,
    normalizer_fn: Callable[[Any], Any] | None = None,
) -> NumericColumn:
    """Returns a column of a feature's own numbers.

    Args:
      key: name of the feature.
      shape: shape of one example's feature.
      default_value: number (or numbers) that stand for a feature which a record of a file lacks.
      dtype: of the feature in such records; the column gives float32 in any case.
      normalizer_fn: applied to the feature before the cast to float32.
    """
    where = f"numeric_column {key_or_raise('numeric_column', key)!r}"
    dims = (shape,) if isinstance(shape, int) else tuple(shape)
    if not all(isinstance(d, int | np.integer) and d > 0 for d in dims):
        raise errors.invalid(where, "shape dimensions must be integers > 0", repr(shape))
    kind = dtypes.as_dtype(dtype)
    if not (kind.is_floating or kind.is_integer):
        raise errors.invalid(where, "dtype must be convertible to float", kind.name)
    if normalizer_fn is not None and not callable(normalizer_fn):
        raise errors.DtypeMismatchError(
            f"{where}: expected a function as normalizer_fn; received {normalizer_fn!r:.80}."
        )
    dims = tuple(int(d) for d in dims)
    return NumericColumn(key, dims, _default(where, default_value, dims), kind, normalizer_fn)


def _default(where: str, value: Any, dims: tuple[int, ...]) -> tuple[float, ...] | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise errors.DtypeMismatchError(
            f"{where}: expected numbers as default_value; received {value!r:.80}."
        )
    if array.ndim and array.shape != dims:
        raise errors.invalid(
            where, f"default_value must have shape {shapes.text(dims)}", shapes.text(array.shape)
        )
    return tuple(np.broadcast_to(array, dims).reshape(-1).tolist())


def bucketized_column(source_column: Any, boundaries: Any) -> BucketizedColumn:
    """Returns the interval of a numeric column's number, one-hot.

    Args:
      source_column: a numeric_column of one dimension.
      boundaries: increasing numbers; n of them make n + 1 buckets.
    """
    if not isinstance(source_column, NumericColumn):
        raise errors.invalid(
            "bucketized_column", "source_column must be a numeric_column", repr(source_column)
        )
    if len(source_column.shape) != 1:
        raise errors.invalid(
            "bucketized_column", "source_column must have one dimension",
            shapes.text(source_column.shape),
        )  # fmt: skip
    edges = tuple(boundaries)
    if not edges or any(a >= b for a, b in itertools.pairwise(edges)):
        raise errors.invalid(
            "bucketized_column", "boundaries must be increasing, and at least one", repr(edges)
        )
    return BucketizedColumn(source_column, edges)
