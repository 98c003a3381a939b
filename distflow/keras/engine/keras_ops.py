"""Operations of Keras 3's functional models, by the names that its files give them.

Keras writes `x * 2` as an operation `Multiply`. Its arithmetic is known here both ways; reductions
and shapes are known for reading. What has no row is refused by name when a file is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import errors, nest
from distflow.keras.engine.keras_tensor import KerasTensor, output_specs
from distflow.keras.engine.operation import Operation
from distflow.ops import math, matmul, reduce, shaping

MODULE = "keras.src.ops.numpy"
# Primitives without attributes, and Keras's class for them.
WRITTEN = {
    "add": "Add", "sub": "Subtract", "mul": "Multiply", "div": "TrueDivide", "neg": "Negative",
    "pow": "Power", "abs": "Absolute", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "tanh": "Tanh",
    "sin": "Sin", "cos": "Cos", "max": "Maximum", "min": "Minimum", "eq": "Equal",
    "ne": "NotEqual", "lt": "Less", "le": "LessEqual", "gt": "Greater", "ge": "GreaterEqual",
}  # fmt: skip


def _axis(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, axis=None, keepdims=False: function(x, axis=axis, keepdims=keepdims)


# Keras's class -> the function here; a configuration's entries are keyword arguments.
TABLE: dict[str, Callable[..., Any]] = {
    "Add": math.add, "Subtract": math.subtract, "Multiply": math.multiply,
    "Divide": math.divide, "TrueDivide": math.divide, "Negative": math.negative,
    "Power": math.pow, "Absolute": math.abs, "Abs": math.abs, "Exp": math.exp, "Log": math.log,
    "Sqrt": math.sqrt, "Square": math.square, "Tanh": math.tanh, "Sin": math.sin,
    "Cos": math.cos, "Maximum": math.maximum, "Minimum": math.minimum, "Equal": math.equal,
    "NotEqual": math.not_equal, "Less": math.less, "LessEqual": math.less_equal,
    "Greater": math.greater, "GreaterEqual": math.greater_equal, "Matmul": matmul.matmul,
    "Mean": _axis(reduce.reduce_mean), "Sum": _axis(reduce.reduce_sum),
    "Max": _axis(reduce.reduce_max),
    "Min": _axis(reduce.reduce_min),
    "Reshape": lambda x, newshape: shaping.reshape(x, newshape),
    "Transpose": lambda x, axes=None: shaping.transpose(x, axes),
    "ExpandDims": lambda x, axis: shaping.expand_dims(x, axis),
    "Squeeze": lambda x, axis=None: shaping.squeeze(x, axis),
    "Concatenate": lambda xs, axis=0: shaping.concat(xs, axis),
    "GetItem": lambda x, key: x[_key(key)],
}  # fmt: skip


class KerasOp(Operation):
    """One operation of a Keras 3 file; `kind` is its class there, `config` its arguments."""

    kind = ""

    def __init__(self, name: str | None = None, **config: Any):
        super().__init__(name=name)
        self.config = config

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the operation's output: a value, or a KerasTensor for symbolic inputs."""
        if any(isinstance(x, KerasTensor) for x in nest.flatten((args, kwargs))):
            return self._note_call(args, kwargs, output_specs(self._run, *args, **kwargs))
        return self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        return TABLE[self.kind](*args, **self.config, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the name and the arguments."""
        return {"name": self.name, **self.config}


def knows(name: str) -> bool:
    """Whether an operation of Keras 3 has a class here."""
    return name in TABLE


def _key(key: Any) -> Any:
    """An index as files hold it: a list stands for the tuple that it was."""
    return tuple(key) if isinstance(key, list) else key


def __getattr__(name: str) -> type[KerasOp]:
    """Returns the class for an operation of a file (files name it as of this module).

    Raises:
      UnimplementedError: if the operation is not known here.
    """
    if not name[:1].isupper():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in TABLE:
        raise errors.UnimplementedError(
            f"load_model: expected operations among {sorted(TABLE)}; received keras.ops {name}.\n"
            "Put the computation into a layer of your own before saving."
        )
    return type(name, (KerasOp,), {"kind": name, "__module__": __name__})
