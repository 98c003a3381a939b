"""Strings: conversion, joining, case, hashing and regular expressions, on the host."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops import farmhash
from distflow.ops.prims import host


def _strings(where: str, value: Any) -> Any:
    x = convert_to_tensor(value)
    if x.dtype is not dtypes.string:
        raise errors.DtypeMismatchError(f"{where}: expected string; received {x.dtype.name}.")
    return x


def _each(x: Any, function: Callable[[Any], Any], out: dtypes.DType = dtypes.string) -> Any:
    """Applies a Python function to every element."""

    def run(array: Any) -> Any:
        result = np.empty(array.shape, out.numpy)
        flat = result.reshape(-1)
        for i, item in enumerate(array.reshape(-1)):
            flat[i] = function(item)
        return result

    (y,) = host.host_call(x, fn=run, dtypes=(out,), shapes=(tuple(x.shape),))
    return y


def as_string(
    input: Any, precision: int = -1, scientific: bool = False, shortest: bool = False,
    width: int = -1, fill: str = "", name: Any = None,
) -> Tensor:  # fmt: skip
    """Returns each number as text: ints as "%d", floats as "%f" (or "%e", "%g"), bools in words."""
    x = convert_to_tensor(input)
    if scientific and shortest:
        raise errors.invalid("as_string", "at most one of scientific and shortest", "both")
    if len(fill) > 1:
        raise errors.invalid("as_string", "fill must be one character", repr(fill))
    size = f"{fill}{width}" if width > -1 else ""
    digits = f".{precision}" if precision > -1 else ""
    kind = "e" if scientific else "g" if shortest else "f"

    def text(item: Any) -> bytes:
        if isinstance(item, bytes):
            return item
        if isinstance(item, np.bool_):
            return b"true" if item else b"false"
        if isinstance(item, np.integer):
            return (f"%{size}d" % int(item)).encode()
        form = f"%{size}{digits}{kind}"
        if isinstance(item, np.complexfloating):
            return f"({form % item.real},{form % item.imag})".encode()
        return (form % float(item)).encode()

    return _each(x, text)


def to_number(input: Any, out_type: Any = dtypes.float32, name: Any = None) -> Tensor:
    """Returns the number that each string spells.

    Raises:
      InvalidArgumentError: for a string that is no number, or no int of an int dtype.
    """
    x, wanted = _strings("to_number", input), dtypes.as_dtype(out_type)

    def number(item: bytes) -> Any:
        try:
            value = int(item) if wanted.is_integer else float(item)
        except ValueError:
            raise errors.invalid(
                "to_number", f"strings must spell a {wanted.name}", repr(item)
            ) from None
        if wanted.is_integer and not wanted.min <= value <= wanted.max:
            raise errors.invalid("to_number", f"strings must spell a {wanted.name}", repr(item))
        return value

    return _each(x, number, wanted)


def join(inputs: Any, separator: Any = "", name: Any = None) -> Tensor:
    """Returns the strings of several tensors joined element by element; scalars broadcast."""
    parts = [_strings("join", x) for x in inputs]
    if not parts:
        raise errors.invalid("join", "at least one tensor is needed", "an empty list")
    glue = separator.encode() if isinstance(separator, str) else separator
    full: tuple[Any, ...] = ()
    for part in parts:
        if part.ndim and full:
            shapes.merge("join", full, part.shape)
        full = tuple(part.shape) or full

    def run(*arrays: Any) -> Any:
        spread = np.broadcast_arrays(*arrays)
        result = np.empty(spread[0].shape, object)
        flat = result.reshape(-1)
        for i, row in enumerate(zip(*(a.reshape(-1) for a in spread))):
            flat[i] = glue.join(row)
        return result

    (y,) = host.host_call(*parts, fn=run, dtypes=(dtypes.string,), shapes=(full,))
    return y


def reduce_join(
    inputs: Any, axis: Any = None, keepdims: bool = False, separator: str = "", name: Any = None
) -> Tensor:
    """Returns the strings joined along axes (default: all), in the order the axes are given."""
    x = _strings("reduce_join", inputs)
    if axis is None:
        order = list(range(x.ndim))
    else:
        given = axis if isinstance(axis, list | tuple) else [axis]
        order = [shapes.axis("reduce_join", int(a), x.ndim) for a in given]
    kept = [i for i in range(x.ndim) if i not in order]
    out = tuple(1 if i in order else d for i, d in enumerate(x.shape))
    out = out if keepdims else tuple(x.shape[i] for i in kept)
    glue = separator.encode()

    def run(array: Any) -> Any:
        lead = tuple(array.shape[i] for i in kept)
        rows = np.transpose(array, [*kept, *order]).reshape(int(np.prod(lead, dtype=int)), -1)
        result = np.empty(len(rows), object)
        for i, row in enumerate(rows):
            result[i] = glue.join(row)
        full = [1 if i in order else d for i, d in enumerate(array.shape)]
        return result.reshape(full if keepdims else lead)

    (y,) = host.host_call(x, fn=run, dtypes=(dtypes.string,), shapes=(out,))
    return y


def length(input: Any, unit: str = "BYTE", name: Any = None) -> Tensor:
    """Returns the length of each string in bytes, or in characters with unit="UTF8_CHAR"."""
    if unit not in ("BYTE", "UTF8_CHAR"):
        raise errors.invalid("length", "unit must be BYTE or UTF8_CHAR", repr(unit))
    count = len if unit == "BYTE" else lambda item: len(item.decode("utf-8", "replace"))
    return _each(_strings("length", input), count, dtypes.int32)


def substr(input: Any, pos: int, len: int, unit: str = "BYTE", name: Any = None) -> Tensor:
    """Returns `len` bytes (or characters) of each string from position `pos` (may be negative)."""
    if unit not in ("BYTE", "UTF8_CHAR"):
        raise errors.invalid("substr", "unit must be BYTE or UTF8_CHAR", repr(unit))
    start, count = int(pos), int(len)

    def cut(item: bytes) -> bytes:
        text: Any = item if unit == "BYTE" else item.decode("utf-8", "replace")
        size = text.__len__()
        if not -size <= start <= size:
            raise errors.invalid("substr", f"pos must lie within {item!r}", str(start))
        first = start + size if start < 0 else start
        part = text[first : first + count]
        return part if unit == "BYTE" else part.encode()

    return _each(_strings("substr", input), cut)


def _cased(name: str, of_bytes: Any, of_text: Any) -> Any:
    def change(input: Any, encoding: str = "", name: Any = None) -> Tensor:
        if encoding not in ("", "utf-8"):
            raise errors.invalid(change.__name__, "encoding must be '' or 'utf-8'", repr(encoding))
        function = of_text if encoding else of_bytes
        return _each(_strings(change.__name__, input), function)

    change.__name__ = change.__qualname__ = name
    change.__doc__ = f"Returns each string in {name} case: ASCII letters only, or all of UTF-8."
    return change


lower = _cased("lower", bytes.lower, lambda item: item.decode("utf-8").lower().encode())
upper = _cased("upper", bytes.upper, lambda item: item.decode("utf-8").upper().encode())


def strip(input: Any, name: Any = None) -> Tensor:
    """Returns each string without white space at its ends."""
    return _each(_strings("strip", input), bytes.strip)


# -- hashing -------------------------------------------------------------------------------


def to_hash_bucket_fast(input: Any, num_buckets: int, name: Any = None) -> Tensor:
    """Returns FarmHash Fingerprint64 of each string modulo num_buckets, as int64 (TF's values)."""
    if num_buckets < 1:
        raise errors.invalid("to_hash_bucket_fast", "num_buckets must be >= 1", str(num_buckets))
    buckets = int(num_buckets)
    return _each(
        _strings("to_hash_bucket_fast", input),
        lambda item: farmhash.fingerprint64(item) % buckets,
        dtypes.int64,
    )


# -- regular expressions -------------------------------------------------------------------


def _compile(where: str, pattern: Any) -> re.Pattern[bytes]:
    text = pattern.encode() if isinstance(pattern, str) else bytes(pattern)
    try:
        return re.compile(text)
    except re.error as error:
        raise errors.invalid(where, "a regular expression", f"{text!r}: {error}") from error


def regex_replace(
    input: Any, pattern: Any, rewrite: Any, replace_global: bool = True, name: Any = None
) -> Tensor:
    r"""Returns each string with matches of `pattern` replaced; \0 to \9 name groups.

    Patterns are Python's; TF's RE2 syntax is nearly the same.
    """
    matcher = _compile("regex_replace", pattern)
    text = rewrite.encode() if isinstance(rewrite, str) else bytes(rewrite)
    template = re.sub(rb"\\(\d)", rb"\\g<\1>", text)
    count = 0 if replace_global else 1
    return _each(
        _strings("regex_replace", input), lambda item: matcher.sub(template, item, count=count)
    )


def regex_full_match(input: Any, pattern: Any, name: Any = None) -> Tensor:
    """Returns whether each string matches the pattern as a whole."""
    matcher = _compile("regex_full_match", pattern)
    return _each(
        _strings("regex_full_match", input),
        lambda item: matcher.fullmatch(item) is not None,
        dtypes.bool_,
    )
