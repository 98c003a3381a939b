"""GroupNormalization: each example's channels, group by group, get mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors, shapes
from distflow.keras import constraints, initializers, regularizers
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described
from distflow.ops import array, dims, math
from distflow.ops.normalization import batch_normalization
from distflow.ops.reduce import moments


class GroupNormalization(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, over groups of each example's channels.

    Args:
      groups: number of groups, which divides the channels; -1 for one group a channel.
      axis: the channels' axis.

    Source: Wu & He 2018, arXiv:1803.08494.
    """

    def __init__(self, groups: int = 32, axis: int = -1, epsilon: float = 1e-3,
                 center: bool = True, scale: bool = True, beta_initializer: Any = "zeros",
                 gamma_initializer: Any = "ones", beta_regularizer: Any = None,
                 gamma_regularizer: Any = None, beta_constraint: Any = None,
                 gamma_constraint: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        self.groups = groups
        self.axis = axis
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Makes gamma and beta."""
        at = shapes.axis("GroupNormalization", self.axis, len(input_shape))
        channels = input_shape[at]
        where = "GroupNormalization"
        if channels is None:
            raise errors.invalid(
                where, f"Axis {self.axis} of input tensor should have a defined dimension",
                f"input shape {tuple(input_shape)}",
            )  # fmt: skip
        if self.groups == -1:
            self.groups = channels
        if channels < self.groups:
            raise errors.invalid(
                where, f"Number of groups ({self.groups}) cannot be more than the number of "
                f"channels ({channels})", f"input shape {tuple(input_shape)}",
            )  # fmt: skip
        if self.groups < 1 or channels % self.groups:
            raise errors.invalid(
                where, f"The number of groups ({self.groups}) must be a positive divisor of the "
                f"number of channels ({channels})", f"input shape {tuple(input_shape)}",
            )  # fmt: skip
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                shape=(channels,), name="gamma", initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer, constraint=self.gamma_constraint,
            )  # fmt: skip
        if self.center:
            self.beta = self.add_weight(
                shape=(channels,), name="beta", initializer=self.beta_initializer,
                regularizer=self.beta_regularizer, constraint=self.beta_constraint,
            )  # fmt: skip
        self._at = at
        self.input_spec = InputSpec(ndim=len(input_shape), axes={at: channels})

    def call(self, inputs: Any) -> Any:
        """Returns the normalised inputs."""
        x = math.cast(inputs, self.compute_dtype)
        x = math.cast(x, dtypes.float32) if x.dtype.size == 2 else x
        sizes, at = dims.of(x), self._at
        width = int(inputs.shape[at]) // self.groups
        grouped = dims.reshape(x, [*sizes[:at], self.groups, width, *sizes[at + 1 :]])
        # All axes but the batch and the groups.
        axes = [i for i in range(1, grouped.ndim) if i != at]
        mean, variance = moments(grouped, axes, keepdims=True)
        spread = [1] * grouped.ndim
        spread[at : at + 2] = [self.groups, width]
        gamma, beta = (
            None if v is None else array.reshape(math.cast(v, x.dtype), spread)
            for v in (self.gamma, self.beta)
        )
        y = batch_normalization(grouped, mean, variance, beta, gamma, self.epsilon)
        return math.cast(dims.reshape(y, sizes), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(
            self, "groups", "axis", "epsilon", "center", "scale", "beta_initializer",
            "gamma_initializer", "beta_regularizer", "gamma_regularizer", "beta_constraint",
            "gamma_constraint",
        )  # fmt: skip
