"""The one dispatch point: convert, check, run or record, tell the tapes.

Every operation of distflow comes through `bind`. Eager tensors run at once: on the NumPy reference
or, if a room above has one for their sizes, on a native kernel. A trace in force, or a symbolic
operand, hands the operation to its own interpreter.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.core import context, convert, native
from distflow.core.tensor import EagerTensor, Tensor

# Answers of the rules that a primitive remembers; shapes that vary without end start anew.
_MOST_ANSWERS = 4096
# Their attributes (user functions, graphs) are better not kept, or their rules must look again.
_UNREMEMBERED = frozenset({"host", "control", "custom", "collective", "state"})


def bind(primitive: Any, *inputs: Any, **attributes: Any) -> Any:
    """Applies a primitive in the interpreter in force; returns a tensor or a tuple of tensors."""
    state = context.state
    for value in inputs:
        if type(value) is not EagerTensor:
            values = operands(primitive, inputs)
            interpreter = state.interpreters[-1] if state.interpreters else _eager
            for operand in values:
                if operand.interpreter is not None:
                    interpreter = operand.interpreter.resolve(interpreter)
                    break
            break
    else:
        values = inputs
        interpreter = state.interpreters[-1] if state.interpreters else _eager
    result = interpreter.run(primitive, values, attributes)
    if state.observers:
        outputs = result if isinstance(result, tuple) else (result,)
        for observer in tuple(state.observers):
            observer.record(primitive, values, outputs, attributes)
    return result


def operands(primitive: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Returns the inputs as tensors (or Variables, where the primitive keeps them)."""
    for value in inputs:
        if not isinstance(value, Tensor):
            break
    else:
        return inputs
    if primitive.keeps_variables:
        if len(inputs) == 1 and hasattr(value, "is_variable"):
            return inputs
        return tuple([
            value
            if isinstance(value, Tensor) or hasattr(value, "is_variable")
            else convert.convert_to_tensor(value)
            for value in inputs
        ])  # fmt: skip
    return convert.match(primitive.name, inputs, primitive.match)


class EagerInterpreter:
    """Checks dtypes and shapes by the primitive's rules, then runs a kernel or its reference."""

    is_eager = True

    def run(self, primitive: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Returns EagerTensors."""
        arrays = [x._array if type(x) is EagerTensor else _operand(x) for x in inputs]
        _check(primitive, inputs, arrays, attributes)
        least = primitive.least
        if least:
            for array in arrays:
                if array.size >= least:
                    result = native.run(primitive, arrays, attributes)
                    if result is not None:
                        return EagerTensor(result)
                    break
        if primitive.is_quiet:
            # Taken off the list while it is used: a finalizer may bind in the middle of this.
            free = _quiet.free
            run = free.pop() if free else _quiet.make()
            try:
                result = run(primitive.bare, *arrays, **attributes)
            finally:
                free.append(run)
        else:
            result = primitive.reference(*arrays, **attributes)
        if type(result) is np.ndarray:
            return EagerTensor(result)
        if isinstance(result, tuple):
            return tuple([_wrap(value) for value in result])
        return _wrap(result)


def _operand(value: Any) -> Any:
    return value._array if isinstance(value, EagerTensor) else value


def _wrap(value: Any) -> EagerTensor:
    return EagerTensor(value if isinstance(value, np.ndarray) else np.asarray(value))


def _check(
    primitive: Any, inputs: tuple[Any, ...], arrays: list[Any], attributes: dict[str, Any]
) -> None:
    """Raises what the rules raise; what they have once accepted they are not asked again."""
    family = primitive.family
    key: Any
    if family == "unary":
        key = inputs[0].dtype.name
    elif family == "binary":
        x, y = arrays
        # Elementwise operations accept every shape, if it is the same one.
        if x.shape == y.shape:
            key = inputs[0].dtype.name, inputs[1].dtype.name
        else:
            key = inputs[0].dtype.name, x.shape, inputs[1].dtype.name, y.shape
    elif family in _UNREMEMBERED:
        key = None
    else:
        parts = list(attributes.items())
        for x, a in zip(inputs, arrays):
            parts.append((x.dtype.name, a.shape))
        key = tuple(parts)
    accepted = primitive.accepted
    try:
        if key in accepted:
            return
    except TypeError:
        key = None  # an attribute that cannot be hashed
    primitive.dtype_rule(*[x.dtype for x in inputs], **attributes)
    primitive.shape_rule(*[a.shape for a in arrays], **attributes)
    if key is not None:
        if len(accepted) >= _MOST_ANSWERS:
            accepted.clear()
        accepted.add(key)


class _Quiet(threading.local):
    """Runs functions with NumPy's warnings off, as `np.errstate`, at a fifth of its cost.

    NumPy keeps what it warns of in a context variable: contexts of our own hold it set for good.
    """

    def __init__(self) -> None:
        self.free: list[Callable[..., Any]] = []

    def make(self) -> Callable[..., Any]:
        """Returns a function that calls another one without warnings."""
        own = contextvars.copy_context()
        before = np.geterr()
        own.run(np.seterr, all="ignore")
        if np.geterr() == before and set(own.run(np.geterr).values()) == {"ignore"}:
            return own.run
        # NumPy 1 keeps it by thread.
        np.seterr(**before)
        return _with_errstate


def _with_errstate(function: Any, *args: Any, **attributes: Any) -> Any:
    with np.errstate(all="ignore"):
        return function(*args, **attributes)


_quiet = _Quiet()
_eager = EagerInterpreter()
context.set_base_interpreter(_eager)
