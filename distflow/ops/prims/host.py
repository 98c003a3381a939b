"""host_call: a Python function on NumPy arrays as one operation; it is never compiled.

Serves strings, results whose shape depends on the data, and `py_function`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors, shapes
from distflow.core.primitive import Primitive


def _run(*arrays: Any, fn: Any, dtypes: Any, shapes: Any, gradient: Any = None) -> Any:
    results = fn(*map(_read_only, arrays))
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(dtypes):
        raise errors.invalid(
            "host_call", f"the function must return {len(dtypes)} arrays", str(len(results))
        )
    arrays_out = tuple(
        _strings(r) if d.kind == "s" else np.asarray(r, d.numpy) for r, d in zip(results, dtypes)
    )
    for array, shape in zip(arrays_out, shapes):
        _check(array, shape)
    return arrays_out


def _read_only(array: Any) -> Any:
    # The user's function must not write into a tensor's storage.
    view = array.view()
    view.flags.writeable = False
    return view


def _strings(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else np.asarray(value, object)


def _check(array: Any, shape: Any) -> None:
    shapes.merge("host_call", shape, array.shape)


def _gradient(g: Any, out: Any, *inputs: Any, gradient: Any = None, **attributes: Any) -> Any:
    if gradient is None:
        return (None,) * len(inputs)
    return gradient(g, out, *inputs)


# fn(*arrays) -> array or tuple; dtypes, shapes: of the results; gradient: an optional rule.
host_call = Primitive(
    "host_call",
    lambda *inputs, dtypes, **attributes: tuple(dtypes),
    lambda *inputs, shapes, **attributes: list(shapes),
    _run,
    _gradient,
    family="host",
    effect="order",
)
