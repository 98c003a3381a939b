"""LossScaleOptimizer: float16 gradients kept from vanishing by a scale that adapts."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.core.variable import VariableAggregation
from distflow.keras import serialization
from distflow.keras.optimizers import settings
from distflow.keras.optimizers.base import Optimizer
from distflow.ops import dims, math
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_all


class LossScaleOptimizer(Optimizer):
    """Applies another optimizer to gradients of a scaled loss, and finds the scale.

    A step whose gradients are not all finite halves the scale and changes nothing else; after
    `dynamic_growth_steps` good steps the scale is doubled.

    Args:
      inner_optimizer: the optimizer that changes the variables.
      initial_scale: the scale at the beginning.
      dynamic_growth_steps: good steps until the scale is doubled.
    """

    # Its program would hold the inner optimizer's settings, which may change between steps.
    compiles_eager_updates = False

    def __init__(self, inner_optimizer: Any, initial_scale: float = 2.0**15,
                 dynamic_growth_steps: int = 2000, name: str | None = None,
                 **kwargs: Any):  # fmt: skip
        if not kwargs.pop("dynamic", True):
            raise errors.invalid(
                "LossScaleOptimizer", "dynamic must be True", "dynamic=False",
                "Set `loss_scale_factor` on the inner optimizer for a fixed scale.",
            )  # fmt: skip
        for setting, default in settings.DEFAULTS.items():
            if kwargs.pop(setting, default) != default:
                raise errors.invalid(
                    "LossScaleOptimizer", f"no `{setting}`, which is the inner optimizer's",
                    setting, f"Set `{setting}` on the `inner_optimizer`.",
                )  # fmt: skip
        if not isinstance(inner_optimizer, Optimizer):
            raise errors.invalid("LossScaleOptimizer", "inner_optimizer must be an Optimizer",
                                 repr(inner_optimizer))  # fmt: skip
        super().__init__(0.0, name=name, **kwargs)
        self.inner_optimizer = inner_optimizer
        self.initial_scale = initial_scale
        self.dynamic_growth_steps = dynamic_growth_steps
        # Gradients are divided here; twice would be once too often.
        inner_optimizer.loss_scale_factor = None

    def build(self, variables: Any) -> None:
        """Makes the scale and its counter, and builds the inner optimizer."""
        if self.built:
            return
        variables = list(variables)
        none = VariableAggregation.NONE
        self.step_counter = self._new_variable(np.zeros((), np.int64), "step_counter", none)
        self.dynamic_scale = self._new_variable(
            np.asarray(self.initial_scale, np.float32), "dynamic_scale", none
        )
        self.inner_optimizer.build(variables)
        super().build(variables)

    @property
    def variables(self) -> list[Any]:
        """Own state, then that of the inner optimizer."""
        return [*self._variables, *self.inner_optimizer.variables]

    def check_finite(self, grads: Any) -> Any:
        """Returns whether all gradients are finite, a bool scalar."""
        finite = convert_to_tensor(True)
        for gradient in grads:
            if gradient is not None:
                finite = math.logical_and(finite, reduce_all(math.is_finite(gradient)))
        return finite

    def _apply_local(self, grads: list[Any], variables: list[Any]) -> None:
        finite = self.check_finite(grads)
        known = dims.known(finite)
        if known is not None:
            if known:
                self._update_inner(grads, variables)
        else:
            # Choosing between new and old values keeps a compiled step in one piece, where a branch
            # would leave and enter it again.
            touched = [*variables, *self.inner_optimizer.variables]
            before = [v.value() for v in touched]
            self._update_inner(grads, variables)
            for v, old in zip(touched, before):
                v.assign(select(finite, v.value(), old))
        self._move_scale(finite)

    def _update_inner(self, grads: list[Any], variables: list[Any]) -> None:
        scale = self.dynamic_scale.value()
        self.inner_optimizer._apply_local([g / math.cast(scale, g.dtype) for g in grads], variables)

    def _move_scale(self, finite: Any) -> None:
        scale, steps = self.dynamic_scale.value(), self.step_counter.value()
        grows = math.equal(steps, self.dynamic_growth_steps - 1)
        after = select(grows, scale * 2.0, scale)
        self.dynamic_scale.assign(select(finite, after, scale * 0.5))
        counts = math.logical_and(finite, math.logical_not(grows))
        self.step_counter.assign(select(counts, steps + 1, steps * 0))

    @property
    def learning_rate(self) -> Any:
        """The inner optimizer's rate."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    @property  # type: ignore[misc]
    def iterations(self) -> Any:
        """How many updates the inner optimizer has made."""
        return self.inner_optimizer.iterations

    def scale_loss(self, loss: Any) -> Any:
        """Returns the loss times the scale."""
        scale = self.dynamic_scale.value() if self.built else self.initial_scale
        return loss * (math.cast(scale, loss.dtype) if self.built else scale)

    def finalize_variable_values(self, var_list: Any) -> None:
        """Puts the inner optimizer's moving averages into the variables."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return {
            "name": self.name,
            "inner_optimizer": serialization.serialize_keras_object(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Returns an optimizer made from `get_config()`."""
        inner = serialization.deserialize_keras_object(
            config["inner_optimizer"], custom_objects=custom_objects
        )
        return cls(**{**config, "inner_optimizer": inner})
