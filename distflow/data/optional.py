"""Optional: an element of a data set, or the news that there is none (tf.experimental.Optional)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distflow.base import errors, nest
from distflow.base.specs import TensorSpec
from distflow.core import context, convert
from distflow.core.tensor import Tensor
from distflow.ops.prims import host


class Optional:
    """What `get_next_as_optional` returns, so that the end of the data is no exception.

    Args:
      value: the element; nothing is read of it where there is none.
      has_value: a bool tensor.
      spec: the structure of specs of an element.
    """

    def __init__(self, value: Any, has_value: Any, spec: Any):
        self._value, self._has_value, self._spec = value, convert.convert_to_tensor(has_value), spec

    @staticmethod
    def from_value(value: Any) -> Optional:
        """Returns one with a value: a structure of tensors."""
        value = nest.map_structure(convert.convert_to_tensor, value)
        return Optional(value, True, nest.map_structure(_spec_of, value))

    @staticmethod
    def empty(element_spec: Any) -> Optional:
        """Returns one without a value."""
        return Optional(None, False, element_spec)

    def has_value(self, name: str | None = None) -> Tensor:
        """Returns a bool tensor: whether there is a value."""
        return self._has_value

    def get_value(self, name: str | None = None) -> Any:
        """Returns the value.

        Raises:
          InvalidArgumentError: if there is none; in a function, when it runs.
        """
        if context.executing_eagerly():
            _require(self._has_value.numpy())  # type: ignore[attr-defined]
            return self._value
        return nest.map_structure(self._checked, self._value)

    def _checked(self, leaf: Any) -> Any:
        (found,) = host.host_call(
            self._has_value, leaf, fn=_value_if, dtypes=(leaf.dtype,),
            shapes=(tuple(leaf.shape),), gradient=None,
        )  # fmt: skip
        return found

    @property
    def element_spec(self) -> Any:
        """The structure of specs of an element."""
        return self._spec

    def __repr__(self) -> str:
        return f"<Optional element_spec={self._spec!r}>"


def next_of(next_element: Callable[[], Any], spec: Any) -> Optional:
    """Returns the next element of an iteration that raises StopIteration at its end, eagerly."""
    try:
        return Optional(next_element(), True, spec)
    except StopIteration:
        return Optional.empty(spec)


def _value_if(has_value: Any, value: Any) -> Any:
    _require(has_value)
    return value


def _require(has_value: Any) -> None:
    if not has_value:
        raise errors.InvalidArgumentError(
            "Optional.get_value: expected an element; received the end of the data.\n"
            "Ask has_value() before."
        )


def _spec_of(leaf: Any) -> Any:
    return TensorSpec(leaf.shape, leaf.dtype)
