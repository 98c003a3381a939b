"""DataLayer: a layer that takes raw data, and what such layers share.

The encodings are those of Keras: "int", "one_hot", "multi_hot", "count", "tf_idf".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable
from distflow.data import Dataset
from distflow.keras.engine.layer import Layer
from distflow.ops import array, dims, math
from distflow.ops.creation import one_hot
from distflow.ops.prims.host import host_call
from distflow.ops.reduce import reduce_max, reduce_sum


class DataLayer(Layer):
    """A layer that takes numbers, strings and nested lists of them, and casts none of them.

    Its outputs' dtypes are its own, not the policy's, so they are found by tracing `call`.
    """

    _allow_non_tensor_positional_args = True

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._convert_input_args = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the outputs for tensors, arrays, numbers, strings, or nested lists of them."""
        if args:
            args = (self._as_tensors(args[0]), *args[1:])
        return super().__call__(*args, **kwargs)

    def _as_tensors(self, inputs: Any) -> Any:
        return as_tensor(inputs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what `call` gives, dtype included."""
        return self._traced_specs(*args, **kwargs)


def as_tensor(value: Any) -> Any:
    """Returns a value as a tensor: lists of strings and scalars too."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Variable):
        return value.value()
    if isinstance(value, str | bytes | list | tuple):
        value = np.asarray(value)
    return convert_to_tensor(value)


def batches(data: Any, batch_size: int | None = None, steps: int | None = None) -> Iterator[Any]:
    """Yields the arrays that `adapt` reads: the batches of a dataset, or the one array.

    Raises:
      InvalidArgumentError: if a dataset has elements of several parts.
    """
    if isinstance(data, Dataset) or _is_iterator(data):
        for step, batch in enumerate(data):
            if steps is not None and step >= steps:
                return
            if isinstance(batch, tuple | list | dict):
                raise errors.invalid(
                    "adapt", "a dataset whose elements are single tensors", f"{type(batch)}",
                    "Drop the labels: dataset.map(lambda x, y: x).",
                )  # fmt: skip
            yield as_array(batch)
        return
    yield as_array(data)


def _is_iterator(data: Any) -> bool:
    return hasattr(data, "__next__") and not isinstance(data, Tensor)


def as_array(value: Any) -> Any:
    """Returns a value as a NumPy array; strings as objects of bytes."""
    if isinstance(value, np.ndarray) and value.dtype.kind not in "UOS":
        return value
    # Of a scalar string, `numpy()` gives bytes, as in TensorFlow.
    return as_tensor(value).array


def check_mode(where: str, mode: Any, allowed: tuple[str, ...], sparse: Any = False) -> None:
    """Raises InvalidArgumentError unless the output mode is among the allowed ones."""
    if mode not in allowed:
        raise errors.invalid(
            where, f"Unknown value for `output_mode`. Allowed values are: {allowed}",
            f"output_mode={mode}",
        )  # fmt: skip
    if sparse and mode == "int":
        raise errors.invalid(
            where, "`sparse` may only be true if `output_mode` is 'one_hot', 'multi_hot' or "
            "'count'", f"sparse={sparse} and output_mode={mode}",
        )  # fmt: skip
    if sparse:
        raise errors.UnimplementedError(f"{where}: sparse tensors are not there yet.")


def encode(ids: Any, mode: str, depth: int, dtype: Any, weights: Any = None,
           idf: Any = None) -> Any:  # fmt: skip
    """Returns ids in an encoding.

    Args:
      ids: int tensor [...]; those outside [0, depth) count for nothing.
      mode: "int" gives the ids; "one_hot" [..., depth] for each, a last dimension of 1 dropped;
        "multi_hot", "count" and "tf_idf" what the last dimension holds, [..., depth].
      weights: of the ids, for "count".
      idf: weights [depth], for "tf_idf".
    """
    wanted = dtypes.as_dtype(dtype)
    if mode == "int":
        return math.cast(ids, wanted)
    if ids.ndim == 0:
        ids = array.expand_dims(ids, 0)
    if mode == "one_hot":
        if ids.shape[-1] == 1 and ids.ndim > 1:
            ids = array.squeeze(ids, -1)
        return one_hot(ids, depth, dtype=wanted)
    hits = one_hot(ids, depth, dtype=wanted)
    if mode == "multi_hot":
        return reduce_max(hits, -2)
    if weights is not None:
        hits = hits * array.expand_dims(math.cast(weights, wanted), -1)
    counts = reduce_sum(hits, -2)
    return counts if idf is None else counts * math.cast(idf, wanted)


def encoded_shape(shape: Any, mode: str, depth: Any) -> Any:
    """Returns the shape of `encode`'s result."""
    shape = tuple(shape)
    if mode == "int":
        return shape
    if mode == "one_hot" and not (shape and shape[-1] == 1 and len(shape) > 1):
        return (*shape, depth)
    return (*shape[:-1], depth)


def on_host(function: Any, inputs: list[Any], dtype: Any, shape: Any) -> Any:
    """Returns what a function of NumPy arrays gives; it is never compiled."""
    (result,) = host_call(
        *inputs, fn=function, dtypes=(dtypes.as_dtype(dtype),), shapes=(tuple(shape),)
    )
    return result


def known_minimum(ids: Any) -> Any:
    """Returns the smallest id, or None where a trace does not know it."""
    found = dims.known(ids)
    return None if found is None or not found.size else found.min()
