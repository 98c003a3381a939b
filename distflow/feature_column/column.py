"""The contracts of feature columns, and the features of one batch that they read.

A categorical column turns features into ids [batch, width]. Two things are no id: MISSING (an
empty string or -1 in the input, as in TF) and -1 (a value outside of the vocabulary); neither is
counted by an indicator or embedding, but a cross still combines a -1.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops.prims import host
from distflow.ops.shaping import expand_dims

MISSING = np.iinfo(np.int64).min


class FeatureColumn(abc.ABC):
    """A description of how features become numbers; columns are frozen dataclasses."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Unique name; DenseFeatures sorts its columns by it."""


class DenseColumn(FeatureColumn):
    """A column that gives floats [batch, width]."""

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """How many numbers an example gets."""

    @abc.abstractmethod
    def dense(self, features: Features, weights: Mapping[str, Any]) -> Tensor:
        """Returns float32 [batch, width]; `weights` holds this column's variables by name."""


class CategoricalColumn(FeatureColumn):
    """A column that gives ids in [0, num_buckets), -1 or MISSING."""

    @property
    @abc.abstractmethod
    def num_buckets(self) -> int:
        """One more than the largest id."""

    @abc.abstractmethod
    def ids(self, features: Features) -> Tensor:
        """Returns int64 [batch, width]."""


class Features:
    """One batch of features by name; what several columns ask for is computed once."""

    def __init__(self, features: Mapping[str, Any]):
        if not isinstance(features, Mapping):
            raise errors.invalid(
                "feature columns", "features must be a dict of tensors by name",
                f"{type(features).__name__} {features!r:.80}",
            )  # fmt: skip
        self._features = features
        self._known: dict[Any, Any] = {}

    def raw(self, key: str) -> Tensor:
        """Returns a feature as a tensor of at least two dimensions: [batch] becomes [batch, 1].

        Raises:
          InvalidArgumentError: if it is not there, or is a scalar.
        """
        if key not in self._known:
            self._known[key] = self._read(key)
        return self._known[key]

    def _read(self, key: str) -> Tensor:
        if key not in self._features:
            raise errors.invalid(
                "feature columns", f"feature {key!r} must be in the features",
                str(sorted(self._features)),
            )  # fmt: skip
        x = convert_to_tensor(self._features[key])
        if x.ndim == 0:
            raise errors.invalid("feature columns", f"feature {key!r} needs a batch", "a scalar")
        return expand_dims(x, -1) if x.ndim == 1 else x

    def values(self, key: str) -> Tensor:
        """Returns the feature of a categorical column, [batch, width]."""
        x = self.raw(key)
        if x.ndim != 2:
            raise errors.invalid(
                "feature columns", f"categorical feature {key!r} must have shape [batch] or "
                "[batch, width]", shapes.text(x.shape),
            )  # fmt: skip
        return x

    def ids(self, column: CategoricalColumn) -> Tensor:
        """Returns column.ids(self), computed once."""
        slot = ("ids", id(column))
        if slot not in self._known:
            self._known[slot] = column.ids(self)
        return self._known[slot]


def on_values(
    function: Callable[..., Any], inputs: list[Any], shape: Any, dtype: dtypes.DType = dtypes.int64
) -> Tensor:
    """Returns function(*arrays), a NumPy function, as a tensor; inside a trace it runs later."""
    (result,) = host.host_call(*inputs, fn=function, dtypes=(dtype,), shapes=(tuple(shape),))
    return result


def expect_kind(where: str, x: Tensor, dtype: dtypes.DType) -> None:
    """Raises DtypeMismatchError unless x is of strings, or of integers, as `dtype` is."""
    fits = x.dtype is dtypes.string if dtype is dtypes.string else x.dtype.is_integer
    if not fits:
        raise errors.DtypeMismatchError(
            f"{where}: expected a feature of dtype {dtype.name}; received {x.dtype.name}."
        )


def key_or_raise(where: str, key: Any) -> str:
    """Returns the key of a feature; raises DtypeMismatchError unless it is a string."""
    if not isinstance(key, str):
        raise errors.DtypeMismatchError(
            f"{where}: expected the name of a feature; received {key!r:.80}."
        )
    return key
