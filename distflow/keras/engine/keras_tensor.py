"""KerasTensor: a shape and a dtype that remember which layer they come from.

Both kinds of symbolic tensor here work through the interpreter that they carry, so every operation
of distflow accepts them. `SpecTensor` only learns shapes and dtypes (a layer's output is inferred
by calling it on SpecTensors); `KerasTensor` also notes each operation as a node of a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import dtypes, errors, nest, shapes
from distflow.base.names import Uniquifier
from distflow.core import context
from distflow.core.tensor import Tensor


class NoValueError(ValueError, TypeError):
    """A symbolic tensor was asked for a value."""


class SpecTensor(Tensor):
    """A tensor of which nothing is known but its shape and dtype."""

    def __init__(self, shape: Any, dtype: Any, name: str | None = None):
        self._shape = shapes.TensorShape(shape)
        self.dtype = dtypes.as_dtype(dtype)
        self._name = name or "keras_tensor"
        self.interpreter = SPECS

    @property
    def shape(self) -> shapes.TensorShape:
        """The shape; unknown dimensions are None."""
        return self._shape

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    def set_shape(self, shape: Any) -> None:
        """Fills in dimensions that were unknown."""
        self._shape = shapes.TensorShape(
            shapes.merge("set_shape", self._shape, shapes.TensorShape(shape))
        )

    def numpy(self) -> Any:
        """Refuses: there is no value."""
        raise self._refusal("convert it to a NumPy array")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise self._refusal("convert it to a NumPy array")

    def __float__(self) -> float:
        raise self._refusal("convert it to a float")

    def __int__(self) -> int:
        raise self._refusal("convert it to an int")

    def __bool__(self) -> bool:
        raise NoValueError("A symbolic KerasTensor cannot be used as a boolean.")

    def __iter__(self) -> Any:
        if self._shape and self._shape[0] is not None:
            return super().__iter__()
        raise NoValueError("Iterating over a symbolic KerasTensor is not supported.")

    def _refusal(self, what: str) -> Exception:
        return NoValueError(
            "A KerasTensor is symbolic: it's a placeholder for a shape and a dtype. It doesn't "
            f"have any actual numerical value. You cannot {what}."
        )

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} shape={tuple(self._shape)}, dtype={self.dtype.name}, "
            f"name={self._name}>"
        )


class KerasTensor(SpecTensor):
    """A symbolic value of a functional model: an Input, or what a layer makes of one.

    Args:
      shape: with the batch dimension, which is usually None.
      dtype: element type.
      name: unique name; default keras_tensor, keras_tensor_1, ...

    `_keras_history` is (operation, index of its call, index among the call's outputs).
    """

    _keras_history: Any = None

    def __init__(
        self,
        shape: Any,
        dtype: Any = "float32",
        sparse: bool = False,
        ragged: bool = False,
        name: str | None = None,
    ):
        if sparse or ragged:
            raise NotImplementedError("KerasTensor: sparse and ragged inputs are not there yet.")
        super().__init__(shape, dtype, name or _names.unique("keras_tensor"))
        self.interpreter = HISTORY

    def __getitem__(self, key: Any) -> Any:
        return HISTORY.index(self, key)

    @property
    def sparse(self) -> bool:
        """Always False."""
        return False

    @property
    def ragged(self) -> bool:
        """Always False."""
        return False


class SpecInterpreter:
    """Gives each operation's result by its dtype and shape rules alone."""

    is_eager = False

    def resolve(self, current: Any) -> Any:
        """Leaves the operation to a trace that is in force; otherwise takes it."""
        return self if current.is_eager else current

    def run(self, primitive: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Returns SpecTensors."""
        found = infer(primitive, inputs, attributes)
        if isinstance(found, list):
            return tuple(SpecTensor(shape, dtype) for shape, dtype in found)
        return SpecTensor(*found)

    def custom_call(self, f: Callable[..., Any], inputs: list[Any]) -> Any:
        """Returns the result of a function with a gradient of its own."""
        return f(*inputs)[0]

    def in_force(self) -> bool:
        """Whether this thread infers shapes; then traces inside may capture SpecTensors."""
        return any(i is self for i in context.state.interpreters)

    def _leaked(self) -> Exception:
        return errors.invalid(
            "KerasTensor", "a value, or a layer that is called on it",
            "a symbolic tensor inside of tf.function or a branch of tf.cond",
            "Put the computation into a layer of your own.",
        )  # fmt: skip


class HistoryInterpreter:
    """Notes each operation on KerasTensors as a node of the model to be."""

    is_eager = False
    # Set by `op_layer`, which stands above this file: (primitive, inputs, attributes) -> outputs.
    apply: Any = None
    # Set by `keras_ops`: (tensor, key) -> the node of tensor[key].
    index: Any = None

    def resolve(self, current: Any) -> Any:
        """Takes the operation; inside a layer's inference nothing is noted."""
        return current if current is SPECS else self

    def run(self, primitive: Any, inputs: tuple[Any, ...], attributes: dict[str, Any]) -> Any:
        """Returns KerasTensors."""
        return self.apply(primitive, inputs, attributes)

    def custom_call(self, f: Callable[..., Any], inputs: list[Any]) -> Any:
        """Returns the result of a function with a gradient of its own."""
        return f(*inputs)[0]

    def in_force(self) -> bool:
        """Always False: traces cannot capture nodes of a model."""
        return False

    def _leaked(self) -> Exception:
        return SPECS._leaked()


SPECS = SpecInterpreter()
HISTORY = HistoryInterpreter()
_names = Uniquifier()


def reset_names() -> None:
    """Counts automatic tensor names anew."""
    _names.reset()


def infer(primitive: Any, inputs: Any, attributes: dict[str, Any]) -> Any:
    """Returns (shape, dtype), or a list of them where a primitive has several outputs."""
    found_dtypes = primitive.dtype_rule(*[x.dtype for x in inputs], **attributes)
    found_shapes = primitive.shape_rule(*[tuple(x.shape) for x in inputs], **attributes)
    if isinstance(found_shapes, list):
        return list(zip(found_shapes, found_dtypes))
    return found_shapes, found_dtypes


def output_specs(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Returns the structure of SpecTensors that `fn` makes of symbolic arguments.

    Nothing is computed and no variable is written. KerasTensors among the arguments are
    replaced by SpecTensors first, so no node is noted.
    """
    args, kwargs = nest.map_structure(_as_spec, (args, kwargs))
    with context.without_observers(), context.use_interpreter(SPECS):
        return fn(*args, **kwargs)


def _as_spec(value: Any) -> Any:
    if isinstance(value, KerasTensor):
        spec = SpecTensor(value.shape, value.dtype, value.name)
        mask = getattr(value, "_keras_mask", None)
        if mask is not None:
            spec._keras_mask = _as_spec(mask)  # type: ignore[attr-defined]
        return spec
    return value


def is_keras_tensor(value: Any) -> bool:
    """Whether a value is a symbolic tensor of a functional model."""
    return isinstance(value, KerasTensor)
