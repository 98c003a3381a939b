"""RandomGaussianBlur: images smoothed by a bell curve of random width."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.core.convert import convert_to_tensor
from distflow.keras.layers.arguments import sizes
from distflow.keras.layers.preprocessing.image_layer import (
    ImageLayer,
    batch_size,
    factor,
    value_range,
)
from distflow.ops import array, math
from distflow.ops.conv import depthwise_conv2d
from distflow.ops.indexing import where
from distflow.ops.reduce import reduce_sum
from distflow.ops.repeat import repeat


class RandomGaussianBlur(ImageLayer):
    """Smooths a random part of the images; outside of the image there is black, as in Keras.

    Args:
      factor: the share of images that are smoothed: f for (0, f), or two in [0, 1].
      kernel_size: of the window, odd: an int, or (columns, rows).
      sigma: standard deviation of the bell curve in pixels: s for (0, s), or two; drawn for
        columns and for rows, the same in all images of a batch.
    """

    def __init__(self, factor: Any = 1.0, kernel_size: Any = 3, sigma: Any = 1.0,
                 value_range: Any = (0, 255), data_format: str | None = None, seed: Any = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = _share("factor", factor)
        self.kernel_size = sizes("kernel_size", kernel_size, 2)
        self.sigma = _share("sigma", sigma, np.inf)
        self.value_range = _checked(value_range)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws which images are smoothed, and how much."""
        if not training:
            return None
        count = batch_size(data)
        chance = self._draw(count, *self.factor, seed)
        apply = math.less(self._draw(count, 0.0, 1.0, seed), chance)
        return {"should_apply_blur": apply, "blur_factor": self._draw(2, *self.sigma, seed)}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images, some of them smooth."""
        x = self._last(self._cast(images))
        if transformation is None:
            return self._back(x)
        sigma = math.cast(transformation["blur_factor"], x.dtype)
        across, down = (_bell(n, sigma[i]) for i, n in enumerate(self.kernel_size))
        kernel = array.reshape(down, [-1, 1]) * array.reshape(across, [1, -1])
        kernel = repeat(array.reshape(kernel, [*kernel.shape, 1, 1]), int(x.shape[-1]), axis=2)
        smooth = depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")
        apply = array.reshape(transformation["should_apply_blur"], [-1, 1, 1, 1])
        low, high = (float(v) for v in self.value_range)
        return self._back(math.clip_by_value(where(apply, smooth, x), low, high))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "factor": self.factor, "kernel_size": self.kernel_size, "sigma": self.sigma,
            "value_range": self.value_range, "seed": self.seed,
        }  # fmt: skip


def _bell(size: int, sigma: Any) -> Any:
    """exp(-x^2 / (2 sigma^2)) at the window's pixels, its sum 1; one pixel where sigma is 0."""
    places = np.arange(size) - (size - 1) / 2
    squares = convert_to_tensor((places**2).astype(sigma.dtype.numpy))
    heights = math.exp(-squares / math.maximum(2.0 * sigma * sigma, 1e-12))
    return heights / reduce_sum(heights)


def _share(name: str, value: Any, high: float = 1.0) -> tuple[float, float]:
    return factor("RandomGaussianBlur", value, 0, high, name, 0)


def _checked(value: Any) -> Any:
    return value_range("RandomGaussianBlur", value)
