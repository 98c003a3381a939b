"""The one dispatch point: convert, check, run or record, tell the tapes.

Every operation of distflow comes through `bind`. Eager tensors run the NumPy reference at once; a
trace in force, or a symbolic operand, hands the operation to its own interpreter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.core import context, convert
from distflow.core.tensor import EagerTensor, Tensor


def bind(primitive: Any, *inputs: Any, **attributes: Any) -> Any:
    """Applies a primitive in the interpreter in force; returns a tensor or a tuple of tensors."""
    values = operands(primitive, inputs)
    interpreter = context.interpreter()
    for value in values:
        if value.interpreter is not None:
            interpreter = value.interpreter.resolve(interpreter)
            break
    result = interpreter.run(primitive, values, attributes)
    observers = context.state.observers
    if observers:
        outputs = result if isinstance(result, tuple) else (result,)
        for observer in tuple(observers):
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
        return tuple(
            value if hasattr(value, "is_variable") else convert.convert_to_tensor(value)
            for value in inputs
        )
    return convert.match(primitive.name, inputs, primitive.match)


class EagerInterpreter:
    """Checks dtypes and shapes by the primitive's rules, then runs its reference."""

    is_eager = True

    def run(self, primitive: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Returns EagerTensors."""
        arrays = [x._array if isinstance(x, EagerTensor) else x for x in inputs]
        primitive.dtype_rule(*[x.dtype for x in inputs], **attributes)
        primitive.shape_rule(*[x.shape for x in arrays], **attributes)
        result = primitive.reference(*arrays, **attributes)
        if isinstance(result, tuple):
            return tuple(map(_wrap, result))
        return _wrap(result)


def _wrap(value: Any) -> EagerTensor:
    return EagerTensor(value if isinstance(value, np.ndarray) else np.asarray(value))


context.set_base_interpreter(EagerInterpreter())
