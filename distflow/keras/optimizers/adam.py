"""Adam and its relatives: AdamW, Adamax, Nadam, Lamb, ScheduleFreeAdamW.

m follows the gradient with beta_1, v its square (Adamax: its largest size) with beta_2.
`**settings` are those of `Optimizer`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.core.variable import VariableAggregation
from distflow.keras.optimizers.base import Optimizer
from distflow.ops import math
from distflow.ops.prims.elementwise import select
from distflow.ops.reduce import reduce_sum


class _Moments(Optimizer):
    """What these share: beta_1, beta_2, epsilon and two slots a variable."""

    _slots = ("momentum", "velocity")

    def __init__(self, learning_rate: Any, beta_1: float, beta_2: float, epsilon: float,
                 **settings: Any):  # fmt: skip
        super().__init__(learning_rate, **settings)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: Any) -> None:
        """Makes two slots a variable."""
        if self.built:
            return
        super().build(variables)
        self._first, self._second = self.add_optimizer_variables(
            self._trainable_variables, self._slots
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return super().get_config() | own

    def _step(self, dtype: Any, ahead: int = 1) -> Any:
        return math.cast(self.iterations + ahead, dtype)

    def _slots_of(self, variable: Any) -> tuple[Any, Any]:
        index = self._get_variable_index(variable)
        return self._first[index], self._second[index]

    def _follow(self, slot: Any, value: Any, beta: Any) -> Any:
        """Moves a slot towards a value by 1 - beta; returns where it is now."""
        before = slot.value()
        moved = before + (value - before) * (1 - beta)
        self.assign(slot, moved)
        return moved


class Adam(_Moments):
    """w -= rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).

    With `amsgrad`, v is the largest one so far.

    Source: Kingma & Ba 2014, arXiv:1412.6980; Reddi et al. 2018 for amsgrad.
    """

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, amsgrad: bool = False, **settings: Any):  # fmt: skip
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **settings)
        self.amsgrad = amsgrad

    def build(self, variables: Any) -> None:
        """Makes two slots a variable, three with amsgrad."""
        if self.built:
            return
        super().build(variables)
        if self.amsgrad:
            self._largest = self.add_optimizer_variables(self._trainable_variables, "velocity_hat")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        rate, t = math.cast(learning_rate, variable.dtype), self._step(variable.dtype)
        momentum, velocity = self._slots_of(variable)
        alpha = rate * math.sqrt(1 - math.pow(self.beta_2, t)) / (1 - math.pow(self.beta_1, t))
        m = self._follow(momentum, gradient, self.beta_1)
        v = self._follow(velocity, gradient * gradient, self.beta_2)
        if self.amsgrad:
            largest = self._largest[self._get_variable_index(variable)]
            v = math.maximum(largest.value(), v)
            self.assign(largest, v)
        self.assign_sub(variable, m * alpha / (math.sqrt(v) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return super().get_config() | {"amsgrad": self.amsgrad}


class AdamW(Adam):
    """Adam after w -= rate * weight_decay * w.

    Source: Loshchilov & Hutter 2017, arXiv:1711.05101.
    """

    def __init__(self, learning_rate: Any = 0.001, weight_decay: float = 0.004,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
                 amsgrad: bool = False, **settings: Any):  # fmt: skip
        if weight_decay is None:
            raise errors.invalid("AdamW", "weight_decay must be a number", "None")
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad,
                         weight_decay=weight_decay, **settings)  # fmt: skip


class Adamax(_Moments):
    """u = max(beta_2 u, |g|); w -= rate / (1 - beta_1^t) m / (u + epsilon).

    Source: Kingma & Ba 2014, arXiv:1412.6980, section 7.
    """

    _slots = ("momentum", "norm")

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **settings: Any):  # fmt: skip
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **settings)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        rate, t = math.cast(learning_rate, variable.dtype), self._step(variable.dtype)
        momentum, norm = self._slots_of(variable)
        m = self._follow(momentum, gradient, self.beta_1)
        u = math.maximum(norm * self.beta_2, math.abs(gradient))
        self.assign(norm, u)
        self.assign_sub(variable, m * rate / ((u + self.epsilon) * (1 - math.pow(self.beta_1, t))))


class Nadam(_Moments):
    """Adam with Nesterov's look-ahead; the momentum grows as 1 - 0.96^t / 2.

    Source: Dozat 2016, Incorporating Nesterov momentum into Adam.
    """

    _decay = 0.96

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **settings: Any):  # fmt: skip
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **settings)

    def build(self, variables: Any) -> None:
        """Makes two slots a variable and one for the product of all momenta."""
        if self.built:
            return
        super().build(variables)
        # Last in the state, under the name that Keras gives it.
        self._product = self._new_variable(
            np.ones((), np.float32), "variable", VariableAggregation.NONE
        )

    def _update_all(self, grads: list[Any], variables: list[Any], rate: Any) -> None:
        dtype = self._product.dtype
        self.assign(self._product, self._product * self._momentum(self._step(dtype)))
        super()._update_all(grads, variables, rate)

    def _momentum(self, t: Any) -> Any:
        return self.beta_1 * (1 - 0.5 * math.pow(self._decay, t))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        dtype = variable.dtype
        rate, t = math.cast(learning_rate, dtype), self._step(dtype)
        now, following = self._momentum(t), self._momentum(self._step(dtype, 2))
        product = math.cast(self._product.value(), dtype)
        momentum, velocity = self._slots_of(variable)
        # The betas are rounded to the variable's dtype before 1 - beta, as in Keras.
        beta_1, beta_2 = (convert_to_tensor(b, dtype) for b in (self.beta_1, self.beta_2))
        m = self._follow(momentum, gradient, beta_1)
        v = self._follow(velocity, gradient * gradient, beta_2)
        m_hat = m * following / (1 - product * following) + gradient * (1 - now) / (1 - product)
        v_hat = v / (1 - math.pow(self.beta_2, t))
        self.assign_sub(variable, m_hat * rate / (math.sqrt(v_hat) + self.epsilon))


class Lamb(_Moments):
    """Adam whose step in each variable is as long as rate times the variable's own norm.

    Source: You et al. 2019, arXiv:1904.00962.
    """

    def __init__(self, learning_rate: Any = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-7, **settings: Any):  # fmt: skip
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **settings)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        rate, t = math.cast(learning_rate, variable.dtype), self._step(variable.dtype)
        momentum, velocity = self._slots_of(variable)
        m = self._follow(momentum, gradient, self.beta_1) / (1 - math.pow(self.beta_1, t))
        v = self._follow(velocity, gradient * gradient, self.beta_2) / (
            1 - math.pow(self.beta_2, t)
        )
        update = m / (math.sqrt(v) + self.epsilon)
        w = variable.value()
        own, step = math.sqrt(reduce_sum(w * w)), math.sqrt(reduce_sum(update * update))
        both = math.logical_and(own > 0, step > 0)
        ratio = select(both, own / select(both, step, step * 0 + 1), own * 0 + 1)
        self.assign_sub(variable, update * (ratio * rate))


class ScheduleFreeAdamW(_Moments):
    """AdamW on a fast copy z of the weights; the weights are beta_1 mean(z) + (1 - beta_1) z.

    It needs no schedule: averaging does what a falling rate would do. The slot "momentum" is z.

    Keras on TensorFlow takes z after its step for z before it; this is the algorithm of the paper.

    Source: Defazio et al. 2024, arXiv:2405.15682, algorithm 1.
    """

    def __init__(self, learning_rate: Any = 0.0025, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-8, warmup_steps: int = 0, **settings: Any):  # fmt: skip
        if not 0 < beta_1 <= 1:
            raise errors.invalid("ScheduleFreeAdamW", "beta_1 must be in (0, 1]", str(beta_1))
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **settings)
        self.warmup_steps = warmup_steps

    def build(self, variables: Any) -> None:
        """Makes two slots a variable; the first starts at the variable's value."""
        if self.built:
            return
        super().build(variables)
        for slot, variable in zip(self._first, self._trainable_variables):
            slot.assign(variable.value())

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Changes one variable and its slots."""
        dtype = variable.dtype
        rate, t = math.cast(learning_rate, dtype), self._step(dtype)
        if self.warmup_steps > 0:
            rate = rate * math.minimum(t / self.warmup_steps, 1.0)
        fast, velocity = self._slots_of(variable)
        # The betas are rounded to the variable's dtype before 1 - beta, as in Keras.
        beta_1, beta_2 = (convert_to_tensor(b, dtype) for b in (self.beta_1, self.beta_2))
        v = self._follow(velocity, gradient * gradient, beta_2)
        before = fast.value()
        size = math.sqrt(v / (1 - math.pow(beta_2, t))) + self.epsilon
        z = before - rate * gradient / size
        self.assign(fast, z)
        # The mean is not stored: it follows from the weights and z.
        mean = (variable - (1 - beta_1) * before) / beta_1
        mean = (1 - 1 / t) * mean + z / t
        self.assign(variable, (1 - beta_1) * z + beta_1 * mean)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal optimizer."""
        return super().get_config() | {"warmup_steps": self.warmup_steps}
