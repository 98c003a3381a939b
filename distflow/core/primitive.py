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
from distflow.core import native

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
      selective: the gradient rule also takes `wanted=`, a bool for each input, and may return None
        where it is False.
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
    selective: bool = False
    # The reference without what silences NumPy, if it is silenced (`quiet` in ops).
    bare: Callable[..., Any] = field(init=False, repr=False)
    is_quiet: bool = field(init=False, repr=False)
    # See `core.native`.
    least: int = field(init=False, repr=False)
    # What eager operands the rules have accepted (see `core.bind`).
    accepted: set[Any] = field(init=False, repr=False, default_factory=set)

    def __post_init__(self) -> None:
        bare = getattr(self.reference, "__wrapped__", None)
        object.__setattr__(self, "is_quiet", bare is not None)
        object.__setattr__(self, "least", native.least(self.name, self.family))
        object.__setattr__(self, "bare", self.reference if bare is None else bare)
        if self.name in REGISTRY:
            raise errors.AlreadyExistsError(f"primitive {self.name!r} is registered already.")
        REGISTRY[self.name] = self

    # Calling a primitive binds it to inputs: runs it, or records it where a function is traced.
    __call__ = _bind.bind


def named(name: str) -> Primitive:
    """Returns a registered primitive.

    For gradient rules, which run long after all files are loaded: the gradient of a movement is
    often a reduction or a scatter, which are themselves defined by movements.
    """
    return REGISTRY[name]
