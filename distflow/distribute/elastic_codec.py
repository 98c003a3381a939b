"""What elastic workers send each other and keep: JSON and arrays as bytes. Nothing is pickled.

A message is the length of its head (4 bytes), the head (JSON), and its arrays, each aligned.
Results of steps may be tensors, arrays, numbers and text in tuples, lists and dictionaries.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.comm import buckets
from distflow.core import convert
from distflow.core.tensor import EagerTensor
from distflow.core.variable import Variable

_LENGTH = struct.Struct("<I")
_ALIGNMENT = 16
MAX_HEAD_BYTES = 64 << 20


def pack(head: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Returns a message as uint8; `unpack` gives head and arrays back."""
    arrays = buckets.as_arrays("elastic message", arrays)
    specs = buckets.encode(buckets.specs_of(arrays))
    text = json.dumps([head, specs], separators=(",", ":")).encode()
    text += b" " * (-(len(text) + _LENGTH.size) % _ALIGNMENT)
    lead = np.frombuffer(_LENGTH.pack(len(text)) + text, np.uint8)
    return np.concatenate([lead, *buckets.padded_parts(arrays)])


def unpack(message: np.ndarray[Any, Any]) -> tuple[Any, list[np.ndarray[Any, Any]]]:
    """Returns head and arrays of a message; the arrays are copies.

    Raises:
      DataLossError: if the bytes are no message.
    """
    try:
        data = np.ascontiguousarray(message).view(np.uint8)
        (length,) = _LENGTH.unpack_from(data.data)
        start = _LENGTH.size + length
        if length > MAX_HEAD_BYTES or start > data.size:
            raise ValueError(f"a head of {length} bytes in {data.size}")
        head, specs = json.loads(data[_LENGTH.size : start].tobytes())
        views = buckets.unpad(data[start:], buckets.decode(specs), ValueError)
    except (ValueError, TypeError, struct.error, RecursionError) as error:
        raise errors.DataLossError(f"elastic message: not readable: {error}") from error
    return head, [np.array(view) for view in views]


def describe(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """Returns the structure of a step's result as JSON; its arrays are added to the list.

    A variable becomes the tensor that it holds now. What cannot be sent (an object of the program's
    own, text tensors) becomes its type's name.
    """
    if isinstance(value, Variable):
        value = value.value()
    if value is None or isinstance(value, bool | int | float | str):
        return {"v": value}
    if isinstance(value, EagerTensor | np.ndarray | np.generic):
        kind = "t" if isinstance(value, EagerTensor) else "a"
        kind = "g" if isinstance(value, np.generic) else kind
        array = value.array if isinstance(value, EagerTensor) else np.asarray(value)
        if array.dtype.kind in "OSU":
            return {"o": f"an array of {array.dtype}"}
        arrays.append(array)
        return {kind: len(arrays) - 1}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"d": [[key, describe(item, arrays)] for key, item in value.items()]}
    if type(value) in (list, tuple):
        kind = "l" if isinstance(value, list) else "u"
        return {kind: [describe(item, arrays) for item in value]}
    return {"o": f"{type(value).__module__}.{type(value).__qualname__}"}


def restore(structure: Any, arrays: Sequence[np.ndarray[Any, Any]]) -> Any:
    """Returns the value that `describe` saw.

    Raises:
      UnimplementedError: for what could not be sent.
    """
    ((kind, item),) = structure.items()
    if kind == "o":
        raise errors.UnimplementedError(
            f"elastic job: a step returned {item}, which cannot be sent to other workers.\n"
            "Return tensors, arrays, numbers or text, in tuples, lists or dictionaries."
        )
    return _RESTORE[kind](item, arrays)


_RESTORE: dict[str, Callable[[Any, Sequence[np.ndarray[Any, Any]]], Any]] = {
    "v": lambda item, arrays: item,
    "t": lambda item, arrays: convert.constant(arrays[item]),
    "a": lambda item, arrays: arrays[item],
    "g": lambda item, arrays: arrays[item][()],
    "d": lambda item, arrays: {key: restore(child, arrays) for key, child in item},
    "l": lambda item, arrays: [restore(child, arrays) for child in item],
    "u": lambda item, arrays: tuple(restore(child, arrays) for child in item),
}
