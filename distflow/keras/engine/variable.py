"""Variables of layers, which a mixed-precision layer reads in its compute dtype."""

from __future__ import annotations

import threading
from typing import Any

from distflow.base import dtypes
from distflow.core import convert
from distflow.core.tensor import Tensor
from distflow.core.variable import Variable, VariableAggregation
from distflow.ops.prims.elementwise import cast

AGGREGATIONS = {
    None: VariableAggregation.NONE,
    "none": VariableAggregation.NONE,
    "mean": VariableAggregation.MEAN,
    "sum": VariableAggregation.SUM,
    "only_first_replica": VariableAggregation.ONLY_FIRST_REPLICA,
}


class _State(threading.local):
    dtype: dtypes.DType | None = None


_state = _State()


class autocast_scope:
    """Casts floating variables of layers to `dtype` when they are read; None switches it off."""

    __slots__ = ("_before", "_dtype")

    def __init__(self, dtype: Any):
        wanted = None if dtype is None else dtypes.as_dtype(dtype)
        self._dtype = wanted if wanted is not None and wanted.is_floating else None

    def __enter__(self) -> None:
        self._before = _state.dtype
        _state.dtype = self._dtype

    def __exit__(self, *unused: object) -> None:
        _state.dtype = self._before


class LayerVariable(Variable):
    """What `Layer.add_weight` returns: a Variable that knows its layer's wishes.

    Besides TF's attributes it has `path` ("dense/kernel"), `regularizer`, `constraint`,
    `autocast` and `overwrite_with_gradient`.
    """

    regularizer: Any = None
    autocast = True
    overwrite_with_gradient = False

    @property
    def path(self) -> str:
        """The name with the names of the layers around it."""
        return self._name

    @property  # type: ignore[override]
    def dtype(self) -> dtypes.DType:
        """The dtype in which the variable is read here."""
        target = _state.dtype
        if target is not None and self.autocast and self._own_dtype.is_floating:
            return target
        return self._own_dtype

    @dtype.setter
    def dtype(self, value: dtypes.DType) -> None:
        self._own_dtype = value

    @property
    def own_dtype(self) -> dtypes.DType:
        """The dtype in which the variable is kept."""
        return self._own_dtype

    def value(self) -> Tensor:
        """Returns the value as a tensor, in the compute dtype inside a mixed-precision layer."""
        wanted = self.dtype
        if wanted is self._own_dtype:
            return super().value()
        with autocast_scope(None):
            value = super().value()
        return cast(value, dtype=wanted)

    read_value = value

    def _assign(self, value: Any, mode: str) -> Variable:
        with autocast_scope(None):
            if not isinstance(value, Tensor):
                value = convert.convert_to_tensor(value, dtype_hint=self._own_dtype)
            # Inside a mixed-precision layer the new value has been computed in 16 bits.
            if value.dtype is not self._own_dtype and value.dtype.is_floating:
                if self._own_dtype.is_floating:
                    value = cast(value, dtype=self._own_dtype)
            return super()._assign(value, mode)

    def __deepcopy__(self, memo: Any) -> Variable:
        with autocast_scope(None):
            copy = LayerVariable(
                self.numpy(), trainable=self.trainable, name=self._name, dtype=self._own_dtype,
                shape=self._shape, constraint=self.constraint,
                synchronization=self.synchronization, aggregation=self.aggregation,
            )  # fmt: skip
        copy.regularizer, copy.autocast = self.regularizer, self.autocast
        copy.overwrite_with_gradient = self.overwrite_with_gradient
        memo[id(self)] = copy
        return copy
