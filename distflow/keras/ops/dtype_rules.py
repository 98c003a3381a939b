"""The dtype of results over mixed inputs, by Keras 3's rules (JAX's lattice with weak scalars).

Python numbers are weak: they take the dtype beside them if it is of their kind. Integers and
floats give the float's dtype, two floats the wider one; float16 and bfloat16 give float32.
Source: the type-promotion page of JAX's documentation.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable
from distflow.keras import settings
from distflow.ops import math

# Each dtype and those right above it; "int", "float" and "complex" are weak Python numbers.
_ABOVE = {
    "bool": ("int",), "int": ("uint8", "int8"), "uint8": ("uint16", "int16"),
    "uint16": ("uint32", "int32"), "uint32": ("uint64", "int64"), "uint64": ("float",),
    "int8": ("int16",), "int16": ("int32",), "int32": ("int64",), "int64": ("float",),
    "float": ("bfloat16", "float16", "complex"), "bfloat16": ("float32",),
    "float16": ("float32",), "float32": ("float64", "complex64"), "float64": ("complex128",),
    "complex": ("complex64",), "complex64": ("complex128",), "complex128": (),
}  # fmt: skip
_WEAK = {bool: "bool", int: "int", float: "float", complex: "complex"}


@functools.cache
def _upper(name: str) -> frozenset[str]:
    """A dtype and all above it."""
    return frozenset({name}).union(*(_upper(above) for above in _ABOVE[name]))


@functools.cache
def _join(names: frozenset[str]) -> str:
    common = frozenset.intersection(*map(_upper, names))
    for name in common:
        if common <= _upper(name):
            return name
    raise AssertionError(names)


def result_type(*given: Any) -> str:
    """Returns the name of the dtype of an operation on these dtypes or Python types.

    Raises:
      InvalidArgumentError: for something that is no dtype, or a string among numbers.
    """
    if not given:
        return settings.floatx()
    names = set()
    for one in given:
        name = settings.floatx() if one is None else _WEAK.get(one) or dtypes.as_dtype(one).name
        if name not in _ABOVE:
            if len(set(map(str, given))) == 1:
                return name
            raise errors.invalid("result_type", f"dtypes among {list(_ABOVE)}", name)
        names.add(name)
    found = _join(frozenset(names))
    weak = {"int": "int32", "float": settings.floatx(), "complex": "complex64"}
    return weak.get(found, found)


def tensor(x: Any, dtype: Any = None) -> Any:
    """Returns a value as a tensor, cast to a dtype if one is given."""
    if isinstance(x, Variable):
        x = convert_to_tensor(x)
    elif not isinstance(x, Tensor):
        x = convert_to_tensor(_array(x))
    return x if dtype is None else math.cast(x, dtype)


def _array(x: Any) -> Any:
    """Python floats take floatx; lists that hold tensors are stacked by the conversion."""
    if isinstance(x, float):
        return np.asarray(x, dtypes.as_dtype(settings.floatx()).numpy)
    return x


def _kind(x: Any) -> Any:
    if isinstance(x, bool | int | float | complex) and not isinstance(x, np.generic):
        return next(t for t in (bool, int, float, complex) if type(x) is t or isinstance(x, t))
    return x.dtype if isinstance(x, Tensor | Variable) else tensor(x).dtype


def promoted(*values: Any) -> list[Any]:
    """Returns the values as tensors of their common dtype."""
    dtype = result_type(*map(_kind, values))
    return [_cast(x, dtype) for x in values]


def floats(*values: Any) -> list[Any]:
    """Returns the values as tensors of their common dtype, integers in floatx."""
    dtype = dtypes.as_dtype(result_type(*map(_kind, values)))
    if not (dtype.is_floating or dtype.is_complex):
        dtype = dtypes.as_dtype(result_type(*map(_kind, values), float))
    return [_cast(x, dtype) for x in values]


def as_float(x: Any) -> Any:
    """Returns a value as a tensor of floats; integers in floatx."""
    return floats(x)[0]


def _cast(x: Any, dtype: Any) -> Any:
    wanted = dtypes.as_dtype(dtype)
    if isinstance(x, bool | int | float | complex) and not isinstance(x, np.generic):
        return convert_to_tensor(np.asarray(x).astype(wanted.numpy))
    x = tensor(x)
    return x if x.dtype is wanted else math.cast(x, wanted)


def as_axes(axis: Any, rank: int) -> tuple[int, ...]:
    """Returns axes >= 0 from None (all), an int or several."""
    if axis is None:
        return tuple(range(rank))
    given = axis if isinstance(axis, list | tuple) else (axis,)
    found = []
    for one in given:
        if not -rank <= one < max(rank, 1):
            raise errors.invalid("keras.ops", f"an axis in [{-rank}, {rank})", str(one))
        found.append(one % max(rank, 1))
    return tuple(found)
