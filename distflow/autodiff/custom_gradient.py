"""custom_gradient: a function with a gradient of its own, and recompute_grad on top of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from distflow.autodiff.tape import GradientTape
from distflow.base import errors, nest
from distflow.core import context, convert
from distflow.core.tensor import Tensor
from distflow.core.variable import assign_variable
from distflow.ops.prims.movement import after, reshape_like


class Custom:
    """Stands in a tape's record where a primitive would, with the user's gradient."""

    family = "custom"
    name = "custom_gradient"
    selective = False

    def __init__(self, gradient: Callable[..., Any]):
        self.gradient = gradient


class _VariableReads:
    """An observer that notes which trainable variables are read."""

    def __init__(self) -> None:
        self.variables: list[Any] = []

    def record(self, primitive: Any, inputs: Any, outputs: Any, attributes: Any) -> None:
        """Called by `core.bind`."""
        if primitive is assign_variable:
            return
        for value in inputs:  # of a read, or of a traced function that reads
            if getattr(value, "is_variable", False) and value.trainable:
                if not any(v is value for v in self.variables):
                    self.variables.append(value)


def custom_gradient(f: Any = None) -> Any:
    """Decorates a function that returns (result, gradient function).

    The gradient function takes the gradient of each result and returns the gradient of each
    positional argument. If `f` reads variables, it must also accept `variables=` and return
    (argument gradients, variable gradients).
    """
    if f is None:
        return custom_gradient

    @functools.wraps(f)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        inputs = [a if _is_variable(a) else convert.convert_to_tensor(a) for a in args]
        interpreter: Any = context.interpreter()
        if not interpreter.is_eager:
            return interpreter.custom_call(functools.partial(f, **kwargs), inputs)
        result, inputs_seen, gradient = run(functools.partial(f, **kwargs), inputs)
        outputs = tuple(nest.flatten(result))
        for observer in tuple(context.state.observers):
            observer.record(Custom(gradient), inputs_seen, outputs, {})
        return result

    return decorated


def run(f: Callable[..., Any], inputs: list[Any]) -> tuple[Any, tuple[Any, ...], Any]:
    """Runs f without tapes; returns its result, what it depends on, and the gradient rule.

    The rule has a primitive's form: (g, out, *inputs) -> gradients, of inputs then variables.
    """
    reads = _VariableReads()
    with context.without_observers(), context.observing(reads):
        result, grad_fn = f(*inputs)
    result = nest.map_structure(lambda t: _fresh(convert.convert_to_tensor(t), inputs), result)
    variables = [v for v in reads.variables if not any(v is x for x in inputs)]

    def gradient(g: Any, out: Any, *unused: Any) -> tuple[Any, ...]:
        return tuple(map(_checked, call(g), (*inputs, *variables)))

    def call(g: Any) -> tuple[Any, ...]:
        if variables:
            if not _accepts_variables(grad_fn):
                raise TypeError(
                    "custom_gradient: the gradient function must accept variables=, since the "
                    f"function reads {[v.name for v in variables]}."
                )
            of_inputs, of_variables = grad_fn(*g, variables=variables)
            return (*_as_list(of_inputs, len(inputs)), *_as_list(of_variables, len(variables)))
        return tuple(_as_list(grad_fn(*g), len(inputs)))

    return result, (*inputs, *variables), gradient


def _checked(gradient: Any, value: Any) -> Any:
    """Returns a gradient that the user's function gave, as a tensor of its argument's shape."""
    if gradient is None:
        return None
    gradient = convert.convert_to_tensor(gradient, dtype_hint=value.dtype)
    if not value.shape.is_compatible_with(gradient.shape):
        raise errors.invalid(
            "custom_gradient", f"a gradient must have its argument's shape {value.shape}",
            str(gradient.shape),
        )  # fmt: skip
    return gradient


def _accepts_variables(grad_fn: Callable[..., Any]) -> bool:
    parameters = inspect.signature(grad_fn).parameters
    return "variables" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _fresh(tensor: Tensor, inputs: list[Any]) -> Any:
    """A result that is an argument itself needs an identity of its own on the tape."""
    if any(tensor is x for x in inputs):
        return reshape_like(tensor, tensor) if not context.executing_eagerly() else _copy(tensor)
    return tensor


def _copy(tensor: Any) -> Any:
    return type(tensor)(tensor.array)


def _as_list(gradients: Any, count: int) -> list[Any]:
    flat = [gradients] if not isinstance(gradients, list | tuple) else list(gradients)
    if len(flat) != count:
        raise errors.invalid(
            "custom_gradient", f"the gradient function must return {count} gradients",
            str(len(flat)),
        )  # fmt: skip
    return flat


def _is_variable(value: Any) -> bool:
    return getattr(value, "is_variable", False)


def _is_exact(value: Any) -> bool:
    return not (value.dtype.is_floating or value.dtype.is_complex)


def recompute_grad(f: Callable[..., Any]) -> Callable[..., Any]:
    """Returns f, run again in the backward pass instead of keeping what it computed."""

    @custom_gradient
    def recomputing(*args: Any) -> Any:
        def gradient(*g: Any, variables: Any = ()) -> Any:
            # Without this the compiler would find that all of it is there already.
            late = [after(a, g[0]) if isinstance(a, Tensor) else a for a in args]
            with GradientTape() as tape:
                tape.watch([a for a in late if isinstance(a, Tensor) and not _is_exact(a)])
                result = f(*late)
            wanted = [late, list(variables)]
            of_args, of_variables = tape.gradient(result, wanted, nest.pack_sequence_as(result, g))
            return (of_args, of_variables) if variables else of_args

        return f(*args), gradient

    return functools.wraps(f)(lambda *args, **kwargs: recomputing(*args, **kwargs))
