"""From Python values, NumPy arrays and Variables to tensors, with TF2's rules for dtypes.

Python ints become int32 (int64 if they are too large) and floats float32; NumPy arrays and
scalars keep their dtype, but integers within a list are Python ints. Beside a tensor both take
the tensor's dtype if that loses no kind (an int may become a float, never the reverse).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core import context
from distflow.core.tensor import EagerTensor, Tensor

_KIND_ORDER = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3, "s": 9}

# Classes that no conversion is registered for.
_PLAIN = frozenset({int, float, bool, np.ndarray})

# Classes of rooms above that know how to become a tensor: class -> function(value, dtype).
_conversions: list[tuple[type, Callable[[Any, Any], Any]]] = []


def register_tensor_conversion_function(
    base_type: type, conversion_func: Callable[..., Any], priority: int = 100
) -> None:
    """Lets instances of a class stand where a tensor is expected (TF's function of this name).

    `conversion_func(value, dtype=None, name=None, as_ref=False)` returns a tensor.
    """
    _conversions.append(
        (base_type, lambda value, dtype: conversion_func(value, dtype, None, False))
    )


def convert_to_tensor(
    value: Any, dtype: Any = None, dtype_hint: Any = None, name: str | None = None
) -> Tensor:
    """Returns `value` as a tensor.

    Args:
      value: tensor, Variable, NumPy array, Python scalar, or nested lists of these.
      dtype: required dtype; a tensor of another dtype is an error.
      dtype_hint: preferred dtype, used where the value allows it.
      name: ignored; eager tensors have no names.

    Raises:
      InvalidArgumentError: (also a TypeError) if the value cannot have that dtype.
    """
    wanted = None if dtype is None else dtypes.as_dtype(dtype)
    if not isinstance(value, Tensor):
        value = _to_tensor(value, wanted, dtype_hint)
    if wanted is not None and value.dtype is not wanted:
        raise errors.DtypeMismatchError(
            f"convert_to_tensor: expected dtype {wanted.name}; received a tensor of "
            f"{value.dtype.name}.\nConvert it with tf.cast(x, tf.{wanted.name})."
        )
    return value


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str = "Const") -> Tensor:
    """Returns a tensor that holds `value`, cast to `dtype` and filled out to `shape`.

    A single value fills the whole shape; otherwise the number of elements must agree.
    """
    if isinstance(value, Tensor):
        if not isinstance(value, EagerTensor):
            raise errors.invalid("constant", "the value must be known", repr(value))
        value = value.array
    array = to_array(value, None if dtype is None else dtypes.as_dtype(dtype), cast=True)
    if shape is not None:
        dims = tuple(int(d) for d in shape)
        if array.size == 1:
            array = np.broadcast_to(array.reshape(()), dims).copy()
        elif array.size == shapes.size(dims):
            array = array.reshape(dims)
        else:
            raise errors.invalid(
                "constant", f"shape {shapes.text(dims)} needs {shapes.size(dims)} elements",
                str(array.size),
            )  # fmt: skip
    return EagerTensor(array)


def to_array(value: Any, dtype: dtypes.DType | None = None, cast: bool = False) -> Any:
    """Returns a fresh NumPy array of a dtype that tensors store.

    Args:
      value: array, scalar, bytes, str, or nested lists.
      dtype: wanted dtype; without `cast` a float is not made an int silently.
      cast: NumPy arrays may also change kind (as `tf.constant` allows).
    """
    if isinstance(value, np.ndarray | np.generic):
        return _from_numpy(np.asarray(value), dtype, cast)
    if isinstance(value, bool | int | float | complex | str | bytes):
        return _from_python(_scalar(value), value, dtype)
    if isinstance(value, list | tuple):
        try:
            array = np.asarray([_element(v) for v in value]) if value else np.zeros(0, np.float32)
        except ValueError as error:
            raise errors.invalid(
                "convert_to_tensor", "rows must have equal lengths", f"{value!r:.120}",
                "Rows of unequal length need padding, or tf.ragged.",
            ) from error  # fmt: skip
        return _from_list(array, value, dtype, cast)
    if isinstance(value, range):
        return _from_python(np.asarray(value, np.int64), value, dtype)
    if value is None:
        raise _unconvertible(value, dtype)
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return _from_numpy(np.asarray(value), dtype, cast)
    if hasattr(value, "__dlpack__"):
        return _from_numpy(np.from_dlpack(value), dtype, cast)
    raise _unconvertible(value, dtype)


def match(
    where: str, inputs: tuple[Any, ...], positions: tuple[int, ...] | None
) -> tuple[Any, ...]:
    """Converts the inputs of an operation; those at `positions` (None: all) share one dtype."""
    if positions is None and len(inputs) == 2:
        x, y = inputs
        if not isinstance(x, Tensor) and getattr(x, "is_variable", False):
            x = _to_tensor(x, None, None)
            inputs = x, y
        if isinstance(x, Tensor):
            return inputs if isinstance(y, Tensor) else (x, _operand(where, y, x.dtype))
    chosen = range(len(inputs)) if positions is None else positions
    hint = None
    for position in chosen:
        value = inputs[position] if position < len(inputs) else None
        if isinstance(value, Tensor):
            hint = value.dtype
            break
        own = None if isinstance(value, np.ndarray | np.generic) else getattr(value, "dtype", None)
        if own is not None:
            hint = dtypes.as_dtype(own)
            break
    if hint is None:
        hint = _widest([inputs[p] for p in chosen if p < len(inputs)])
    return tuple(
        value
        if isinstance(value, Tensor)
        else _operand(where, value, hint if position in chosen else None)
        for position, value in enumerate(inputs)
    )


def _widest(values: list[Any]) -> dtypes.DType | None:
    """The common dtype where no tensor is among the operands: NumPy arrays before Python."""
    for value in values:
        if isinstance(value, np.ndarray | np.generic):
            return dtypes.string if value.dtype.kind in "SUO" else dtypes.as_dtype(value.dtype)
    if len(values) < 2:
        return None
    arrays = [to_array(value) for value in values]
    widest = max(arrays, key=lambda array: _KIND_ORDER[array.dtype.kind])
    return dtypes.of_array(widest)


def _operand(where: str, value: Any, hint: dtypes.DType | None) -> Tensor:
    if type(value) in (float, int) and hint is not None and hint.is_floating:
        # The common case of `x * 2.0`, without the search for a dtype; no dtype overflows here.
        if -6e4 < value < 6e4:
            return EagerTensor(_number(value, hint))
    try:
        tensor = _to_tensor(value, None, hint)
    except errors.DtypeMismatchError as error:
        raise errors.DtypeMismatchError(f"{where}: {error}") from error
    # A Python number beside a tensor must take its dtype; anything else is left to the dtype rule.
    if hint is not None and tensor.dtype is not hint and _all_python(value):
        raise errors.DtypeMismatchError(
            f"{where}: expected a value of dtype {hint.name}; received {value!r:.80}.\n"
            f"Convert the tensor beside it with tf.cast(x, tf.{tensor.dtype.name})."
        )
    return tensor


# Arrays of the Python numbers that programs hold, by number and dtype.
_numbers: dict[tuple[Any, str], np.ndarray[Any, Any]] = {}
_MOST_NUMBERS = 1024


def _number(value: Any, dtype: dtypes.DType) -> np.ndarray[Any, Any]:
    if value == 0:
        return np.asarray(value, dtype.numpy)  # 0.0 and -0.0 are equal keys
    key = value, dtype.name
    array = _numbers.get(key)
    if array is None:
        if len(_numbers) >= _MOST_NUMBERS:
            _numbers.clear()
        array = _numbers[key] = np.asarray(value, dtype.numpy)
    return array


def _to_tensor(value: Any, dtype: dtypes.DType | None, hint: Any) -> Tensor:
    if type(value) not in _PLAIN:
        for base, conversion in _conversions:
            if isinstance(value, base):
                return conversion(value, dtype)
    if isinstance(value, list | tuple) and _holds_tensor(value):
        return _stack(value, dtype)
    if dtype is not None:
        # A dtype that is asked for may also narrow a NumPy array, as in TF; a hint may not.
        return EagerTensor(to_array(value, dtype, cast=True))
    if hint is not None:
        preferred = dtypes.as_dtype(hint)
        try:
            return EagerTensor(to_array(value, preferred))
        except errors.DtypeMismatchError:
            pass
    return EagerTensor(to_array(value))


_stacker: Callable[[list[Any]], Tensor] | None = None


def set_stacker(stack: Callable[[list[Any]], Tensor]) -> None:
    """Registers the operation that packs lists holding tensors (called once, by `ops`)."""
    global _stacker
    _stacker = stack


def _stack(values: Any, dtype: dtypes.DType | None) -> Tensor:
    hint = dtype or next(
        (
            leaf.dtype
            for leaf in _leaves(values)
            if _is_convertible(leaf) and hasattr(leaf, "dtype")
        ),
        None,
    )
    parts = [
        _stack(v, hint)
        if isinstance(v, list | tuple)
        else (v if isinstance(v, Tensor) else _operand("stack", v, hint))
        for v in values
    ]
    if context.executing_eagerly() and all(isinstance(p, EagerTensor) for p in parts):
        if not context.state.observers:
            return EagerTensor(np.stack([p.array for p in parts]))  # type: ignore[attr-defined]
    assert _stacker is not None
    return _stacker(parts)


def _leaves(value: Any) -> Any:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _is_convertible(value: Any) -> bool:
    """Whether a value is a tensor, or of a class (Variable, say) that becomes one by itself."""
    return isinstance(value, Tensor) or any(isinstance(value, base) for base, _ in _conversions)


def _holds_tensor(values: Any) -> bool:
    return any(map(_is_convertible, _leaves(values)))


def _element(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_element(v) for v in value]
    return value.encode() if isinstance(value, str) else value


def _all_python(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_all_python(v) for v in value)
    return isinstance(value, bool | int | float | complex | str | bytes | range) and not isinstance(
        value, np.generic
    )


def _scalar(value: Any) -> Any:
    return np.asarray(value, object if isinstance(value, str | bytes) else None)


def _from_list(array: Any, value: Any, dtype: dtypes.DType | None, cast: bool) -> Any:
    """Lists: integers of any width are as Python's; a NumPy float among the leaves names a width.

    NumPy has chosen a common dtype by its own promotion; it is only a first guess.
    """
    if array.dtype.kind in "fc" and dtype is None:
        for leaf in _leaves(value):
            if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind == array.dtype.kind:
                return array.astype(leaf.dtype)
            if getattr(leaf, "dtype", np.dtype("O")) == dtypes.bfloat16.numpy:
                return array.astype(leaf.dtype)
    if array.dtype.kind in "biufcSUO" and (dtype is None or _all_python(value)):
        return _from_python(array, value, dtype)
    return _from_numpy(array, dtype, cast)


def _from_python(array: Any, value: Any, dtype: dtypes.DType | None) -> Any:
    """Python numbers: int -> int32 (int64 if it must), float -> float32, or the wanted dtype."""
    if array.dtype.kind in "SUO":
        if array.dtype == object and all(isinstance(v, int) for v in array.reshape(-1).tolist()):
            raise errors.invalid("convert_to_tensor", "integers must fit 64 bits", f"{value!r:.80}")
        if array.dtype.kind in "SU" and not all(isinstance(v, str | bytes) for v in _leaves(value)):
            # NumPy would write the numbers as text.
            raise errors.invalid("convert_to_tensor", "strings or numbers, not both in one list",
                                 f"{value!r:.120}")  # fmt: skip
        array = _strings(array)
        if dtype is not None and dtype is not dtypes.string:
            raise _unconvertible(value, dtype)
        return array
    kind = array.dtype.kind
    if dtype is None:
        dtype = {"b": dtypes.bool_, "i": dtypes.int32, "u": dtypes.int32, "f": dtypes.float32,
                 "c": dtypes.complex128}[kind]  # fmt: skip
        if kind in "iu" and array.size and not -(2**31) <= array.min() <= array.max() < 2**31:
            dtype = dtypes.int64
    if array.size and (_KIND_ORDER[kind] > _KIND_ORDER[dtype.kind] or dtype.kind == "s"):
        raise _unconvertible(value, dtype)
    if dtype.is_integer and array.size and kind != "b":
        low, high = int(array.min()), int(array.max())
        if low < int(dtype.min) or high > int(dtype.max):
            raise errors.invalid(
                "convert_to_tensor", f"values must fit {dtype.name} [{dtype.min}, {dtype.max}]",
                f"{value!r:.80}", "Give a wider dtype, for instance dtype=tf.int64.",
            )  # fmt: skip
    with np.errstate(over="ignore"):
        return array.astype(dtype.numpy)


def _from_numpy(array: Any, dtype: dtypes.DType | None, cast: bool) -> Any:
    if array.dtype.kind in "SUO":
        array = _strings(array)
        if dtype not in (None, dtypes.string):
            raise _unconvertible(array, dtype)
        return array
    try:
        own = dtypes.as_dtype(array.dtype)
    except TypeError as error:
        raise _unconvertible(array, dtype) from error
    if dtype is None or dtype is own:
        return array.astype(own.numpy, order="C", copy=True)
    if dtype is dtypes.string or not (cast or _KIND_ORDER[own.kind] <= _KIND_ORDER[dtype.kind]):
        raise _unconvertible(array, dtype)
    if own.is_complex and not dtype.is_complex:
        array = array.real
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy)


def _strings(array: Any) -> Any:
    flat = np.empty(array.size, object)
    for i, item in enumerate(array.reshape(-1).tolist()):
        if isinstance(item, str):
            item = item.encode()
        if not isinstance(item, bytes):
            raise _unconvertible(item, dtypes.string)
        flat[i] = item
    return flat.reshape(array.shape)


def _unconvertible(value: Any, dtype: dtypes.DType | None) -> errors.DtypeMismatchError:
    target = "a tensor" if dtype is None else f"a tensor of dtype {dtype.name}"
    shown = f"{type(value).__name__} {value!r:.80}"
    if isinstance(value, np.ndarray):
        shown = f"an array of {value.dtype} and shape {shapes.text(value.shape)}"
    return errors.DtypeMismatchError(
        f"convert_to_tensor: expected something that can become {target}; received {shown}."
    )
