"""crossed_column: combinations of categorical features by hash, in TF's buckets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.tensor import Tensor
from distflow.feature_column.categorical import HashedCategoricalColumn
from distflow.feature_column.column import MISSING, CategoricalColumn, Features, on_values
from distflow.ops import farmhash

_DEFAULT_HASH_KEY = 0xDECAFCAFFE


@dataclass(frozen=True)
class CrossedColumn(CategoricalColumn):
    """All combinations of the keys' values, hashed together."""

    keys: tuple[Any, ...]
    hash_bucket_size: int
    hash_key: int | None = None

    @property
    def name(self) -> str:
        """The sorted names of what is crossed, joined by _X_."""
        return "_X_".join(sorted(k if isinstance(k, str) else k.name for k in self.leaves()))

    @property
    def num_buckets(self) -> int:
        """As given."""
        return self.hash_bucket_size

    def leaves(self) -> list[Any]:
        """Returns what is crossed, with crosses inside taken apart."""
        found: list[Any] = []
        for key in self.keys:
            found.extend(key.leaves() if isinstance(key, CrossedColumn) else [key])
        return found

    def ids(self, features: Features) -> Tensor:
        """Returns hashes of combinations, the last key's values fastest; one that lacks a
        value is MISSING. Raw features lack nothing: their empty strings count as values."""
        inputs = [self._input(key, features) for key in self.leaves()]
        widths = [x.shape[1] for x in inputs]
        width = None if None in widths else math.prod(widths)
        raw = [isinstance(key, str) for key in self.leaves()]
        return on_values(
            lambda *arrays: self._cross(arrays, raw), inputs, (inputs[0].shape[0], width)
        )

    def _input(self, key: Any, features: Features) -> Tensor:
        if not isinstance(key, str):
            return features.ids(key)
        x = features.values(key)
        if not (x.dtype is dtypes.string or x.dtype.is_integer):
            raise errors.DtypeMismatchError(
                f"crossed_column: expected feature {key!r} of strings or integers; received "
                f"{x.dtype.name}.\nA bucketized_column makes intervals of floats."
            )
        return x

    def _cross(self, arrays: Any, raw: list[bool]) -> Any:
        batch = arrays[0].shape[0]
        key = _DEFAULT_HASH_KEY if self.hash_key is None else self.hash_key
        hashes = np.full((batch, 1), key % 2**64, np.uint64)
        missing = np.zeros((batch, 1), bool)
        for array, is_raw in zip(arrays, raw):
            prints = _prints(array)
            hashes = farmhash.concatenate(hashes[:, :, None], prints[:, None, :])
            absent = np.zeros(array.shape, bool) if is_raw else array == MISSING
            missing = missing[:, :, None] | absent[:, None, :]
            hashes, missing = hashes.reshape(batch, -1), missing.reshape(batch, -1)
        ids = (hashes % np.uint64(self.hash_bucket_size)).astype(np.int64)
        return np.where(missing, MISSING, ids)


def _prints(array: Any) -> Any:
    if array.dtype == object:
        return farmhash.fingerprints(array)
    return array.astype(np.int64).view(np.uint64)


def crossed_column(keys: Any, hash_bucket_size: int, hash_key: int | None = None) -> CrossedColumn:
    """Returns the hashed combinations of categorical features.

    Args:
      keys: at least two names of features (strings or integers) or categorical columns, but
        hashed ones, whose features are better crossed by name.
      hash_bucket_size: number of buckets.
      hash_key: start of the hash, default TF's.
    """
    if not hash_bucket_size or hash_bucket_size < 1:
        raise errors.invalid(
            "crossed_column", "hash_bucket_size must be >= 1", str(hash_bucket_size)
        )
    if isinstance(keys, str) or len(keys) < 2:
        raise errors.invalid("crossed_column", "keys must be at least two", repr(keys))
    for key in keys:
        if isinstance(key, HashedCategoricalColumn):
            raise errors.invalid(
                "crossed_column", "hashed columns cannot be crossed", repr(key),
                f"Give the name of the feature, {key.key!r}: values are hashed once only.",
            )  # fmt: skip
        if not isinstance(key, str | CategoricalColumn):
            raise errors.invalid(
                "crossed_column", "keys must be names of features or categorical columns",
                repr(key),
            )  # fmt: skip
    return CrossedColumn(tuple(keys), int(hash_bucket_size), hash_key)
