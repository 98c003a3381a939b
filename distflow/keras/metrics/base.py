"""Metric: state that batches are added to; Mean, Sum, and means of functions.

The variables are ON_READ with aggregation SUM: each replica adds up its own part of the batch, and
reading the result adds the parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.core.variable import Variable, VariableAggregation, VariableSynchronization
from distflow.keras import config, dtype_policy, initializers, serialization, stateless
from distflow.keras.engine import naming
from distflow.keras.losses.ranks import same_rank, to_tensors
from distflow.ops import dims, math
from distflow.ops.reduce import reduce_mean, reduce_sum


class Metric:
    """The contract: `update_state(...)` takes a batch in, `result()` returns the value so far.

    Args:
      dtype: in which values are computed; default floatx.
      name: default the class's in snake case.
    """

    _keras_kind = "metric"
    # "up" or "down": whether larger values are better, for callbacks that watch it.
    _direction: str | None = None

    def __init__(self, dtype: Any = None, name: str | None = None):
        self.name = name or naming.auto_name(type(self).__name__)
        self._dtype = dtype_policy.get(dtype or config.floatx()).compute_dtype
        self._variables: list[Variable] = []

    @property
    def dtype(self) -> str:
        """Name of the dtype of the computation."""
        return self._dtype

    @property
    def variables(self) -> list[Variable]:
        """The state: own variables, then those of metrics in attributes."""
        found = list(self._variables)
        for value in vars(self).values():
            if isinstance(value, Metric):
                found.extend(value.variables)
        return found

    @property
    def weights(self) -> list[Variable]:
        """The same as `variables`."""
        return self.variables

    @property
    def stateless(self) -> bool:
        """Whether there is no state."""
        return not self.variables

    def add_variable(self, shape: Any, initializer: Any, dtype: Any = None,
                     aggregation: str = "sum", name: str | None = None) -> Variable:  # fmt: skip
        """Returns a new variable of the state."""
        self._check_super_called()
        kind = dtypes.as_dtype(dtype or self._dtype)
        make, shape = initializers.get(initializer or "zeros"), tuple(shape)
        variable = Variable(
            lambda: make(shape, dtype=kind.name),
            trainable=False,
            name=f"{self.name}/{name or 'variable'}",
            dtype=kind,
            synchronization=VariableSynchronization.ON_READ,
            aggregation=VariableAggregation[aggregation.upper()],
        )
        self._variables.append(variable)
        return variable

    def add_weight(self, shape: Any = (), initializer: Any = None, dtype: Any = None,
                   name: str | None = None, **kwargs: Any) -> Variable:  # fmt: skip
        """Returns a new variable of the state; `add_weight("name", initializer=...)` works too."""
        if isinstance(shape, str):
            shape, name = kwargs.pop("shape", ()), shape
        return self.add_variable(shape, initializer, dtype, name=name)

    def _check_super_called(self) -> None:
        if "_variables" not in vars(self):
            raise RuntimeError("You forgot to call `super().__init__()` in the `__init__()` "
                               "method. Go add it!")  # fmt: skip

    def reset_state(self) -> None:
        """Sets the state to zeros."""
        for variable in self.variables:
            variable.assign(np.zeros(tuple(variable.shape), variable.dtype.numpy))

    reset_states = reset_state

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """Takes a batch in."""
        raise errors.UnimplementedError(
            f"Metric: {type(self).__name__} must define update_state(...)."
        )

    def result(self) -> Any:
        """Returns the value so far, a tensor."""
        raise errors.UnimplementedError(f"Metric: {type(self).__name__} must define result().")

    def merge_state(self, metrics: Any) -> None:
        """Adds the state of other metrics of this kind to its own."""
        for other in metrics:
            if len(other.variables) != len(self.variables):
                raise errors.invalid(
                    "merge_state", f"metrics must have {len(self.variables)} variables",
                    f"{other.name} with {len(other.variables)}",
                )  # fmt: skip
            for own, theirs in zip(self.variables, other.variables):
                own.assign_add(theirs.value())

    def stateless_update_state(self, metric_variables: Any, *args: Any, **kwargs: Any) -> Any:
        """Returns the values of `variables` after a batch, from those before; keeps its own."""
        with stateless.holding(f"{self.name}.update", self.variables, metric_variables):
            self.update_state(*args, **kwargs)
            return stateless.values_of(self.variables)

    def stateless_result(self, metric_variables: Any) -> Any:
        """Returns the result for given values of `variables`."""
        with stateless.holding(f"{self.name}.result", self.variables, metric_variables):
            return self.result()

    def stateless_reset_state(self) -> Any:
        """Returns the values that `variables` have after a reset."""
        with stateless.holding("reset", self.variables, stateless.values_of(self.variables)):
            self.reset_state()
            return stateless.values_of(self.variables)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Takes a batch in and returns the value so far."""
        self._check_super_called()
        self.update_state(*args, **kwargs)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric (without its state)."""
        return {"name": self.name, "dtype": self._dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns a metric made from `get_config()`."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class Mean(Metric):
    """The mean of all values, weighted if there are weights."""

    def __init__(self, name: str | None = "mean", dtype: Any = None):
        super().__init__(dtype, name)
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Takes values in, one an example; further dimensions are averaged."""
        values, sample_weight = samplewise(values, sample_weight, reduce_mean, self._dtype)
        self.total.assign_add(reduce_sum(values))
        if sample_weight is not None:
            count = reduce_sum(sample_weight)
        else:
            count = math.cast(dims.size(values, 0) if values.ndim else 1, values.dtype)
        self.count.assign_add(count)

    def result(self) -> Any:
        """Returns the mean, 0 before the first batch."""
        return math.div_no_nan(self.total.value(), math.cast(self.count.value(), self._dtype))


class Sum(Metric):
    """The sum of all values, weighted if there are weights."""

    def __init__(self, name: str | None = "sum", dtype: Any = None):
        super().__init__(dtype, name)
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Takes values in."""
        values, _ = samplewise(values, sample_weight, reduce_sum, self._dtype)
        self.total.assign_add(reduce_sum(values))

    def result(self) -> Any:
        """Returns the sum."""
        return self.total.value()


class MeanMetricWrapper(Mean):
    """The mean of fn(y_true, y_pred, **kwargs)."""

    # Settings that Keras does not write, and the values at which nothing is lost by that.
    _unwritten: dict[str, Any] = {}

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any):
        super().__init__(name or naming.auto_name(type(self).__name__), dtype)
        self._fn = fn
        self._fn_kwargs = kwargs

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Takes a batch of truths and predictions in; a mask of y_pred takes examples out."""
        mask = getattr(y_pred, "_keras_mask", None)
        y_pred, y_true = to_tensors(y_pred, self._dtype), to_tensors(y_true, self._dtype)
        values = self._fn(y_true, y_pred, **self._fn_kwargs)
        if mask is not None:
            sample_weight = masked_weight(sample_weight, mask, self._dtype)
        super().update_state(values, sample_weight=sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal metric."""
        own: dict[str, Any] = {}
        if type(self) is MeanMetricWrapper:
            own["fn"] = serialization.serialize_keras_object(self._fn)
        for key, value in self._fn_kwargs.items():
            if key not in self._unwritten or self._unwritten[key] != value:
                own[key] = serialization.serialize_keras_object(value)
        return super().get_config() | own

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns a metric made from `get_config()`."""
        if "fn" in config:
            config = {**config, "fn": serialization.deserialize_keras_object(config["fn"])}
        return cls(**config)


def masked_weight(sample_weight: Any, mask: Any, dtype: Any) -> Any:
    """Returns the weights with 0 where the mask is false."""
    mask = math.cast(mask, dtype)
    if sample_weight is None:
        return mask
    weight, mask = same_rank(to_tensors(sample_weight, dtype), mask)
    return weight * mask


def samplewise(values: Any, sample_weight: Any, reduce: Any, dtype: Any) -> tuple[Any, Any]:
    """Returns (values * weights, weights), one number an example.

    Dimensions of the values that the weights do not have are reduced first, as Keras does.
    """
    mask = getattr(values, "_keras_mask", None)
    values = to_tensors(values, dtype)
    if isinstance(values, list | tuple):
        values = convert_to_tensor(values)
    if sample_weight is not None:
        if mask is not None:
            sample_weight = masked_weight(sample_weight, mask, dtype)
        values, sample_weight = same_rank(values, to_tensors(sample_weight, dtype))
        rank = sample_weight.ndim
        if values.ndim > rank:
            values = reduce(values, axis=list(range(rank, values.ndim)))
        _check_rows(values, sample_weight)
        values = values * sample_weight
        if rank > 1:
            sample_weight = reduce(sample_weight, axis=list(range(1, rank)))
    if values.ndim > 1:
        values = reduce(values, axis=list(range(1, values.ndim)))
    return values, sample_weight


def _check_rows(values: Any, weight: Any) -> None:
    if weight.ndim and values.ndim and None not in (values.shape[0], weight.shape[0]):
        if weight.shape[0] not in (1, values.shape[0]):
            raise errors.invalid(
                "Metric.update_state", f"sample_weight must have {values.shape[0]} rows",
                str(weight.shape[0]),
            )  # fmt: skip
