"""Categorical columns of one feature: by vocabulary, by identity, by hash."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.tensor import Tensor
from distflow.feature_column.column import (
    MISSING,
    CategoricalColumn,
    Features,
    expect_kind,
    key_or_raise,
    on_values,
)
from distflow.ops import farmhash


@dataclass(frozen=True)
class VocabularyListCategoricalColumn(CategoricalColumn):
    """The position of a value in a list."""

    key: str
    vocabulary_list: tuple[Any, ...]
    dtype: dtypes.DType = dtypes.string
    default_value: int = -1
    num_oov_buckets: int = 0

    @property
    def name(self) -> str:
        """The key."""
        return self.key

    @property
    def num_buckets(self) -> int:
        """The vocabulary and the buckets for other values."""
        return len(self.vocabulary_list) + self.num_oov_buckets

    def ids(self, features: Features) -> Tensor:
        """Returns positions; other values get a bucket by hash, or the default."""
        x = features.values(self.key)
        expect_kind(f"column {self.key!r}", x, self.dtype)
        return on_values(self._lookup, [x], x.shape)

    def _lookup(self, values: Any) -> Any:
        found = [self._position(value) for value in values.reshape(-1).tolist()]
        return np.array(found, np.int64).reshape(values.shape)

    def _position(self, value: Any) -> int:
        if value in (b"", -1):
            return MISSING
        position = self._positions.get(value)
        if position is not None:
            return position
        if self.num_oov_buckets:
            return len(self.vocabulary_list) + _fingerprint(value) % self.num_oov_buckets
        return self.default_value

    @functools.cached_property
    def _positions(self) -> dict[Any, int]:
        return {
            value.encode() if isinstance(value, str) else value: position
            for position, value in enumerate(self.vocabulary_list)
        }


@dataclass(frozen=True)
class IdentityCategoricalColumn(CategoricalColumn):
    """An integer that is its own id."""

    key: str
    number_buckets: int
    default_value: int | None = None

    @property
    def name(self) -> str:
        """The key."""
        return self.key

    @property
    def num_buckets(self) -> int:
        """As given."""
        return self.number_buckets

    def ids(self, features: Features) -> Tensor:
        """Returns the integers; those out of range become the default, or are an error."""
        x = features.values(self.key)
        expect_kind(f"column {self.key!r}", x, dtypes.int64)
        return on_values(self._checked, [x], x.shape)

    def _checked(self, values: Any) -> Any:
        ids = values.astype(np.int64)
        missing = ids == -1
        wrong = ~missing & ((ids < 0) | (ids >= self.number_buckets))
        if wrong.any() and self.default_value is None:
            raise errors.invalid(
                f"categorical_column_with_identity {self.key!r}",
                f"values must be in [0, {self.number_buckets})", str(ids[wrong][0]),
                "default_value= gives such values an id.",
            )  # fmt: skip
        if self.default_value is not None:
            ids = np.where(wrong, self.default_value, ids)
        return np.where(missing, MISSING, ids)


@dataclass(frozen=True)
class HashedCategoricalColumn(CategoricalColumn):
    """A value's fingerprint modulo a number of buckets."""

    key: str
    hash_bucket_size: int
    dtype: dtypes.DType = dtypes.string

    @property
    def name(self) -> str:
        """The key."""
        return self.key

    @property
    def num_buckets(self) -> int:
        """As given."""
        return self.hash_bucket_size

    def ids(self, features: Features) -> Tensor:
        """Returns Fingerprint64(value) mod hash_bucket_size; integers are hashed as decimals."""
        x = features.values(self.key)
        expect_kind(f"column {self.key!r}", x, self.dtype)
        return on_values(self._hash, [x], x.shape)

    def _hash(self, values: Any) -> Any:
        missing = values == (b"" if values.dtype == object else -1)
        prints = farmhash.fingerprints(_as_strings(values))
        ids = (prints % np.uint64(self.hash_bucket_size)).astype(np.int64)
        return np.where(missing, MISSING, ids)


def _as_strings(values: Any) -> Any:
    if values.dtype == object:
        return values
    result = np.empty(values.size, object)
    result[:] = [b"%d" % value for value in values.reshape(-1).tolist()]
    return result.reshape(values.shape)


def _fingerprint(value: Any) -> int:
    return farmhash.fingerprint64(value if isinstance(value, bytes) else b"%d" % value)


def categorical_column_with_vocabulary_list(
    key: str,
    vocabulary_list: Any,
    dtype: Any = None,
    default_value: int = -1,
    num_oov_buckets: int = 0,
) -> VocabularyListCategoricalColumn:
    """Returns a column whose ids are positions in a list of strings or integers.

    Args:
      key: name of the feature.
      vocabulary_list: distinct values.
      dtype: of the feature, default that of the list.
      default_value: id of values outside of the list; -1 ignores them.
      num_oov_buckets: number of buckets (by hash) for values outside of the list.
    """
    where = f"categorical_column_with_vocabulary_list {key_or_raise('column', key)!r}"
    array = np.asarray(vocabulary_list)
    if array.size == 0:
        raise errors.invalid(where, "vocabulary_list must not be empty", "[]")
    kind = dtypes.as_dtype(array.dtype if array.dtype.kind != "O" else str)
    values = tuple(v.decode() if isinstance(v, bytes) else v for v in array.tolist())
    if len(set(values)) != len(values):
        raise errors.invalid(where, "vocabulary_list must hold distinct values", str(list(values)))
    wanted = kind if dtype is None else dtypes.as_dtype(dtype)
    for each in (kind, wanted):
        _check_kind(where, each)
    if (wanted is dtypes.string) != (kind is dtypes.string):
        raise errors.invalid(where, f"a vocabulary of dtype {wanted.name}", kind.name)
    if num_oov_buckets < 0:
        raise errors.invalid(where, "num_oov_buckets must be >= 0", str(num_oov_buckets))
    if num_oov_buckets and default_value != -1:
        raise errors.invalid(where, "num_oov_buckets or default_value", "both")
    if not -1 <= default_value < len(values):
        raise errors.invalid(
            where, f"default_value must be in [-1, {len(values)})", str(default_value)
        )
    return VocabularyListCategoricalColumn(key, values, wanted, default_value, num_oov_buckets)


def categorical_column_with_vocabulary_file(
    key: str,
    vocabulary_file: Any,
    vocabulary_size: int | None = None,
    dtype: Any = dtypes.string,
    default_value: int | None = None,
    num_oov_buckets: int = 0,
) -> VocabularyListCategoricalColumn:
    """Returns a column whose ids are line numbers of a text file, which is read at once.

    Args:
      key: name of the feature.
      vocabulary_file: path; one value a line.
      vocabulary_size: how many lines are used, default all.
      dtype: string or an integer dtype.
      default_value, num_oov_buckets: as of a vocabulary list.
    """
    where = f"categorical_column_with_vocabulary_file {key_or_raise('column', key)!r}"
    try:
        lines = Path(vocabulary_file).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise errors.NotFoundError(
            f"{where}: expected a readable text file; received {str(vocabulary_file)!r} ({error})."
        ) from error
    if vocabulary_size is not None and not 1 <= vocabulary_size <= len(lines):
        raise errors.invalid(
            where, f"vocabulary_size must be in [1, {len(lines)}], the lines of the file",
            str(vocabulary_size),
        )  # fmt: skip
    kind = dtypes.as_dtype(dtype)
    _check_kind(where, kind)
    used = lines[:vocabulary_size]
    values = used if kind is dtypes.string else [int(line) for line in used]
    default = -1 if default_value is None else default_value
    return categorical_column_with_vocabulary_list(key, values, kind, default, num_oov_buckets)


def categorical_column_with_identity(
    key: str, num_buckets: int, default_value: int | None = None
) -> IdentityCategoricalColumn:
    """Returns a column of integers in [0, num_buckets) that are their own ids.

    Args:
      key: name of the feature; its values -1 are missing.
      num_buckets: one more than the largest value.
      default_value: id of values out of range; None makes them an error.
    """
    where = f"categorical_column_with_identity {key_or_raise('column', key)!r}"
    if num_buckets < 1:
        raise errors.invalid(where, "num_buckets must be >= 1", str(num_buckets))
    if default_value is not None and not 0 <= default_value < num_buckets:
        raise errors.invalid(
            where, f"default_value must be in [0, {num_buckets})", str(default_value)
        )
    return IdentityCategoricalColumn(key, int(num_buckets), default_value)


def categorical_column_with_hash_bucket(
    key: str, hash_bucket_size: int, dtype: Any = dtypes.string
) -> HashedCategoricalColumn:
    """Returns a column of a feature's values by hash (TF's, so buckets are the same).

    Args:
      key: name of the feature; its empty strings, or -1, are missing.
      hash_bucket_size: number of buckets.
      dtype: string or an integer dtype.
    """
    where = f"categorical_column_with_hash_bucket {key_or_raise('column', key)!r}"
    if hash_bucket_size < 1:
        raise errors.invalid(where, "hash_bucket_size must be >= 1", str(hash_bucket_size))
    kind = dtypes.as_dtype(dtype)
    _check_kind(where, kind)
    return HashedCategoricalColumn(key, int(hash_bucket_size), kind)


def _check_kind(where: str, dtype: dtypes.DType) -> None:
    if not (dtype is dtypes.string or dtype.is_integer):
        raise errors.invalid(where, "dtype must be string or integer", dtype.name)
