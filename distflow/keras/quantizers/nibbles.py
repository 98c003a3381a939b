"""Two integers of four bits in one byte: the first of a pair in the low half."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.core.convert import convert_to_tensor


def pack_int4(arr: Any, axis: int = 0, dtype: str = "int8") -> tuple[Any, tuple[int, ...], int]:
    """Returns (bytes, their shape, length of the axis before), a zero filling up an odd length.

    Args:
      arr: int8 in [-8, 7], or uint8 in [0, 15].
      axis: along which neighbours become one byte.
    """
    _check(dtype)
    values = np.asarray(convert_to_tensor(arr).numpy())
    if values.dtype.name != dtype:
        raise TypeError(f"Expected {dtype} tensor for packing, got {values.dtype.name}.")
    rows = np.moveaxis(values, axis, 0)
    length = len(rows)
    if length % 2:
        rows = np.concatenate([rows, np.zeros_like(rows[:1])])
    low, high = rows[::2].view(np.uint8) & 15, rows[1::2].view(np.uint8) & 15
    packed = np.ascontiguousarray(np.moveaxis((low | high << 4).view(dtype), 0, axis))
    return convert_to_tensor(packed), packed.shape, length


def unpack_int4(packed: Any, orig_len: int, axis: int = 0, dtype: str = "int8") -> Any:
    """Returns the integers that `pack_int4` put together.

    Args:
      orig_len: length of the axis before packing.
      dtype: "int8" for integers in [-8, 7], "uint8" for [0, 15].
    """
    _check(dtype)
    values = np.asarray(convert_to_tensor(packed).numpy())
    if values.dtype.name not in ("int8", "uint8"):
        raise TypeError(f"Expected int8 or uint8 tensor for unpacking, got {values.dtype.name}")
    rows = np.moveaxis(values, axis, 0).view(np.uint8)
    pairs = np.stack([rows & 15, rows >> 4], 1).reshape(-1, *rows.shape[1:])[:orig_len]
    whole = (pairs ^ 8).astype(np.int8) - np.int8(8) if dtype == "int8" else pairs
    return convert_to_tensor(np.ascontiguousarray(np.moveaxis(whole.astype(dtype), 0, axis)))


def _check(dtype: str) -> None:
    if dtype not in ("int8", "uint8"):
        raise ValueError(f"Expected dtype to be 'int8' or 'uint8', but got '{dtype}'.")
