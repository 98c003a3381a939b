"""Small things about running: grouping, no_op, control dependencies, static values, timestamps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from distflow.base import dtypes, specs
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor, Tensor
from distflow.ops import dims
from distflow.ops.prims import host
from distflow.ops.shaping import identity


def no_op(name: Any = None) -> None:
    """Does nothing."""


def group(*inputs: Any, **kwargs: Any) -> None:
    """Does nothing: effects happen in program order, also in traced functions."""


@contextlib.contextmanager
def control_dependencies(control_inputs: Any) -> Iterator[None]:
    """A block without effect of its own: effects happen in program order anyway."""
    for item in control_inputs or ():
        if callable(item) and not isinstance(item, Tensor):
            item()
    yield


def identity_n(input: Any, name: Any = None) -> list[Tensor]:
    """Returns the identity of each tensor of a list."""
    return [identity(x) for x in input]


def tuple(tensors: Any, control_inputs: Any = None, name: Any = None) -> list[Any]:
    """Returns the tensors; all of them are computed."""
    return [None if t is None else identity(t) for t in tensors]


def is_tensor(x: Any) -> bool:
    """Whether x is a tensor or Variable."""
    return isinstance(x, Tensor) or hasattr(x, "is_variable")


def is_symbolic_tensor(tensor: Any) -> bool:
    """Whether x is a tensor of a trace, without a value."""
    return isinstance(tensor, Tensor) and not isinstance(tensor, EagerTensor)


def get_static_value(tensor: Any, partial: bool = False) -> Any:
    """Returns the value as a NumPy array if it is known, else None."""
    value = dims.known(tensor)
    if value is None:
        return None
    return value if value.ndim else value[()]


def timestamp(name: Any = None) -> Tensor:
    """Returns the seconds since the epoch as a float64 scalar, at the moment it runs."""
    (now,) = host.host_call(fn=lambda: time.time(), dtypes=(dtypes.float64,), shapes=((),))
    return now


def type_spec_from_value(value: Any) -> specs.TypeSpec:
    """Returns the TensorSpec of anything that can become a tensor."""
    return specs.TensorSpec.from_tensor(convert_to_tensor(value))


def inside_function() -> bool:
    """Whether a function is being traced."""
    return not context.executing_eagerly()
