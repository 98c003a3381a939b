"""Initializers: the distributions that Keras's layers start from, as functions of a seed."""

from __future__ import annotations

import math as _math
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core import context
from distflow.core.convert import convert_to_tensor
from distflow.core.tensor import EagerTensor
from distflow.keras import by_name, config, random, serialization, windows

# Standard deviation of a standard normal distribution cut off at two of them.
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """The contract: `initializer(shape, dtype=None)` returns a tensor."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        raise errors.UnimplementedError(
            f"Initializer: {type(self).__name__} must define __call__(shape, dtype=None)."
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns an initializer made from `get_config()`."""
        return cls(**config)

    def clone(self) -> Any:
        """Returns a new initializer of the same config."""
        return type(self).from_config(self.get_config())


class Zeros(Initializer):
    """All 0."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        return _filled(shape, 0, dtype)


class Ones(Initializer):
    """All 1."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        return _filled(shape, 1, dtype)


class Constant(Initializer):
    """All `value`, a number or an array that broadcasts."""

    def __init__(self, value: Any = 0.0):
        self.value = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        return _filled(shape, np.asarray(self.value), dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        return {"value": serialization.serialize_keras_object(self.value)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Returns an initializer made from `get_config()`."""
        return cls(serialization.deserialize_keras_object(config["value"]))


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere."""

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        if len(shape) != 2:
            raise errors.invalid(
                "Identity", "can only be used for 2D matrices",
                f"shape={tuple(shape)} of rank {len(shape)}",
            )  # fmt: skip
        return _filled(shape, np.eye(*shape) * self.gain, dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        # Keras writes no gain; only what would be lost is added.
        return {} if self.gain == 1.0 else {"gain": self.gain}


class RandomInitializer(Initializer):
    """An initializer with a seed: an int, a SeedGenerator, or None for a drawn one.

    An int seed, also a drawn one, gives the same values in every call of the same shape.
    """

    def __init__(self, seed: Any = None):
        self._init_seed = seed
        if seed is None:
            seed = random.make_default_seed()
        elif isinstance(seed, dict):
            seed = serialization.deserialize_keras_object(seed)
        if not isinstance(seed, int | np.integer | random.SeedGenerator):
            raise errors.invalid(
                type(self).__name__, "`seed` must be an int or a SeedGenerator", repr(seed)
            )
        self.seed = seed

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        return {"seed": serialization.serialize_keras_object(self._init_seed)}


class RandomNormal(RandomInitializer):
    """Normal."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        return random.normal(shape, self.mean, self.stddev, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        return super().get_config() | {"mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """Normal, without what lies beyond two standard deviations."""

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        return random.truncated_normal(shape, self.mean, self.stddev, dtype, self.seed)


class RandomUniform(RandomInitializer):
    """Uniform in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None):
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        return random.uniform(shape, self.minval, self.maxval, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        return super().get_config() | {"minval": self.minval, "maxval": self.maxval}


class VarianceScaling(RandomInitializer):
    """Variance scale / n, where n is the number of inputs, of outputs, or their mean.

    Args:
      scale: positive float.
      mode: "fan_in", "fan_out" or "fan_avg".
      distribution: "truncated_normal", "untruncated_normal" or "uniform".
      input_axes, output_axes: axes of the weights that count as inputs and outputs; default the
        last but one and the last, times the window.
    """

    def __init__(self, scale: float = 1.0, mode: str = "fan_in",
                 distribution: str = "truncated_normal", seed: Any = None,
                 input_axes: Any = None, output_axes: Any = None):  # fmt: skip
        if scale <= 0.0:
            raise errors.invalid("VarianceScaling", "`scale` must be a positive float", str(scale))
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise errors.invalid(
                "VarianceScaling", "`mode` must be 'fan_in', 'fan_out' or 'fan_avg'", repr(mode)
            )
        distribution = str(distribution).lower()
        distribution = "truncated_normal" if distribution == "normal" else distribution
        if distribution not in ("uniform", "truncated_normal", "untruncated_normal"):
            raise errors.invalid(
                "VarianceScaling", "`distribution` must be 'uniform', 'truncated_normal' or "
                "'untruncated_normal'", repr(distribution),
            )  # fmt: skip
        super().__init__(seed)
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        fan_in, fan_out = _fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = _math.sqrt(3.0 * variance)
            return random.uniform(shape, -limit, limit, dtype, self.seed)
        stddev = _math.sqrt(variance)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, 0.0, stddev, dtype, self.seed)
        # Cutting off the tails makes the distribution narrower: undo that.
        return random.truncated_normal(shape, 0.0, stddev / _TRUNCATED_STDDEV, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        return super().get_config() | {
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class _NamedScaling(VarianceScaling):
    """A VarianceScaling that has a name instead of settings."""

    _settings: tuple[float, str, str] = (1.0, "fan_in", "uniform")

    def __init__(self, seed: Any = None, input_axes: Any = None, output_axes: Any = None):
        super().__init__(*self._settings, seed, input_axes, output_axes)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        return RandomInitializer.get_config(self) | {
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


class GlorotUniform(_NamedScaling):
    """Uniform within sqrt(6 / (inputs + outputs)). Source: Glorot & Bengio 2010."""

    _settings = (1.0, "fan_avg", "uniform")


class GlorotNormal(_NamedScaling):
    """Truncated normal of variance 2 / (inputs + outputs). Source: Glorot & Bengio 2010."""

    _settings = (1.0, "fan_avg", "truncated_normal")


class LecunUniform(_NamedScaling):
    """Uniform within sqrt(3 / inputs). Source: LeCun et al. 1998, Efficient backprop."""

    _settings = (1.0, "fan_in", "uniform")


class LecunNormal(_NamedScaling):
    """Truncated normal of variance 1 / inputs. Source: LeCun et al. 1998, Efficient backprop."""

    _settings = (1.0, "fan_in", "truncated_normal")


class HeUniform(_NamedScaling):
    """Uniform within sqrt(6 / inputs). Source: He et al. 2015, arXiv:1502.01852."""

    _settings = (2.0, "fan_in", "uniform")


class HeNormal(_NamedScaling):
    """Truncated normal of variance 2 / inputs. Source: He et al. 2015, arXiv:1502.01852."""

    _settings = (2.0, "fan_in", "truncated_normal")


class Orthogonal(RandomInitializer):
    """A matrix with orthonormal rows or columns, whichever are fewer, times `gain`.

    More than two dimensions: all but the last are taken together.

    Source: Saxe, McClelland & Ganguli 2013, arXiv:1312.6120.
    """

    def __init__(self, gain: float = 1.0, seed: Any = None):
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns a tensor of the shape."""
        if len(shape) < 2:
            raise errors.invalid(
                "Orthogonal", "the tensor to initialize must be at least two-dimensional",
                f"shape={tuple(shape)} of rank {len(shape)}",
            )  # fmt: skip
        rows, columns = int(np.prod(shape[:-1])), int(shape[-1])
        with context.init_scope():
            size = (max(rows, columns), min(rows, columns))
            start = random.normal(size, dtype="float64", seed=self.seed)
        q, r = np.linalg.qr(np.asarray(start))
        # A unique decomposition: its diagonal of r is positive.
        q = q * np.sign(np.diag(r))
        q = q.T if rows < columns else q
        return _filled(shape, self.gain * q.reshape(shape), dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        return super().get_config() | {"gain": self.gain}


def _filled(shape: Any, value: Any, dtype: Any) -> Any:
    kind = dtypes.as_dtype(dtype or config.floatx())
    dims = tuple(int(d) for d in shape)
    return EagerTensor(np.broadcast_to(value, dims).astype(kind.numpy, order="C"))


def _fans(shape: Any, inputs: Any, outputs: Any) -> tuple[float, float]:
    """Returns how many numbers go into an output, and how many outputs an input goes to."""
    shape = tuple(int(d) for d in shape)
    if inputs is not None and outputs is not None:
        return (
            float(_math.prod(shape[a] for a in inputs)),
            float(_math.prod(shape[a] for a in outputs)),
        )
    if len(shape) < 2:
        size = float(shape[0]) if shape else 1.0
        return size, size
    window = _math.prod(shape[:-2])
    return float(shape[-2] * window), float(shape[-1] * window)


class STFT(Initializer):
    """Kernels of a convolution that is a short-time Fourier transform.

    Args:
      side: "real" or "imag", the part of the transform.
      window: name of a window, its values, or None.
      scaling: "density" (by the window's norm), "spectrum" (by its sum) or None.
      periodic: whether a window by name is periodic.
    """

    def __init__(self, side: str = "real", window: Any = "hann",
                 scaling: str | None = "density", periodic: bool = False):  # fmt: skip
        if side not in ("real", "imag"):
            raise errors.invalid("STFT", "side must be 'real' or 'imag'", repr(side))
        if scaling not in (None, "density", "spectrum"):
            raise errors.invalid("STFT", "scaling must be None, 'density' or 'spectrum'",
                                 repr(scaling))  # fmt: skip
        if isinstance(window, str):
            windows.check(window)
        self.side = side
        self.window = window
        self.scaling = scaling
        self.periodic = periodic

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        """Returns kernels [frame_length, 1, fft_length // 2 + 1]."""
        length, _, bins = shape
        time, bands = np.arange(length)[:, None, None], np.arange(bins)[None, None, :]
        angle = -2 * np.pi * time * bands / (2 * (bins - 1))
        kernel = np.cos(angle) if self.side == "real" else np.sin(angle)
        if self.window is not None:
            kernel = kernel * self._scaled_window(length)[:, None, None]
        return _filled(shape, kernel, dtype)

    def _scaled_window(self, length: int) -> Any:
        if isinstance(self.window, str):
            values = windows.window(self.window, length, self.periodic)
        else:
            values = np.asarray(self.window)
        if values.shape != (length,):
            raise errors.invalid("STFT", f"window must have the shape ({length},)",
                                 str(values.shape))  # fmt: skip
        if self.scaling == "density":
            return values / np.sqrt((values * values).sum())
        return values / np.abs(values).sum() if self.scaling == "spectrum" else values

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal initializer."""
        names = ("side", "window", "periodic", "scaling")
        return {name: getattr(self, name) for name in names}


NAMES = by_name.table(
    [
        Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, LecunNormal,
        LecunUniform, Ones, Orthogonal, RandomNormal, RandomUniform, STFT, TruncatedNormal,
        VarianceScaling, Zeros,
    ],
    IdentityInitializer=Identity, OrthogonalInitializer=Orthogonal, STFTInitializer=STFT,
    normal=RandomNormal, one=Ones, uniform=RandomUniform, zero=Zeros,
)  # fmt: skip
deserialize = by_name.deserializer("initializer", NAMES)


def get(identifier: Any) -> Any:
    """Returns the initializer that a name, class, config, array or object stands for."""
    if isinstance(identifier, np.ndarray | EagerTensor):
        value = np.asarray(identifier)
        return lambda shape, dtype=None: convert_to_tensor(value, dtype)
    return by_name.resolve("initializer", identifier, NAMES)


def serialize(initializer: Any) -> Any:
    """Returns the config from which `deserialize` makes an equal initializer."""
    return serialization.serialize_keras_object(initializer)


IdentityInitializer = Identity
OrthogonalInitializer = Orthogonal
STFTInitializer = STFT
constant = Constant
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
he_normal = HeNormal
he_uniform = HeUniform
identity = Identity
lecun_normal = LecunNormal
lecun_uniform = LecunUniform
ones = Ones
orthogonal = Orthogonal
random_normal = RandomNormal
random_uniform = RandomUniform
stft = STFT
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
zeros = Zeros

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFT",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]
