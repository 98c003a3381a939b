"""SGD with momentum and Nesterov's look-ahead, and Lion.

`**settings` are those of `Optimizer`: weight_decay, clipnorm, use_ema, name, ...
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.keras.optimizers.base import Optimizer
from distflow.ops import math


class SGD(Optimizer):
    """v = momentum v - rate g; w += v (Nesterov: w += momentum v - rate g).

    Source: Sutskever, Martens, Dahl & Hinton 2013, ICML.
    """

    def __init__(self, learning_rate: Any = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 **settings: Any):  # fmt: skip
        super().__init__(learning_rate, **settings)
        if not isinstance(momentum, float | int) or not 0 <= momentum <= 1:
            raise errors.invalid("SGD", "momentum must be a number in [0, 1]", str(momentum))
        self.momentum = momentum
        self.nesterov = nesterov

    def build(self, variables: Any) -> None:
        """Makes one slot a variable, if there is momentum."""
        if self.built:
            return
        super().build(variables)
        self._momentums: list[Any] = []
        if self.momentum != 0:
            self._momentums = self.add_optimizer_variables(self._trainable_variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slot."""
        rate = math.cast(learning_rate, variable.dtype)
        if self.momentum == 0:
            self.assign_sub(variable, gradient * rate)
            return
        slot = self._momentums[self._get_variable_index(variable)]
        velocity = slot * self.momentum - gradient * rate
        self.assign(slot, velocity)
        if self.nesterov:
            velocity = velocity * self.momentum - gradient * rate
        self.assign_add(variable, velocity)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return super().get_config() | {"momentum": self.momentum, "nesterov": self.nesterov}


class Lion(Optimizer):
    """w -= rate sign(beta_1 m + (1 - beta_1) g); then m follows g with beta_2.

    Source: Chen et al. 2023, arXiv:2302.06675.
    """

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.99,
                 **settings: Any):  # fmt: skip
        super().__init__(learning_rate, **settings)
        if not 0 < beta_1 <= 1:
            raise errors.invalid("Lion", "beta_1 must be in (0, 1]", str(beta_1))
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def build(self, variables: Any) -> None:
        """Makes one slot a variable."""
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(self._trainable_variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slot."""
        rate = math.cast(learning_rate, variable.dtype)
        slot = self._momentums[self._get_variable_index(variable)]
        m = slot.value()
        # The betas are rounded to the variable's dtype before 1 - beta, as in Keras.
        beta_1, beta_2 = (convert_to_tensor(b, m.dtype) for b in (self.beta_1, self.beta_2))
        self.assign_sub(variable, math.sign(m * beta_1 + gradient * (1 - beta_1)) * rate)
        self.assign(slot, m * beta_2 + gradient * (1 - beta_2))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return super().get_config() | {"beta_1": self.beta_1, "beta_2": self.beta_2}
