"""Adafactor: Adam's second moment of a matrix, kept as its row and column means."""

from __future__ import annotations

from typing import Any

from distflow.core.variable import Variable
from distflow.keras.optimizers.base import Optimizer
from distflow.ops import math
from distflow.ops.reduce import reduce_mean
from distflow.ops.shaping import expand_dims


class Adafactor(Optimizer):
    """w -= alpha u / max(1, rms(u) / clip_threshold), u = g / sqrt(v).

    alpha is max(epsilon_2, rms(w)) times the rate, at most 1 / sqrt(t); v of variables with two or
    more dimensions is the outer product of means over the last two of them.

    Args:
      learning_rate: float or schedule; `**settings` are those of `Optimizer`.
      beta_2_decay: v follows g^2 with 1 - t^beta_2_decay.
      epsilon_1: added to g^2.
      epsilon_2: the least size of a variable for its step.
      clip_threshold: the largest root mean square of u.
      relative_step: whether a fixed rate is limited by 1 / sqrt(t), too.

    Source: Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 and 5.
    """

    def __init__(self, learning_rate: Any = 0.001, beta_2_decay: float = -0.8,
                 epsilon_1: float = 1e-30, epsilon_2: float = 1e-3, clip_threshold: float = 1.0,
                 relative_step: bool = True, **settings: Any):  # fmt: skip
        super().__init__(learning_rate, **settings)
        self.beta_2_decay = beta_2_decay
        self.epsilon_1 = epsilon_1
        self.epsilon_2 = epsilon_2
        self.clip_threshold = clip_threshold
        self.relative_step = relative_step

    def build(self, variables: Any) -> None:
        """Makes the slots: row and column means of matrices, and v."""
        if self.built:
            return
        super().build(variables)
        self._means: list[Any] = []
        self._velocities: list[Any] = []
        for variable in self._trainable_variables:
            shape, name = tuple(variable.shape), variable.name.split(":")[0].split("/")[-1]
            if len(shape) > 1:
                parts, dtype = (shape[:-1], (*shape[:-2], shape[-1])), variable.dtype
            else:  # not needed, but Keras's files have two numbers in their place
                parts, dtype = ((), ()), "int32"
            self._means.append([self.add_variable(p, dtype=dtype, name=name) for p in parts])
            self._velocities.append(self.add_variable_from_reference(variable, "velocity"))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        dtype, index = variable.dtype, self._get_variable_index(variable)
        rate = math.cast(learning_rate, dtype)
        t = math.cast(self.iterations + 1, dtype)
        limit = 1 / math.sqrt(t)
        if self.relative_step and isinstance(self._learning_rate, Variable):
            rate = math.minimum(rate, limit)
        alpha = math.maximum(_rms(variable.value()), self.epsilon_2) * math.minimum(rate, limit)
        beta = 1 - math.pow(t, self.beta_2_decay)
        square = gradient * gradient + self.epsilon_1
        slot, means = self._velocities[index], self._means[index]
        if variable.ndim < 2:
            v = self._follow(slot, square, beta)
        else:
            rows = self._follow(means[0], reduce_mean(square, axis=-1), beta)
            columns = self._follow(means[1], reduce_mean(square, axis=-2), beta)
            part = rows / reduce_mean(rows, axis=-1, keepdims=True)
            v = expand_dims(part, -1) * expand_dims(columns, -2)
            self.assign(slot, v)
        u = gradient / math.sqrt(v)
        u = u / math.maximum(_rms(u) / self.clip_threshold, 1.0)
        self.assign_sub(variable, alpha * u)

    def _follow(self, slot: Any, value: Any, beta: Any) -> Any:
        moved = beta * slot + (1 - beta) * value
        self.assign(slot, moved)
        return moved

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        names = ("beta_2_decay", "epsilon_1", "epsilon_2", "clip_threshold", "relative_step")
        return super().get_config() | {name: getattr(self, name) for name in names}


def _rms(x: Any) -> Any:
    return math.sqrt(reduce_mean(x * x))
