"""The Primitive record and the registry of the closed set.

One primitive is one record: its dtype rule, shape rule, NumPy reference and gradient. All other
operations are compositions of primitives in plain Python.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from distflow.base import errors
from distflow.core import bind as _bind

REGISTRY: dict[str, Primitive] = {}


@dataclass(frozen=True, eq=False)
class Primitive:
    """One operation of the closed set; calling it binds it.

    Args:
      name: unique name, also in printed graphs.
      dtype_rule: (*input dtypes, **attributes) -> DType, or a tuple of them for several outputs.
        Raises InvalidArgumentError for dtypes it does not accept.
      shape_rule: (*input shapes, **attributes) -> shape, or a list of shapes for several outputs.
        Unknown dimensions are None.
      reference: (*arrays, **attributes) -> array, or a tuple of arrays: the meaning.
      gradient: (g, out, *inputs, **attributes) -> one gradient an input, in public operations;
        None where there is none. `g` and `out` are tuples when there are several outputs.
        None instead of a rule: the operation is not differentiable.
      family: the row of the closed set that it belongs to (HOUSE: unary, binary, movement, ...).
      match: positions of inputs that must share one dtype; Python scalars and NumPy arrays at
        these positions take the dtype of the tensors there.
      effect: "" for a pure function; "read" or "write" of a variable, or "order" for an effect
        outside. Effects keep their program order.
      keeps_variables: Variables among the inputs are handed on as they are, not read.
    """

    name: str
    dtype_rule: Callable[..., Any]
    shape_rule: Callable[..., Any]
    reference: Callable[..., Any]
    gradient: Callable[..., Any] | None
    family: str
    match: tuple[int, ...] | None = ()
    effect: str = ""
    keeps_variables: bool = False
    source: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.name in REGISTRY:
            raise errors.AlreadyExistsError(f"primitive {self.name!r} is registered already.")
        REGISTRY[self.name] = self

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        """Binds the primitive to inputs: runs it, or records it where a function is traced."""
        return _bind.bind(self, *inputs, **attributes)


def named(name: str) -> Primitive:
    """Returns a registered primitive.

    For gradient rules, which run long after all files are loaded: the gradient of a movement is
    often a reduction or a scatter, which are themselves defined by movements.
    """
    return REGISTRY[name]
