"""constant, iota, random_bits: tensors from nothing but attributes, sizes and keys."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.primitive import Primitive
from distflow.ops.prims import philox
from distflow.ops.prims.factories import check_dtype


def _iota_dtype(*length: Any, dtype: Any, **attributes: Any) -> Any:
    if length:
        check_dtype("iota", dtypes.INTEGER, length[0])
    return check_dtype("iota", dtypes.REAL, dtype)


def _iota_shape(*count: Any, dtype: Any, length: Any) -> Any:
    if length is not None and length < 0:
        raise errors.invalid("iota", "the length must be >= 0", str(length))
    if count and tuple(count[0]) != ():
        raise errors.invalid("iota", "the length must be a scalar", shapes.text(count[0]))
    return (length,)


constant = Primitive(
    "constant",
    lambda *, value: dtypes.of_array(value),
    lambda *, value: value.shape,
    lambda *, value: value,
    None,
    family="creation",
)
# 0, 1, 2, ...: `length` elements, or as many as the scalar input says where length is None.
iota = Primitive(
    "iota",
    _iota_dtype,
    _iota_shape,
    lambda *count, dtype, length: np.arange(int(count[0]) if count else length, dtype=dtype.numpy),
    None,
    family="creation",
)


def _bits_dtype(key: Any, stream: Any, *target: Any, shape: Any) -> Any:
    for name, received in (("key", key), ("stream", stream)):
        if received is not dtypes.uint32:
            raise errors.DtypeMismatchError(
                f"random_bits: expected {name} of dtype uint32; received {received.name}."
            )
    return dtypes.uint32


def _bits_shape(key: Any, stream: Any, *target: Any, shape: Any) -> Any:
    if tuple(key) != (2,) or tuple(stream) != (2,):
        raise errors.invalid(
            "random_bits", "key and stream must have shape [2]",
            f"{shapes.text(key)} and {shapes.text(stream)}",
        )  # fmt: skip
    return tuple(shape)


def _bits_ref(key: Any, stream: Any, *target: Any, shape: Any) -> Any:
    dims = tuple(int(d) for d in target[0]) if target else shape
    return philox.bits(key, stream, int(np.prod(dims, dtype=np.int64))).reshape(dims)


# 32 random bits an element, a pure function of key, stream and the element's position.
random_bits = Primitive(
    "random_bits", _bits_dtype, _bits_shape, _bits_ref, None, family="creation",
    source="Salmon, Moraes, Dror & Shaw 2011, Parallel random numbers: as easy as 1, 2, 3",
)  # fmt: skip
