"""One table attaching + - * / @ [] and the comparisons to Tensor and Variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.core.tensor import Tensor
from distflow.core.variable import Variable
from distflow.ops import math, sliced_assign, slicing
from distflow.ops.matmul import matmul
from distflow.ops.prims import elementwise as p

# Python operator -> the operation, for `a op b` and (mirrored) `b op a`.
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": math.add,
    "sub": math.subtract,
    "mul": math.multiply,
    "truediv": math.divide,
    "floordiv": math.floordiv,
    "mod": math.floormod,
    "pow": math.pow,
    "matmul": matmul,
    "and": lambda x, y: p.and_(x, y),
    "or": lambda x, y: p.or_(x, y),
    "xor": lambda x, y: p.xor(x, y),
}
COMPARISON: dict[str, Callable[[Any, Any], Any]] = {
    "lt": math.less,
    "le": math.less_equal,
    "gt": math.greater,
    "ge": math.greater_equal,
}
UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": math.negative,
    "pos": lambda x: x,
    "abs": math.abs,
    "invert": lambda x: p.logical_not(x),
}


def _equal(x: Any, y: Any) -> Any:
    if y is None:
        return False
    if not _broadcastable(x, y):
        return False
    return p.eq(x, y)


def _not_equal(x: Any, y: Any) -> Any:
    if y is None:
        return True
    if not _broadcastable(x, y):
        return True
    return p.ne(x, y)


def _broadcastable(x: Any, y: Any) -> bool:
    """TF compares tensors of shapes that do not broadcast as unequal, without an error."""
    other = tuple(getattr(y, "shape", ()))
    return all(
        None in (a, b) or a == b or 1 in (a, b) for a, b in zip(reversed(x.shape), reversed(other))
    )


def _forward(operation: Callable[[Any, Any], Any]) -> Any:
    def method(self: Any, other: Any) -> Any:
        if _defers(other):
            return NotImplemented
        return operation(self, other)

    return method


def _mirrored(operation: Callable[[Any, Any], Any]) -> Any:
    def method(self: Any, other: Any) -> Any:
        return operation(other, self)

    return method


def _defers(other: Any) -> bool:
    """Composite values of rooms above (a PerReplica, say) handle operators themselves."""
    return getattr(other, "_handles_operators", False)


def _attach(cls: type) -> None:
    for name, operation in BINARY.items():
        setattr(cls, f"__{name}__", _forward(operation))
        setattr(cls, f"__r{name}__", _mirrored(operation))
    for name, operation in COMPARISON.items():
        setattr(cls, f"__{name}__", _forward(operation))
    for name, function in UNARY.items():
        setattr(cls, f"__{name}__", _method(function))
    cls.__eq__ = _forward(_equal)  # type: ignore[assignment]
    cls.__ne__ = _forward(_not_equal)  # type: ignore[assignment]
    cls.__getitem__ = slicing.getitem  # type: ignore[index]


def _method(function: Callable[[Any], Any]) -> Any:
    return lambda self: function(self)


_attach(Tensor)
_attach(Variable)
for _name, _method_of_variable in sliced_assign.METHODS.items():
    setattr(Variable, _name, _method_of_variable)
