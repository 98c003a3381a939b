"""Normalisations of each example by itself, and fixed rescaling."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.keras import constraints, initializers, regularizers, serialization
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described
from distflow.ops import array, math
from distflow.ops.normalization import l2_normalize, layer_normalization
from distflow.ops.reduce import moments, reduce_mean


class LayerNormalization(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta over axes of each example.

    Args:
      axis: an int or several; gamma and beta have their sizes.
      rms_scaling: x * gamma / sqrt(variance + epsilon) instead, as older programs have it.

    Source: Ba, Kiros & Hinton 2016, arXiv:1607.06450.
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-3, center: bool = True,
                 scale: bool = True, beta_initializer: Any = "zeros",
                 gamma_initializer: Any = "ones", beta_regularizer: Any = None,
                 gamma_regularizer: Any = None, beta_constraint: Any = None,
                 gamma_constraint: Any = None, **kwargs: Any):  # fmt: skip
        self.rms_scaling = bool(kwargs.pop("rms_scaling", False))
        super().__init__(**kwargs)
        if isinstance(axis, list | tuple):
            axis = list(axis)
        elif not isinstance(axis, int):
            raise errors.DtypeMismatchError(
                "LayerNormalization: expected an int or a list/tuple of ints for the argument "
                f"'axis'; received {axis!r}."
            )
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
        rank = len(input_shape)
        if isinstance(self.axis, int):
            self.axis = [self.axis]
        self._axes = shapes.axes("LayerNormalization", self.axis, rank)
        shape = tuple(input_shape[a] for a in self._axes)
        self._spread = [input_shape[i] if i in self._axes else 1 for i in range(rank)]
        self.gamma = self.beta = None
        if self.scale:
            self.gamma = self.add_weight(
                name="gamma", shape=shape, initializer=self.gamma_initializer,
                regularizer=self.gamma_regularizer, constraint=self.gamma_constraint,
                autocast=False,
            )  # fmt: skip
        if self.center and not self.rms_scaling:
            self.beta = self.add_weight(
                name="beta", shape=shape, initializer=self.beta_initializer,
                regularizer=self.beta_regularizer, constraint=self.beta_constraint,
                autocast=False,
            )  # fmt: skip

    def call(self, inputs: Any) -> Any:
        """Returns the normalised inputs."""
        gamma, beta = (
            None if v is None else array.reshape(v, self._spread) for v in (self.gamma, self.beta)
        )
        if self.rms_scaling:
            return self._scaled(inputs, gamma)
        outputs = layer_normalization(
            math.cast(inputs, self.compute_dtype),
            gamma,
            beta,
            axes=list(self._axes),
            epsilon=self.epsilon,
        )
        return math.cast(outputs, self.compute_dtype)

    def _scaled(self, inputs: Any, gamma: Any) -> Any:
        x = math.cast(inputs, self.compute_dtype)
        wide = math.cast(x, dtypes.float32) if x.dtype.size == 2 else x
        _, variance = moments(wide, list(self._axes), keepdims=True)
        y = wide * math.rsqrt(variance + self.epsilon)
        return math.cast(y if gamma is None else y * math.cast(gamma, y.dtype), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        shapes.axes("LayerNormalization", self.axis, len(input_shape))
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config() | described(self, "axis", "epsilon", "center", "scale")
        return (
            config
            | {"rms_scaling": self.rms_scaling}
            | described(
                self, "beta_initializer", "gamma_initializer", "beta_regularizer",
                "gamma_regularizer", "beta_constraint", "gamma_constraint",
            )
        )  # fmt: skip


class RMSNormalization(Layer):
    """scale * x / sqrt(mean(x * x) + epsilon) over axes of each example.

    Args:
      axis: an int or several; the scale has their sizes.

    Source: Zhang & Sennrich 2019, arXiv:1910.07467.
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = axis
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        """Makes the scale."""
        given = self.axis if isinstance(self.axis, list | tuple) else [self.axis]
        rank = len(input_shape)
        self._axes = shapes.axes("RMSNormalization", list(given), rank)
        self._spread = [input_shape[i] if i in self._axes else 1 for i in range(rank)]
        self.scale = self.add_weight(
            name="scale", shape=tuple(input_shape[a] for a in self._axes), initializer="ones",
            autocast=False,
        )  # fmt: skip

    def call(self, x: Any) -> Any:
        """Returns the inputs scaled to a mean square of 1, times the scale."""
        wide = math.cast(x, dtypes.float32) if x.dtype.size == 2 else x
        square = reduce_mean(math.square(wide), list(self._axes), keepdims=True)
        y = wide * math.rsqrt(square + self.epsilon)
        scale = math.cast(self.scale.value(), y.dtype)
        return math.cast(y * array.reshape(scale, self._spread), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        given = self.axis if isinstance(self.axis, list | tuple) else [self.axis]
        shapes.axes("RMSNormalization", list(given), len(input_shape))
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"axis": self.axis, "epsilon": self.epsilon}


class UnitNormalization(Layer):
    """x / norm(x) over axes."""

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(axis, int | list | tuple):
            raise errors.DtypeMismatchError(
                "UnitNormalization: expected an int or a list/tuple of ints for the argument "
                f"'axis'; received {axis!r}."
            )
        self.axis = list(axis) if isinstance(axis, list | tuple) else axis
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns the inputs with the norm 1."""
        return l2_normalize(inputs, axis=self.axis, epsilon=1e-12)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"axis": self.axis}


class Rescaling(Layer):
    """inputs * scale + offset, for instance Rescaling(1 / 255) for images."""

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale
        self.offset = offset
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns inputs * scale + offset in the compute dtype."""
        x = math.cast(inputs, self.compute_dtype)
        scale, offset = (
            math.cast(convert_to_tensor(v), self.compute_dtype) for v in (self.scale, self.offset)
        )
        return x * scale + offset

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "scale": serialization.serialize_keras_object(self.scale),
            "offset": serialization.serialize_keras_object(self.offset),
        }
