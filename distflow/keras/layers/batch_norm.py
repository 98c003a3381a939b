"""BatchNormalization: by the batch's mean and variance in training, by moving ones otherwise.

Inside `strategy.run` each replica normalises with its own part of the batch; the moving statistics
are the mean over the replicas. `synchronized=True` takes the statistics of the whole batch.
"""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors, shapes
from distflow.core import context
from distflow.keras import constraints, initializers, regularizers
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described
from distflow.ops import array, dims, math
from distflow.ops.creation import ones_like
from distflow.ops.normalization import batch_normalization
from distflow.ops.reduce import moments, reduce_sum

_MASK_EPSILON = 1e-7


class BatchNormalization(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, for each channel.

    Args:
      axis: the channels' axis.
      momentum: moving statistics keep this part of themselves at each training step.
      center, scale: whether there is a beta, a gamma.
      synchronized: whether replicas share the statistics of the whole batch.

    A frozen layer (`trainable = False`) always uses the moving statistics.

    Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
    """

    def __init__(self, axis: int = -1, momentum: float = 0.99, epsilon: float = 1e-3,
                 center: bool = True, scale: bool = True, beta_initializer: Any = "zeros",
                 gamma_initializer: Any = "ones", moving_mean_initializer: Any = "zeros",
                 moving_variance_initializer: Any = "ones", beta_regularizer: Any = None,
                 gamma_regularizer: Any = None, beta_constraint: Any = None,
                 gamma_constraint: Any = None, renorm: bool = False,
                 renorm_clipping: Any = None, renorm_momentum: float = 0.99,
                 synchronized: bool = False, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        if renorm or renorm_clipping:
            raise errors.UnimplementedError("BatchNormalization: renorm is not there.")
        self.axis = int(axis)
        self.momentum = momentum
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.synchronized = synchronized
        self.renorm_momentum = renorm_momentum
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Makes gamma, beta and the moving statistics."""
        at = shapes.axis("BatchNormalization", self.axis, len(input_shape))
        channels = input_shape[at]
        if channels is None:
            raise errors.invalid(
                "BatchNormalization", f"the size of axis {self.axis} must be known",
                f"input shape {tuple(input_shape)}",
            )  # fmt: skip
        shape = (channels,)
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                shape=shape, name="gamma", initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer, constraint=self.gamma_constraint,
                autocast=False,
            )  # fmt: skip
        if self.center:
            self.beta = self.add_weight(
                shape=shape, name="beta", initializer=self.beta_initializer,
                regularizer=self.beta_regularizer, constraint=self.beta_constraint,
                autocast=False,
            )  # fmt: skip
        self.moving_mean = self._moving(shape, "moving_mean", self.moving_mean_initializer)
        self.moving_variance = self._moving(
            shape, "moving_variance", self.moving_variance_initializer
        )
        self.input_spec = InputSpec(ndim=len(input_shape), axes={at: channels})
        self._reduced = [i for i in range(len(input_shape)) if i != at]
        self._spread = [1] * at + [channels] + [1] * (len(input_shape) - 1 - at)

    def _moving(self, shape: Any, name: str, initializer: Any) -> Any:
        return self.add_weight(
            shape=shape, name=name, initializer=initializer, trainable=False, autocast=False,
            aggregation="mean",
        )  # fmt: skip

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Returns the normalised inputs; in training the moving statistics move."""
        if mask is not None and tuple(mask.shape) != tuple(inputs.shape[: mask.ndim]):
            shapes.merge("BatchNormalization: mask", inputs.shape[: mask.ndim], mask.shape)
        wide = inputs.dtype.is_floating and inputs.dtype.size > 2
        x = inputs if wide else math.cast(inputs, dtypes.float32)
        if training and self.trainable:
            mean, variance = self._moments(x, mask)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        else:
            mean, variance = (
                math.cast(v.value(), x.dtype) for v in (self.moving_mean, self.moving_variance)
            )
        gamma, beta = (
            None if v is None else array.reshape(math.cast(v.value(), x.dtype), self._spread)
            for v in (self.gamma, self.beta)
        )
        mean, variance = (array.reshape(v, self._spread) for v in (mean, variance))
        outputs = batch_normalization(x, mean, variance, beta, gamma, self.epsilon)
        return math.cast(outputs, self.compute_dtype)

    def _move(self, variable: Any, value: Any) -> None:
        value = math.cast(value, variable.dtype)
        variable.assign(variable * self.momentum + value * (1.0 - self.momentum))

    def _moments(self, x: Any, mask: Any) -> tuple[Any, Any]:
        if mask is not None:
            return self._masked_moments(x, mask)
        replica = context.state.replica
        if not self.synchronized or replica is None:
            return moments(x, self._reduced)
        # Sums and their count, not means: replicas may have different numbers of rows.
        count = math.cast(dims.count(x, self._reduced), x.dtype)
        total, squares, count = replica.all_reduce(
            "SUM", [reduce_sum(x, self._reduced), reduce_sum(x * x, self._reduced), count]
        )
        mean = total / count
        return mean, squares / count - mean * mean

    def _masked_moments(self, x: Any, mask: Any) -> tuple[Any, Any]:
        weights = math.cast(mask, x.dtype)
        while weights.ndim < x.ndim:
            weights = array.expand_dims(weights, -1)
        weights = weights * ones_like(x)
        sums = [
            reduce_sum(x * weights, self._reduced, keepdims=True),
            reduce_sum(weights, self._reduced, keepdims=True),
        ]
        replica = context.state.replica if self.synchronized else None
        if replica is not None:
            sums = replica.all_reduce("SUM", sums)
        total = sums[1] + _MASK_EPSILON
        mean = sums[0] / total
        squares = reduce_sum(weights * math.square(x - mean), self._reduced, keepdims=True)
        if replica is not None:
            squares = replica.all_reduce("SUM", squares)
        flat = [x.shape[i] for i in range(x.ndim) if i not in self._reduced]
        return array.reshape(mean, flat), array.reshape(squares / total, flat)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config() | described(
            self, "axis", "momentum", "epsilon", "center", "scale", "beta_initializer",
            "gamma_initializer", "moving_mean_initializer", "moving_variance_initializer",
            "beta_regularizer", "gamma_regularizer", "beta_constraint", "gamma_constraint",
            "synchronized",
        )  # fmt: skip
        rest = {"renorm": False, "renorm_clipping": None, "renorm_momentum": self.renorm_momentum}
        return config | rest
