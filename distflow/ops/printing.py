"""tf.print: values of tensors on a stream, in program order, also inside traced functions."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from distflow.base import shapes
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import Tensor
from distflow.ops.prims import host

_SHOWN = 3


def print(*inputs: Any, **kwargs: Any) -> None:
    """Prints tensors and other values, in program order also inside traced functions.

    Args:
      *inputs: printed one after another; tensors and nested structures of them with their values.
      output_stream: sys.stderr (the default), sys.stdout, or "file://path" to append to.
      summarize: entries shown at both ends of each dimension; default 3, -1 shows all.
      sep, end: as of Python's print.
    """
    stream = kwargs.pop("output_stream", None)
    summarize = kwargs.pop("summarize", None) or _SHOWN
    separator, end = kwargs.pop("sep", " "), kwargs.pop("end", "\n")
    kwargs.pop("name", None)
    if kwargs:
        raise TypeError(f"tf.print got unexpected arguments {sorted(kwargs)}")
    tensors: list[Any] = []
    layout = [_layout(value, tensors) for value in inputs]

    def run(*values: Any) -> tuple[Any, ...]:
        parts = [_show(part, values, summarize, top=True) for part in layout]
        _write(stream, separator.join(parts) + end)
        return ()

    host.host_call(*tensors, fn=run, dtypes=(), shapes=())


def _layout(value: Any, tensors: list[Any]) -> Any:
    """A structure whose tensors are replaced by positions in `tensors`."""
    if isinstance(value, Tensor | np.ndarray) or hasattr(value, "is_variable"):
        tensors.append(convert_to_tensor(value))
        return _Slot(len(tensors) - 1)
    if isinstance(value, dict):
        return {k: _layout(v, tensors) for k, v in value.items()}
    if isinstance(value, list | tuple) and not isinstance(value, shapes.TensorShape):
        return [_layout(v, tensors) for v in value], isinstance(value, tuple)
    return _Literal(value)


class _Slot(int):
    """The position of a tensor among the printed ones."""


class _Literal:
    """A value that is printed as Python prints it."""

    def __init__(self, value: Any):
        self.value = value


def _show(part: Any, values: Any, limit: int, top: bool = False) -> str:
    if isinstance(part, _Slot):
        return text(values[part], limit)
    if isinstance(part, _Literal):
        return str(part.value) if top or not isinstance(part.value, str) else repr(part.value)
    if isinstance(part, dict):
        inner = ", ".join(f"{k!r}: {_show(v, values, limit)}" for k, v in part.items())
        return "{" + inner + "}"
    items, is_tuple = part
    inner = ", ".join(_show(v, values, limit) for v in items)
    comma = "," if is_tuple and len(items) == 1 else ""
    return f"({inner}{comma})" if is_tuple else f"[{inner}]"


def text(array: Any, limit: int) -> str:
    """Returns a tensor's value as TF prints it: [1 2 3 ... 8 9 10], rows on lines of their own."""
    if array.ndim == 0:
        return _element(array[()])
    return _rows(array, limit, 1)


def _rows(array: Any, limit: int, depth: int) -> str:
    size = len(array)
    if limit < 0 or size <= 2 * limit:
        picked: list[Any] = list(range(size))
    else:
        picked = [*range(limit), None, *range(size - limit, size)]
    if array.ndim == 1:
        return "[" + " ".join("..." if i is None else _element(array[i]) for i in picked) + "]"
    gap = "\n" * (array.ndim - 1) + " " * depth
    rows = ["..." if i is None else _rows(array[i], limit, depth + 1) for i in picked]
    return "[" + gap.join(rows) + "]"


def _element(value: Any) -> str:
    if isinstance(value, bytes):
        return '"' + value.decode("utf-8", "backslashreplace") + '"'
    if isinstance(value, np.bool_):
        return "1" if value else "0"
    if isinstance(value, np.integer):
        return str(int(value))
    if isinstance(value, np.complexfloating):
        return f"({value.real:g},{value.imag:g})"
    number = float(value)
    if value.dtype == np.float64:
        return _shortest(number, 15, 17, float)
    return _shortest(number, 6, 9, np.float32)


def _shortest(number: float, few: int, many: int, read: Any) -> str:
    """As few digits as give the number back."""
    with np.errstate(all="ignore"):
        short = f"{number:.{few}g}"
        exact = not np.isfinite(number) or read(short) == read(number)
    return short if exact else f"{number:.{many}g}"


def _write(stream: Any, text: str) -> None:
    if isinstance(stream, str) and stream.startswith("file://"):
        with open(stream[len("file://") :], "a", encoding="utf-8") as file:
            file.write(text)
        return
    target = sys.stderr if stream is None else stream
    target.write(text)
    target.flush()
