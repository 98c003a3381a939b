"""py_function and numpy_function: Python code on values, at once or when a trace runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes, errors, specs
from distflow.core import context, convert
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor
from distflow.ops.prims import host


def py_function(
    func: Callable[..., Any] | None = None, inp: Any = None, Tout: Any = None,
    name: Any = None,
) -> Any:  # fmt: skip
    """Returns func(*inp), where func sees eager tensors also inside a traced function.

    Args:
      func: takes tensors, returns one value or a list of values.
      inp: tensors.
      Tout: dtype of the result, or a list for several; [] or None for no result. Inside a trace
        each must say its rank: tf.TensorSpec([None, 3], tf.float32).

    Eagerly gradients flow through func; traced they do not.
    """
    assert func is not None
    if context.executing_eagerly():
        result = func(*(convert_to_tensor(x) for x in inp or []))
        return _eager(result, Tout)
    return _traced(lambda *arrays: func(*map(EagerTensor, arrays)), inp, Tout, "py_function")


def numpy_function(
    func: Callable[..., Any] | None = None, inp: Any = None, Tout: Any = None,
    stateful: bool = True, name: Any = None,
) -> Any:  # fmt: skip
    """Returns func(*inp), where func takes and returns NumPy arrays; no gradient flows."""
    assert func is not None
    if context.executing_eagerly():
        arrays = [np.array(convert_to_tensor(x)) for x in inp or []]
        with context.without_observers():
            return _eager(func(*arrays), Tout)
    return _traced(func, inp, Tout, "numpy_function")


def _is_list(outputs: Any) -> bool:
    return isinstance(outputs, list | tuple)


def _eager(result: Any, outputs: Any) -> Any:
    if outputs is None or (_is_list(outputs) and not outputs):
        return []
    if not _is_list(outputs):
        return _as(result, outputs)
    if len(result) != len(outputs):
        raise errors.invalid(
            "py_function", f"the function must return {len(outputs)} values", str(len(result))
        )
    return [_as(r, t) for r, t in zip(result, outputs)]


def _as(value: Any, wanted: Any) -> Any:
    if isinstance(value, list | tuple):
        value = value[0] if len(value) == 1 else value
    dtype = getattr(wanted, "dtype", None) or dtypes.as_dtype(wanted)
    if isinstance(value, np.ndarray | np.generic):
        return convert.constant(value, dtype)
    return convert_to_tensor(value, dtype)


def _traced(func: Callable[..., Any], inp: Any, outputs: Any, where: str) -> Any:
    given = outputs if _is_list(outputs) else [] if outputs is None else [outputs]
    for one in given:
        if not isinstance(one, specs.TensorSpec) or one.shape.rank is None:
            raise errors.invalid(
                where, "inside a trace Tout must say the rank of each result", repr(one),
                "Give tf.TensorSpec(shape, dtype), with None for unknown dimensions.",
            )  # fmt: skip

    def run(*arrays: Any) -> tuple[Any, ...]:
        with context.init_scope():
            result = func(*(a.copy() for a in arrays))
            if not given:
                return ()
            values = result if _is_list(outputs) else [result]
            return tuple(np.asarray(_as(v, t)) for v, t in zip(values, given, strict=True))

    results = host.host_call(
        *(convert_to_tensor(x) for x in inp or []),
        fn=run,
        dtypes=tuple(t.dtype for t in given),
        shapes=tuple(tuple(t.shape) for t in given),
    )
    return list(results) if _is_list(outputs) or not given else results[0]
