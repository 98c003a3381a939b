"""Rates by the size of past gradients: RMSprop, Adagrad, Adadelta, Ftrl.

`**settings` are those of `Optimizer`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras.optimizers.base import Optimizer
from distflow.ops import math


class RMSprop(Optimizer):
    """v = rho v + (1 - rho) g^2; w -= rate g / sqrt(v + epsilon), with momentum if wanted.

    With `centered`, v is taken less the square of the mean gradient.

    Source: Hinton 2012, Neural networks for machine learning, lecture 6.
    """

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.9, momentum: float = 0.0,
                 epsilon: float = 1e-7, centered: bool = False, **settings: Any):  # fmt: skip
        super().__init__(learning_rate, **settings)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered

    def build(self, variables: Any) -> None:
        """Makes one to three slots a variable."""
        if self.built:
            return
        super().build(variables)
        own = self._trainable_variables
        self._velocities = self.add_optimizer_variables(own, "velocity")
        if self.momentum > 0:
            self._momentums = self.add_optimizer_variables(own, "momentum")
        if self.centered:
            self._means = self.add_optimizer_variables(own, "average_gradient")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        rate = math.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        velocity, rest = self._velocities[index], 1 - self.rho
        v = velocity * self.rho + gradient * gradient * rest
        self.assign(velocity, v)
        if self.centered:
            mean = self._means[index] * self.rho + gradient * rest
            self.assign(self._means[index], mean)
            v = v - mean * mean
        increment = gradient * rate / math.sqrt(v + self.epsilon)
        if self.momentum > 0:
            increment = self._momentums[index] * self.momentum + increment
            self.assign(self._momentums[index], increment)
        self.assign_sub(variable, increment)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return super().get_config() | {
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
        }


class Adagrad(Optimizer):
    """s += g^2; w -= rate g / sqrt(s + epsilon).

    Source: Duchi, Hazan & Singer 2011, JMLR 12.
    """

    def __init__(self, learning_rate: Any = 0.001, initial_accumulator_value: float = 0.1,
                 epsilon: float = 1e-7, **settings: Any):  # fmt: skip
        super().__init__(learning_rate, **settings)
        self.initial_accumulator_value = _not_negative("Adagrad", initial_accumulator_value)
        self.epsilon = epsilon

    def build(self, variables: Any) -> None:
        """Makes one slot a variable."""
        if self.built:
            return
        super().build(variables)
        self._accumulators_of_squares = self.add_optimizer_variables(
            self._trainable_variables, "accumulator", _filled(self.initial_accumulator_value)
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slot."""
        rate = math.cast(learning_rate, variable.dtype)
        slot = self._accumulators_of_squares[self._get_variable_index(variable)]
        total = slot + gradient * gradient
        self.assign(slot, total)
        self.assign_sub(variable, gradient * rate / math.sqrt(total + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return super().get_config() | {
            "initial_accumulator_value": self.initial_accumulator_value,
            "epsilon": self.epsilon,
        }


class Adadelta(Optimizer):
    """Steps of the size of past steps: d = -rms(d) / rms(g) g; w += rate d.

    Source: Zeiler 2012, arXiv:1212.5701.
    """

    def __init__(self, learning_rate: Any = 0.001, rho: float = 0.95, epsilon: float = 1e-7,
                 **settings: Any):  # fmt: skip
        super().__init__(learning_rate, **settings)
        self.rho = rho
        self.epsilon = epsilon

    def build(self, variables: Any) -> None:
        """Makes two slots a variable."""
        if self.built:
            return
        super().build(variables)
        self._squares, self._steps = self.add_optimizer_variables(
            self._trainable_variables, ["accumulated_grad", "accumulated_delta_var"]
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        rate = math.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        squares, steps, rest = self._squares[index], self._steps[index], 1 - self.rho
        size = squares * self.rho + gradient * gradient * rest
        self.assign(squares, size)
        past = steps.value()
        delta = -math.sqrt(past + self.epsilon) * gradient / math.sqrt(size + self.epsilon)
        self.assign(steps, past * self.rho + delta * delta * rest)
        self.assign_add(variable, delta * rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return super().get_config() | {"rho": self.rho, "epsilon": self.epsilon}


class Ftrl(Optimizer):
    """Follow the regularised leader: w is solved anew from sums of gradients and squares.

    Source: McMahan et al. 2013, Ad click prediction: a view from the trenches, KDD.
    """

    def __init__(self, learning_rate: Any = 0.001, learning_rate_power: float = -0.5,
                 initial_accumulator_value: float = 0.1, l1_regularization_strength: float = 0.0,
                 l2_regularization_strength: float = 0.0,
                 l2_shrinkage_regularization_strength: float = 0.0, beta: float = 0.0,
                 **settings: Any):  # fmt: skip
        super().__init__(learning_rate, **settings)
        self.initial_accumulator_value = _not_negative("Ftrl", initial_accumulator_value)
        if learning_rate_power > 0:
            raise errors.invalid("Ftrl", "learning_rate_power must be <= 0",
                                 str(learning_rate_power))  # fmt: skip
        self.learning_rate_power = learning_rate_power
        self.l1_regularization_strength = _not_negative("Ftrl", l1_regularization_strength)
        self.l2_regularization_strength = _not_negative("Ftrl", l2_regularization_strength)
        self.l2_shrinkage_regularization_strength = _not_negative(
            "Ftrl", l2_shrinkage_regularization_strength
        )
        self.beta = beta

    def build(self, variables: Any) -> None:
        """Makes two slots a variable."""
        if self.built:
            return
        super().build(variables)
        self._totals, self._linears = self.add_optimizer_variables(
            self._trainable_variables,
            ["accumulator", "linear"],
            [_filled(self.initial_accumulator_value), "zeros"],
        )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        rate = math.cast(learning_rate, variable.dtype)
        index = self._get_variable_index(variable)
        total, linear = self._totals[index], self._linears[index]
        w, power = variable.value(), -self.learning_rate_power
        shrunk = gradient + w * (2.0 * self.l2_shrinkage_regularization_strength)
        before, after = total.value(), total.value() + gradient * gradient
        growth = (math.pow(after, power) - math.pow(before, power)) / rate
        z = linear + shrunk - growth * w
        l2 = self.l2_regularization_strength + self.beta / (2.0 * rate)
        quadratic = math.pow(after, power) / rate + 2.0 * l2
        l1 = self.l1_regularization_strength
        self.assign(variable, (math.clip_by_value(z, -l1, l1) - z) / quadratic)
        self.assign(linear, z)
        self.assign(total, after)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        names = (
            "learning_rate_power", "initial_accumulator_value", "l1_regularization_strength",
            "l2_regularization_strength", "l2_shrinkage_regularization_strength", "beta",
        )  # fmt: skip
        return super().get_config() | {name: getattr(self, name) for name in names}


def _filled(value: float) -> Any:
    return lambda shape, dtype: np.full(shape, value, dtype.numpy)


def _not_negative(where: str, value: float) -> float:
    if value < 0.0:
        raise errors.invalid(where, "initial value and strengths must be >= 0", str(value))
    return value
