"""Layers that disturb their inputs in training: dropout and noise.

Draws come from a SeedGenerator, whose count is a variable: the same seed and step give the same
mask on every worker, and every replica its own.
"""

from __future__ import annotations

import math as _math
from typing import Any

from distflow.base import errors
from distflow.keras import config as settings
from distflow.keras import random, regularizers
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import Layer
from distflow.keras.layers.arguments import described
from distflow.ops import math
from distflow.ops.prims.elementwise import select

# -alpha * scale of selu.
_SELU_LOWEST = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946


class _Random(Layer):
    """A layer with a seed and one number between 0 and 1, which does nothing outside training."""

    def __init__(self, what: str, value: float, seed: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise errors.invalid(
                type(self).__name__,
                f"Invalid value received for argument `{what}`. Expected a float value between 0 "
                "and 1", f"{what}={value}",
            )  # fmt: skip
        self.seed = seed
        if value > 0:
            self.seed_generator = random.SeedGenerator(seed)
        self.supports_masking = True


class Dropout(_Random):
    """Sets a part `rate` of the inputs to 0 in training and divides the others by 1 - rate.

    Args:
      noise_shape: shape of the mask, which broadcasts to the inputs; None stands for their size.

    Source: Srivastava et al. 2014, JMLR 15.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any):
        super().__init__("rate", rate, seed, **kwargs)
        self.rate = rate
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Returns the inputs, with some of them 0 in training."""
        if not training or self.rate == 0:
            return inputs
        return random.dropout(inputs, self.rate, self._noise_shape(inputs), self.seed_generator)

    def _noise_shape(self, inputs: Any) -> Any:
        return self.noise_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "rate", "seed", "noise_shape")


class AlphaDropout(_Random):
    """Dropout for selu networks: what is dropped becomes selu's lowest value, then the whole is
    scaled so that mean and variance stay.

    Args:
      noise_shape: shape of the mask, which broadcasts to the inputs; None stands for their size.

    Source: Klambauer et al. 2017, arXiv:1706.02515, section "alpha dropout".
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any):
        super().__init__("rate", rate, seed, **kwargs)
        self.rate = rate
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Returns the inputs, with some of them at selu's lowest value in training."""
        if not training or self.rate == 0:
            return inputs
        full = random.shape_of(inputs)
        if self.noise_shape is not None:
            full = [full[i] if d is None else d for i, d in enumerate(self.noise_shape)]
        drawn = random.uniform(full, seed=self.seed_generator)
        factor = ((1 - self.rate) * (1 + self.rate * _SELU_LOWEST**2)) ** -0.5
        kept = math.greater_equal(drawn, self.rate)
        x = select(kept, inputs, inputs * 0 + _SELU_LOWEST)
        return x * factor - factor * _SELU_LOWEST * self.rate

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "rate", "seed", "noise_shape")


class _SpatialDropout(Dropout):
    """Sets whole channels to 0. Source: Tompson et al. 2014, arXiv:1411.4280."""

    _n = 1

    def __init__(self, rate: float, data_format: str | None = None, seed: Any = None,
                 name: str | None = None, dtype: Any = None):  # fmt: skip
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.data_format = settings.standardize_data_format(data_format)
        self.input_spec = InputSpec(ndim=self._n + 2)

    def _noise_shape(self, inputs: Any) -> Any:
        ones = [1] * self._n
        return [None, None, *ones] if self.data_format == "channels_first" else [None, *ones, None]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return {"rate": self.rate, "seed": self.seed, "name": self.name, "dtype": self.dtype}


class SpatialDropout1D(_SpatialDropout):
    """Sets whole channels of sequences to 0."""

    def __init__(self, rate: float, seed: Any = None, name: str | None = None, dtype: Any = None):
        super().__init__(rate, "channels_last", seed, name, dtype)


class SpatialDropout2D(_SpatialDropout):
    """Sets whole channels of images to 0."""

    _n = 2

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"data_format": self.data_format}


class SpatialDropout3D(_SpatialDropout):
    """Sets whole channels of volumes to 0."""

    _n = 3

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"data_format": self.data_format}


class GaussianNoise(_Random):
    """Adds normal noise of a standard deviation in training."""

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any):
        super().__init__("stddev", stddev, seed, **kwargs)
        self.stddev = stddev

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Returns the inputs, with noise in training."""
        if not training or self.stddev == 0:
            return inputs
        shape = random.shape_of(inputs)
        noise = random.normal(shape, 0.0, self.stddev, inputs.dtype, self.seed_generator)
        return inputs + noise

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "stddev", "seed")


class GaussianDropout(_Random):
    """Multiplies by normal noise of mean 1 and variance rate / (1 - rate) in training."""

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any):
        super().__init__("rate", rate, seed, **kwargs)
        self.rate = rate

    def call(self, inputs: Any, training: Any = False) -> Any:
        """Returns the inputs, with noise in training."""
        if not training or self.rate == 0:
            return inputs
        stddev = _math.sqrt(self.rate / (1.0 - self.rate))
        shape = random.shape_of(inputs)
        return inputs * random.normal(shape, 1.0, stddev, inputs.dtype, self.seed_generator)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | described(self, "rate", "seed")


class ActivityRegularization(Layer):
    """Adds the size of its inputs to the loss, and returns them as they are."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any):
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.supports_masking = True
        self.l1 = l1
        self.l2 = l2

    def call(self, inputs: Any) -> Any:
        """Returns the inputs."""
        return inputs

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        config = super().get_config()
        config.pop("activity_regularizer", None)
        return config | {"l1": self.l1, "l2": self.l2}
