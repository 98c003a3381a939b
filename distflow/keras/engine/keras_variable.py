"""keras.Variable, and the contexts that Keras names beside it."""

from __future__ import annotations

from typing import Any

from distflow.autodiff import recompute_grad as remat
from distflow.base import dtypes, errors
from distflow.base.names import name_scope
from distflow.core.context import device
from distflow.keras import initializers, settings
from distflow.keras.engine.variable import AGGREGATIONS, LayerVariable

__all__ = ["Variable", "device", "name_scope", "remat", "version"]

# The version of Keras whose names and semantics this package has.
KERAS_VERSION = "3.15.0"


def version() -> str:
    """Returns the version of Keras whose API this is, for programs that ask for it."""
    return KERAS_VERSION


class _Made(type(LayerVariable)):  # type: ignore[misc]
    """Makes weights as layers do, and lets those count as instances."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _make(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, LayerVariable)


class Variable(LayerVariable, metaclass=_Made):
    """A variable as layers have them.

    Args:
      initializer: a value, or an initializer (its name, or a function of shape and dtype).
      shape: needed for an initializer.
      dtype: default floatx for an initializer, else the value's.
      trainable: whether it is trained.
      autocast: whether it is read in the compute dtype inside a mixed-precision layer.
      aggregation: "none", "mean", "sum" or "only_first_replica".
      name: default variable.

    Raises:
      ValueError: for an initializer without a shape.
    """


def _make(
    initializer: Any, shape: Any = None, dtype: Any = None, trainable: bool = True,
    autocast: bool = True, aggregation: str | None = "none", name: str | None = None,
) -> Any:  # fmt: skip
    if aggregation not in AGGREGATIONS:
        raise errors.invalid("Variable", f"aggregation among {list(AGGREGATIONS)}",
                             repr(aggregation))  # fmt: skip
    value = initializer
    if isinstance(initializer, str) or callable(initializer):
        if shape is None:
            raise ValueError(
                "When creating a Variable from an initializer, the `shape` argument should be "
                f"specified. Received: initializer={initializer} and shape={shape}"
            )
        kind = dtypes.as_dtype(dtype or settings.floatx())
        value = initializers.get(initializer)(tuple(shape), dtype=kind.name)
    variable = LayerVariable(
        value, trainable=trainable, name=name or "variable",
        dtype=None if dtype is None else dtypes.as_dtype(dtype),
        aggregation=AGGREGATIONS[aggregation],
    )  # fmt: skip
    variable.autocast = autocast
    return variable
