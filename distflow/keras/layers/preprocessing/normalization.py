"""Normalization: shifts and scales features by the mean and variance of the data."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors, shapes
from distflow.core.convert import convert_to_tensor
from distflow.keras.engine.input_spec import InputSpec
from distflow.keras.engine.layer import as_shapes
from distflow.keras.layers.preprocessing.data_layer import DataLayer, batches
from distflow.ops import array, math

_EPSILON = 1e-7


class Normalization(DataLayer):
    """(x - mean) / sqrt(variance) for each index of the axes that are kept.

    Args:
      axis: axes with statistics of their own, by default the last; None for one mean of all.
      mean, variance: the statistics, where `adapt` is not to find them.
      invert: gives x * sqrt(variance) + mean instead.
    """

    def __init__(self, axis: Any = -1, mean: Any = None, variance: Any = None,
                 invert: bool = False, **kwargs: Any):  # fmt: skip
        super().__init__(**kwargs)
        kept = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None):
            raise errors.invalid(
                "Normalization", "When setting values directly, both `mean` and `variance` must "
                "be set", f"mean={mean} and variance={variance}",
            )  # fmt: skip
        self.axis = kept
        self.input_mean = mean
        self.input_variance = variance
        self.invert = invert
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Makes the statistics."""
        rank = len(input_shape)
        self._kept = tuple(sorted(shapes.axes("Normalization: axis", list(self.axis), rank)))
        for axis in self._kept:
            if input_shape[axis] is None:
                raise errors.invalid(
                    "Normalization", f"the size of axis {axis} must be known",
                    f"input shape {tuple(input_shape)}",
                )  # fmt: skip
        self._spread = [input_shape[i] if i in self._kept else 1 for i in range(rank)]
        shape = tuple(input_shape[a] for a in self._kept)
        if self.input_mean is None:
            self.adapt_mean = self.add_weight(
                name="mean", shape=shape, initializer="zeros", trainable=False
            )
            self.adapt_variance = self.add_weight(
                name="variance", shape=shape, initializer="ones", trainable=False
            )
            # Kept for the files of older versions.
            self.count = self.add_weight(
                name="count", shape=(), initializer="zeros", dtype="int32", trainable=False
            )
        axes = {a: input_shape[a] for a in self._kept}
        self.input_spec = InputSpec(ndim=rank, axes=axes)

    @property
    def mean(self) -> Any:
        """The mean, in the inputs' rank."""
        return self._statistic(self.input_mean, "adapt_mean")

    @property
    def variance(self) -> Any:
        """The variance, in the inputs' rank."""
        return self._statistic(self.input_variance, "adapt_variance")

    def _statistic(self, given: Any, name: str) -> Any:
        if given is None:
            return array.reshape(getattr(self, name).value(), self._spread)
        value = np.asarray(given, dtypes.as_dtype(self.compute_dtype).numpy)
        shape = tuple(d for i, d in enumerate(self._spread) if i in self._kept)
        return convert_to_tensor(np.broadcast_to(value, shape).reshape(self._spread))

    def adapt(self, data: Any) -> None:
        """Computes mean and variance of an array, a tensor or a dataset of batches."""
        if self.input_mean is not None:
            raise errors.invalid(
                "Normalization.adapt", "a layer without `mean` and `variance`; this one has fixed "
                "ones", f"mean={self.input_mean}",
            )  # fmt: skip
        count: int = 0
        mean: Any = None
        squares: Any = None
        for batch in batches(data):
            values = np.asarray(batch, np.float64)
            if not self.built:
                self.build(as_shapes((None, *values.shape[1:])))
            axes = tuple(i for i in range(values.ndim) if i not in self._kept)
            number = int(np.prod([values.shape[i] for i in axes]))
            if not number:
                continue
            m, s = values.mean(axes), values.var(axes) * number
            if mean is None:
                count, mean, squares = number, m, s
                continue
            # Chan, Golub & LeVeque 1979: sums of squares of two parts, without cancellation.
            whole = count + number
            squares = squares + s + (m - mean) ** 2 * (count * number / whole)
            mean = mean + (m - mean) * (number / whole)
            count = whole
        if mean is None:
            raise errors.invalid("Normalization.adapt", "data with at least one row", "no rows")
        self.adapt_mean.assign(mean.astype(self.adapt_mean.dtype.numpy))
        self.adapt_variance.assign((squares / count).astype(self.adapt_variance.dtype.numpy))

    def call(self, inputs: Any) -> Any:
        """Returns the normalised inputs."""
        x = math.cast(inputs, self.compute_dtype)
        mean, variance = (math.cast(v, x.dtype) for v in (self.mean, self.variance))
        deviation = math.maximum(math.sqrt(variance), _EPSILON)
        return mean + x * deviation if self.invert else (x - mean) / deviation

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "axis": self.axis, "invert": self.invert,
            "mean": None if self.input_mean is None else np.asarray(self.input_mean).tolist(),
            "variance": (
                None if self.input_variance is None else np.asarray(self.input_variance).tolist()
            ),
        }  # fmt: skip
