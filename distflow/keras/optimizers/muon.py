"""Muon: momentum whose matrices are made nearly orthogonal; Adam for everything else."""

from __future__ import annotations

import re
from typing import Any

from distflow.base import errors
from distflow.keras.optimizers.base import Optimizer
from distflow.ops import math
from distflow.ops.matmul import matmul
from distflow.ops.reduce import reduce_sum


class Muon(Optimizer):
    """Matrices move by the orthogonal factor of their momentum, found by Newton-Schulz steps.

    Adam changes what is no matrix, embeddings, and layers that are excluded.

    Args:
      adam_beta_1, adam_beta_2, adam_weight_decay, epsilon: of the Adam part.
      weight_decay: of the matrices; further `**settings` are those of `Optimizer`.
      exclude_layers: patterns of the paths of matrices that Adam is to change.
      exclude_embeddings: whether variables with "embedding" in their path are left to Adam.
      muon_a, muon_b, muon_c: x -> a x + b x x'x + c (x x')^2 x is a Newton-Schulz step.
      adam_lr_ratio: the rate of the Adam part is learning_rate times this.
      momentum, nesterov: of the matrices.
      ns_steps: number of Newton-Schulz steps.
      rms_rate: steps are scaled to this root mean square (times the rate); None: they are not.

    Source: Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks; Liu et
    al. 2025, arXiv:2502.16982, for the scale.
    """

    def __init__(
        self, learning_rate: Any = 0.001, adam_beta_1: float = 0.9, adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004, epsilon: float = 1e-7,
        weight_decay: float | None = 0.004, *, exclude_layers: Any = None,
        exclude_embeddings: bool = True, muon_a: float = 3.4445, muon_b: float = -4.7750,
        muon_c: float = 2.0315, adam_lr_ratio: float = 1, momentum: float = 0.95,
        ns_steps: int = 5, nesterov: bool = True, rms_rate: float | None = 0.2, **settings: Any,
    ):  # fmt: skip
        if ns_steps < 1:
            raise errors.invalid("Muon", "ns_steps must be >= 1", str(ns_steps))
        super().__init__(learning_rate, weight_decay=weight_decay, **settings)
        self.adam_beta_1 = adam_beta_1
        self.adam_beta_2 = adam_beta_2
        self.adam_weight_decay = adam_weight_decay
        self.epsilon = epsilon
        self.exclude_layers = list(exclude_layers or [])
        self.exclude_embeddings = exclude_embeddings
        self.muon_a = muon_a
        self.muon_b = muon_b
        self.muon_c = muon_c
        self.adam_lr_ratio = adam_lr_ratio
        self.momentum = momentum
        self.ns_steps = ns_steps
        self.nesterov = nesterov
        self.rms_rate = rms_rate

    def _is_for_adam(self, variable: Any) -> bool:
        path = getattr(variable, "path", None) or variable.name
        if len(variable.shape) != 2:
            return True
        if self.exclude_embeddings and "embedding" in path.lower():
            return True
        return any(re.search(pattern, path) for pattern in self.exclude_layers)

    def build(self, variables: Any) -> None:
        """Makes one slot a matrix and two for each variable of Adam's."""
        if self.built:
            return
        super().build(variables)
        self._momentums: list[Any] = []
        self._velocities: list[Any] = []
        for variable in self._trainable_variables:
            self._momentums.append(self.add_variable_from_reference(variable, "momentum"))
            self._velocities.append(
                self.add_variable_from_reference(variable, "velocity")
                if self._is_for_adam(variable)
                else None
            )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        index = self._get_variable_index(variable)
        rate = math.cast(learning_rate, variable.dtype)
        if self._velocities[index] is None:
            self._matrix_step(gradient, variable, rate, self._momentums[index])
        else:
            self._adam_step(gradient, variable, rate * self.adam_lr_ratio, index)

    def _matrix_step(self, gradient: Any, variable: Any, rate: Any, slot: Any) -> None:
        m = slot * self.momentum + gradient
        self.assign(slot, m)
        update = rate * self._orthogonal(gradient + m * self.momentum if self.nesterov else m)
        if self.rms_rate is not None:
            update = update * (max(variable.shape) ** 0.5 * self.rms_rate)
        self.assign_sub(variable, update)

    def _orthogonal(self, x: Any) -> Any:
        """Returns x with singular values near 1."""
        tall = x.shape[0] > x.shape[1]
        x = x / (math.sqrt(reduce_sum(x * x)) + 1e-7)
        for _ in range(self.ns_steps):
            # The square product is the smaller one: of the shorter side.
            square = matmul(x, x, transpose_a=tall, transpose_b=not tall)
            mix = square * self.muon_b + matmul(square * self.muon_c, square)
            x = x * self.muon_a + (matmul(x, mix) if tall else matmul(mix, x))
        return x

    def _adam_step(self, gradient: Any, variable: Any, rate: Any, index: int) -> None:
        t = math.cast(self.iterations + 1, variable.dtype)
        momentum, velocity = self._momentums[index], self._velocities[index]
        m = momentum + (gradient - momentum) * (1 - self.adam_beta_1)
        v = velocity + (gradient * gradient - velocity) * (1 - self.adam_beta_2)
        self.assign(momentum, m)
        self.assign(velocity, v)
        grown = 1 - math.pow(self.adam_beta_2, t)
        alpha = rate * math.sqrt(grown) / (1 - math.pow(self.adam_beta_1, t))
        self.assign_sub(variable, m * alpha / (math.sqrt(v) + self.epsilon))

    def _decay_of(self, variable: Any) -> float | None:
        return self.adam_weight_decay if self._is_for_adam(variable) else self.weight_decay

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        names = (
            "adam_beta_1", "adam_beta_2", "epsilon", "exclude_layers", "muon_a", "muon_b",
            "muon_c", "adam_lr_ratio", "momentum", "ns_steps", "nesterov", "exclude_embeddings",
            "adam_weight_decay", "rms_rate",
        )  # fmt: skip
        return super().get_config() | {name: getattr(self, name) for name in names}
