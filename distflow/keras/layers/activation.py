"""Activations as layers: ReLU, LeakyReLU, PReLU, ELU, Softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.keras import activations, constraints, initializers, regularizers
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described
from distflow.ops import activations as nn
from distflow.ops import math
from distflow.ops.reduce import reduce_logsumexp


class ReLU(Layer):
    """x from `threshold` to `max_value`, negative_slope * (x - threshold) below."""

    def __init__(self, max_value: Any = None, negative_slope: float = 0.0,
                 threshold: float = 0.0, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        if max_value is not None and max_value < 0.0:
            raise errors.invalid(
                "ReLU", "max_value of a ReLU layer cannot be a negative value",
                f"max_value={max_value}",
            )  # fmt: skip
        if negative_slope is None or negative_slope < 0.0:
            raise errors.invalid(
                "ReLU", "negative_slope of a ReLU layer cannot be a negative value",
                f"negative_slope={negative_slope}",
            )  # fmt: skip
        if threshold is None or threshold < 0.0:
            raise errors.invalid(
                "ReLU", "threshold of a ReLU layer cannot be a negative value",
                f"threshold={threshold}",
            )  # fmt: skip
        self.max_value = max_value
        self.negative_slope = negative_slope
        self.threshold = threshold
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns relu(inputs)."""
        return activations.relu(inputs, self.negative_slope, self.max_value, self.threshold)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "max_value", "negative_slope", "threshold")


class LeakyReLU(Layer):
    """x, and negative_slope * x below 0."""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
        if negative_slope is None or negative_slope < 0:
            raise errors.invalid(
                "LeakyReLU", "The negative_slope value of a Leaky ReLU layer cannot be None or "
                "negative", f"negative_slope={negative_slope}",
            )  # fmt: skip
        self.negative_slope = negative_slope
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns leaky_relu(inputs)."""
        return activations.leaky_relu(inputs, self.negative_slope)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "negative_slope")


class ELU(Layer):
    """x, and alpha * (exp(x) - 1) below 0."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = alpha
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns elu(inputs)."""
        return activations.elu(inputs, self.alpha)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "alpha")


class ThresholdedReLU(Layer):
    """x where it is above theta, else 0; gone in Keras 3, kept for programs of TF 2.

    Source: Konda, Memisevic & Krueger 2014, arXiv:1402.3337.
    """

    def __init__(self, theta: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        if theta is None or theta < 0:
            raise errors.invalid("ThresholdedReLU", "`theta` of at least 0", f"theta={theta}")
        self.theta = float(theta)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns inputs above theta, and 0 for others."""
        return inputs * math.cast(math.greater(inputs, self.theta), inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"theta": self.theta}


class PReLU(Layer):
    """x, and alpha * x below 0, with an alpha that is learned for each feature.

    Args:
      shared_axes: axes along which alpha is the same (the first after the batch is 1).

    Source: He et al. 2015, arXiv:1502.01852.
    """

    def __init__(self, alpha_initializer: Any = "Zeros", alpha_regularizer: Any = None,
                 alpha_constraint: Any = None, shared_axes: Any = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        self.supports_masking = True
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        if shared_axes is not None and not isinstance(shared_axes, list | tuple):
            shared_axes = [shared_axes]
        self.shared_axes = None if shared_axes is None else list(shared_axes)

    def build(self, input_shape: Any) -> None:
        """Makes alpha."""
        shape = list(input_shape[1:])
        for axis in self.shared_axes or ():
            if not 1 <= axis < len(input_shape):
                raise errors.invalid(
                    "PReLU", f"`shared_axes` in [1, {len(input_shape)})",
                    f"shared_axes={self.shared_axes}",
                )  # fmt: skip
            shape[axis - 1] = 1
        self.alpha = self.add_weight(
            name="alpha", shape=tuple(shape), initializer=self.alpha_initializer,
            regularizer=self.alpha_regularizer, constraint=self.alpha_constraint,
        )  # fmt: skip
        shared = set(self.shared_axes or ())
        axes = {i: d for i, d in enumerate(input_shape) if i and i not in shared}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=axes)

    def call(self, inputs: Any) -> Any:
        """Returns relu(inputs) - alpha * relu(-inputs)."""
        return nn.relu(inputs) - self.alpha * nn.relu(-inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(
            self, "alpha_initializer", "alpha_regularizer", "alpha_constraint", "shared_axes"
        )


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along an axis or several; what the mask leaves out becomes 0."""

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis
        self.supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Returns softmax(inputs)."""
        if mask is None:
            return self._softmax(inputs)
        # Far below all others, yet finite: rows without any entry stay numbers, and become 0.
        lowest = -3.0e4 if inputs.dtype.name == "float16" else -1e9
        inside = math.cast(mask, inputs.dtype)
        return (
            self._softmax(inputs + (1 - inside) * np.asarray(lowest, inputs.dtype.numpy)) * inside
        )

    def _softmax(self, inputs: Any) -> Any:
        if isinstance(self.axis, list | tuple):
            if len(self.axis) > 1:
                axes = list(self.axis)
                return math.exp(inputs - reduce_logsumexp(inputs, axis=axes, keepdims=True))
            return activations.softmax(inputs, axis=self.axis[0])
        return activations.softmax(inputs, axis=self.axis)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"axis": self.axis}
