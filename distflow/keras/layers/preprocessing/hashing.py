"""Hashing and HashedCrossing: buckets of values without a vocabulary, with TensorFlow's numbers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.preprocessing.data_layer import (
    DataLayer,
    as_tensor,
    check_mode,
    encode,
    encoded_shape,
    on_host,
)
from distflow.keras.layers.preprocessing.siphash import siphash
from distflow.ops import farmhash

# Where TensorFlow's crosses start from.
_CROSS_KEY = 0xDECAFCAFFE


class Hashing(DataLayer):
    """A bucket for each string or integer: its fingerprint modulo the number of buckets.

    Args:
      num_bins: number of buckets, that of `mask_value` included.
      mask_value: a value that has bucket 0 for itself.
      salt: one or two integers: use SipHash under this key in place of FarmHash.
      output_mode: "int", "one_hot", "multi_hot" or "count".
    """

    def __init__(self, num_bins: int, mask_value: Any = None, salt: Any = None,
                 output_mode: str = "int", sparse: bool = False, **kwargs: Any):  # fmt: skip
        if kwargs.get("dtype") is None:
            kwargs["dtype"] = "int64" if output_mode == "int" else None
        super().__init__(**kwargs)
        if num_bins is None or num_bins <= 0:
            raise errors.invalid(
                "Hashing", "The `num_bins` for `Hashing` cannot be `None` or non-positive values",
                f"num_bins={num_bins}",
            )  # fmt: skip
        check_mode("Hashing", output_mode, ("int", "one_hot", "multi_hot", "count"), sparse)
        self.num_bins = num_bins
        self.mask_value = mask_value
        self._key = hash_key("Hashing", salt)
        self.salt = None if self._key is None else list(self._key)
        self.output_mode = output_mode
        self.sparse = sparse

    def call(self, inputs: Any) -> Any:
        """Returns the buckets, encoded."""
        ids = on_host(self._buckets, [inputs], dtypes.int64, inputs.shape)
        return encode(ids, self.output_mode, self.num_bins, self.compute_dtype)

    def _buckets(self, values: Any) -> Any:
        masked = self.mask_value is not None
        free = self.num_bins - 1 if masked and self.num_bins > 1 else self.num_bins
        known: dict[Any, int] = {}
        mask = _token(self.mask_value) if masked else None
        result = []
        for value in values.reshape(-1).tolist():
            token = _token(value)
            bucket = known.get(token)
            if bucket is None:
                number = siphash(token, self._key) if self._key else farmhash.fingerprint64(token)
                bucket = number % free + (free < self.num_bins)
                known[token] = bucket = 0 if masked and token == mask else bucket
            result.append(bucket)
        return np.asarray(result, np.int64).reshape(values.shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the encoding."""
        return encoded_shape(input_shape, self.output_mode, self.num_bins)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "num_bins": self.num_bins, "salt": self.salt, "mask_value": self.mask_value,
            "output_mode": self.output_mode, "sparse": self.sparse,
        }  # fmt: skip


def hash_key(where: str, salt: Any) -> tuple[int, int] | None:
    """Returns the key of a salt; None for no salt."""
    if salt is None:
        return None
    pair = (salt, salt) if isinstance(salt, int) else salt
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(
        isinstance(s, int) for s in pair
    ):  # fmt: skip
        raise errors.invalid(
            where, "The `salt` argument can only be a tuple of size 2 integers, or a single "
            "integer", f"salt={salt}",
        )  # fmt: skip
    return (pair[0], pair[1])


def _token(value: Any) -> bytes:
    """A value as the string that is hashed: integers in decimal."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else str(int(value)).encode()


class HashedCrossing(Layer):
    """A bucket for each combination of two or more features.

    Args:
      num_bins: number of buckets.
      output_mode: "int" or "one_hot".

    Called on a tuple of strings or integers, each of shape [], [batch] or [batch, 1].
    """

    _allow_non_tensor_positional_args = True

    def __init__(self, num_bins: int, output_mode: str = "int", sparse: bool = False,
                 name: str | None = None, dtype: Any = None, **kwargs: Any):  # fmt: skip
        if dtype is None:
            dtype = "int64" if output_mode == "int" else None
        super().__init__(name=name, dtype=dtype, **kwargs)
        check_mode("HashedCrossing", output_mode, ("int", "one_hot"), sparse)
        if num_bins is None or num_bins <= 0:
            raise errors.invalid(
                "HashedCrossing", "`num_bins` must be positive", f"num_bins={num_bins}"
            )
        self.num_bins = num_bins
        self.output_mode = output_mode
        self.sparse = sparse
        self._convert_input_args = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the buckets for a tuple of tensors, arrays or values."""
        where = "HashedCrossing"
        inputs = args[0] if args else kwargs.pop("inputs")
        if not isinstance(inputs, list | tuple):
            raise errors.invalid(
                where, "`HashedCrossing` should be called on a list or tuple of inputs",
                f"inputs={inputs!r:.100}",
            )  # fmt: skip
        if len(inputs) < 2:
            raise errors.invalid(
                where, "`HashedCrossing` should be called on at least two inputs",
                f"inputs={inputs!r:.100}",
            )  # fmt: skip
        return super().__call__(tuple(map(as_tensor, inputs)), *args[1:], **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what `call` gives, dtype included."""
        return self._traced_specs(*args, **kwargs)

    def call(self, inputs: Any) -> Any:
        """Returns the buckets, encoded."""
        self._check(inputs)
        ids = on_host(self._buckets, list(inputs), dtypes.int64, inputs[0].shape)
        return encode(ids, self.output_mode, self.num_bins, self.compute_dtype)

    def _check(self, inputs: Any) -> None:
        where = "All `HashedCrossing` inputs should have"
        found = [tuple(x.shape) for x in inputs]
        if any(x.dtype is not dtypes.string and not x.dtype.is_integer for x in inputs):
            kinds = [x.dtype.name for x in inputs]
            raise errors.invalid("HashedCrossing", f"{where} an integer or string dtype",
                                 str(kinds))  # fmt: skip
        if len(set(found)) > 1:
            raise errors.invalid("HashedCrossing", f"{where} equal shape", str(found))
        if len(found[0]) > 2 or (len(found[0]) == 2 and found[0][1] != 1):
            raise errors.invalid(
                "HashedCrossing", f"{where} shape `()`, `(batch_size)` or `(batch_size, 1)`",
                str(found),
            )  # fmt: skip

    def _buckets(self, *columns: Any) -> Any:
        start = np.full(columns[0].shape, _CROSS_KEY, np.uint64)
        hashes = functools.reduce(farmhash.concatenate, map(_fingerprints, columns), start)
        return (hashes % np.uint64(self.num_bins)).astype(np.int64)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the encoding."""
        return encoded_shape(input_shape[0], self.output_mode, self.num_bins)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return {
            "num_bins": self.num_bins, "output_mode": self.output_mode, "sparse": self.sparse,
            "name": self.name, "dtype": self.dtype,
        }  # fmt: skip


def _fingerprints(column: Any) -> Any:
    if column.dtype == object:
        return farmhash.fingerprints(column)
    return column.astype(np.int64).view(np.uint64)
