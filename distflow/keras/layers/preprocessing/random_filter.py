"""Layers that remap pixel values or cut holes: contrast, equalisation, posters, sharpness."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.keras.layers.preprocessing.image_layer import (
    ImageLayer,
    batch_size,
    factor,
    images_of,
    value_range,
)
from distflow.ops import array, dims, math
from distflow.ops.conv import depthwise_conv2d
from distflow.ops.indexing import gather, where
from distflow.ops.matmul import tensordot
from distflow.ops.reduce import reduce_max, reduce_min
from distflow.ops.segment import unsorted_segment_sum

_TOP = 255.0
_LEVELS = 256


class RangedImageLayer(ImageLayer):
    """A layer that works on values from 0 to 255, whatever the images' range."""

    def __init__(self, value_range_: Any = (0, 255), data_format: str | None = None,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.value_range = value_range(type(self).__name__, value_range_)

    def _to_bytes(self, images: Any) -> Any:
        low, high = (float(v) for v in self.value_range)
        return (self._last(self._cast(images)) - low) * (_TOP / (high - low))

    def _from_bytes(self, images: Any) -> Any:
        low, high = (float(v) for v in self.value_range)
        x = math.clip_by_value(images, 0.0, _TOP) * ((high - low) / _TOP) + low
        return self._back(math.cast(x, self.compute_dtype))


class AutoContrast(RangedImageLayer):
    """Spreads the values of each image and channel over the whole range."""

    _always = True

    def __init__(self, value_range: Any = (0, 255), **kwargs: Any):
        super().__init__(value_range, **kwargs)

    def transform_images(self, images: Any, transformation: Any = None,
                         training: Any = True) -> Any:  # fmt: skip
        """Returns the images with full contrast."""
        x = self._to_bytes(images)
        low, high = (f(x, [1, 2], keepdims=True) for f in (reduce_min, reduce_max))
        flat = math.equal(high, low)
        spread = where(flat, high * 0 + 1.0, high - low)
        return self._from_bytes(where(flat, x, (x - low) * (_TOP / spread)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"value_range": self.value_range}


class Solarization(RangedImageLayer):
    """Adds to the images, then inverts values from a threshold on; both drawn for each image.

    Args:
      addition_factor, threshold_factor: shares f of the range for (0, f), or two in [0, 1].
    """

    def __init__(self, addition_factor: Any = 0.0, threshold_factor: Any = 0.0,
                 value_range: Any = (0, 255), seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, seed=seed, **kwargs)
        self.addition_factor = factor("Solarization", addition_factor, 0, 1, "addition_factor", 0)
        self.threshold_factor = factor(
            "Solarization", threshold_factor, 0, 1, "threshold_factor", 0
        )

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws what is added to each image, and its threshold, on the scale to 255."""
        if not training:
            return None
        count = batch_size(data)
        additions = self._draw(count, *self.addition_factor, seed, (1, 1, 1)) * _TOP
        thresholds = self._draw(count, *self.threshold_factor, seed, (1, 1, 1)) * _TOP
        return {"additions": additions, "thresholds": thresholds}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images with bright values inverted."""
        x = self._to_bytes(images) + math.cast(transformation["additions"], self.compute_dtype)
        x = math.clip_by_value(x, 0.0, _TOP)
        thresholds = math.cast(transformation["thresholds"], self.compute_dtype)
        return self._from_bytes(where(math.less(x, thresholds), x, _TOP - x))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "value_range": self.value_range, "addition_factor": self.addition_factor,
            "threshold_factor": self.threshold_factor, "seed": self.seed,
        }  # fmt: skip


class RandomPosterization(RangedImageLayer):
    """Keeps only some bits of each value.

    Args:
      factor: how many: n for 1 to n - 1 bits, or two numbers in [1, 8], the second excluded.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, seed, **kwargs)
        self.factor = _bits(factor)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws how many bits of each image are lost."""
        if not training:
            return None
        low, high = self.factor
        drawn = self._draw(batch_size(data), 0.0, float(max(high - low, 1)), seed)
        return {"shift_factor": 8 - low - math.cast(math.floor(drawn), "int32")}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images with fewer values."""
        x = math.floor(math.clip_by_value(self._to_bytes(images), 0.0, _TOP))
        lost = array.reshape(math.cast(transformation["shift_factor"], x.dtype), [-1, 1, 1, 1])
        step = math.round(math.pow(convert_to_tensor(np.asarray(2, x.dtype.numpy)), lost))
        return self._from_bytes(math.floor(x / step) * step)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "factor": self.factor, "value_range": self.value_range, "seed": self.seed,
        }  # fmt: skip


def _bits(value: Any) -> Any:
    low, high = factor("RandomPosterization", value, 1, 8, "factor", 1)
    return (int(low), int(high))


class RandomErasing(RangedImageLayer):
    """Fills a random box in a random part of the images.

    Args:
      factor: the part, drawn from (0, f) or two numbers in [0, 1], for each image.
      scale: share of the image that the box covers: f for (0, f), or two.
      fill_value: of the box; None fills it with noise.
    """

    def __init__(self, factor: Any = 1.0, scale: Any = (0.02, 0.33), fill_value: Any = None,
                 value_range: Any = (0, 255), seed: Any = None, data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, seed, **kwargs)
        self.factor, self.scale = _part(factor, "factor"), _part(scale, "scale")
        self.fill_value = fill_value

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws which images get a box, where it is, and what fills it."""
        if not training:
            return None
        x = self._last(self._batched(images_of(data)))
        count, height, width = (dims.size(x, i) for i in range(3))
        chance = self._draw(count, *self.factor, seed)
        apply = math.less(self._draw(count, 0.0, 1.0, seed), chance)
        side = math.sqrt(self._draw(count, *self.scale, seed))
        place = self._draw(count, 0.0, 1.0, seed, (2,))
        inside = None
        for axis, size in enumerate((height, width)):
            length = math.cast(size, "float32") if not isinstance(size, int) else float(size)
            extent = side * length
            start = place[:, axis] * (length - extent)
            at = math.cast(math.range(size), "float32")
            shape = [-1, 1, 1, 1]
            line = [1, 1, 1, 1]
            line[axis + 1] = -1
            at = array.reshape(at, line)
            start, end = array.reshape(start, shape), array.reshape(start + extent, shape)
            here = math.logical_and(math.greater_equal(at, start), math.less(at, end))
            inside = here if inside is None else math.logical_and(inside, here)
        fill = self.fill_value
        if fill is None:
            low, high = (float(v) for v in self.value_range)
            fill = self._draw(count, low, high, seed, (height, width, int(x.shape[-1])))
        return {"apply_erasing": apply, "batch_masks": inside, "fill_value": fill}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images with boxes filled."""
        x = self._last(self._cast(images))
        apply = array.reshape(transformation["apply_erasing"], [-1, 1, 1, 1])
        fill = transformation["fill_value"]
        fill = x * 0 + math.cast(convert_to_tensor(fill), x.dtype)
        hole = math.logical_and(apply, transformation["batch_masks"])
        return self._back(where(hole, fill, x))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "factor": self.factor, "scale": self.scale, "fill_value": self.fill_value,
            "value_range": self.value_range, "seed": self.seed,
        }  # fmt: skip


def _part(value: Any, name: str) -> tuple[float, float]:
    return factor("RandomErasing", value, 0, 1, name, 0)


class RandomSharpness(RangedImageLayer):
    """Moves pixels away from the mean of their neighbours.

    Args:
      factor: a share f for (0, f), or two in [0, 1]: 0 blurs, 0.5 leaves the image, 1 sharpens.

    Outside of the image there is black, as in Keras.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, seed, **kwargs)
        self.factor = _sharp(factor)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the share of each image."""
        if not training:
            return None
        return {"factor": self._draw(batch_size(data), *self.factor, seed)}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns sharper images."""
        low, high = (float(v) for v in self.value_range)
        x = self._last(self._cast(images))
        smooth = depthwise(x, np.asarray([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13.0)
        share = array.reshape(math.cast(transformation["factor"], x.dtype), [-1, 1, 1, 1])
        return self._back(math.clip_by_value(smooth + 2.0 * share * (x - smooth), low, high))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "factor": self.factor, "value_range": self.value_range, "seed": self.seed,
        }  # fmt: skip


def _sharp(value: Any) -> tuple[float, float]:
    return factor("RandomSharpness", value, 0, 1, "factor", 0)


def depthwise(images: Any, kernel: Any) -> Any:
    """Returns each channel convolved with one kernel [rows, columns], borders filled with 0."""
    channels = int(images.shape[-1])
    filters = np.repeat(np.asarray(kernel)[:, :, None, None], channels, axis=2)
    weights = convert_to_tensor(filters.astype(images.dtype.numpy))
    return depthwise_conv2d(images, weights, [1, 1, 1, 1], "SAME")


class Equalization(RangedImageLayer):
    """Spreads the values of each image and channel so that all are about equally frequent.

    Keras 3.15 makes one histogram of a channel for the whole batch; here each image has its own.

    Args:
      bins: of the histogram.
    """

    _always = True

    def __init__(self, value_range: Any = (0, 255), bins: int = 256,
                 data_format: str | None = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, **kwargs)
        if not isinstance(bins, int) or bins < 1:
            raise errors.invalid("Equalization", "`bins` must be a positive integer", repr(bins))
        self.bins = bins

    def transform_images(self, images: Any, transformation: Any = None,
                         training: Any = True) -> Any:  # fmt: skip
        """Returns the images equalised."""
        return self._from_bytes(_equalized(self._to_bytes(images), self.bins))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"bins": self.bins, "value_range": self.value_range}


def _equalized(x: Any, bins: int) -> Any:
    """Returns images [n, height, width, channels] of values from 0 to 255, each equalised.

    A value becomes the share of the pixels that are darker, in [0, bins - 1]. Shares are float64:
    in float32 a pixel more or less could round the other way.
    """
    values = math.cast(math.clip_by_value(x, 0.0, _TOP), dtypes.int32)
    channels = int(x.shape[-1])
    rows = dims.size(x, 0) * channels
    # Each image and channel has a row of levels in one histogram.
    row = array.reshape(math.range(rows), [-1, 1, 1, channels])
    places = array.reshape(values + row * _LEVELS, [-1])
    ones = array.ones_like(places, dtype=dtypes.float64)
    counts = dims.reshape(unsorted_segment_sum(ones, places, rows * _LEVELS), [-1, _LEVELS])
    # A running sum, as a product: exact for counts, and native.
    total = tensordot(counts, convert_to_tensor(np.triu(np.ones((_LEVELS, _LEVELS)))), 1)
    none = where(math.greater(counts, 0.0), total, total * 0.0 + float("inf"))
    least = reduce_min(none, 1, keepdims=True)
    spread = total[:, -1:] - least
    table = math.round((total - least) * (bins - 1) / math.maximum(spread, 1.0))
    table = math.clip_by_value(table, 0.0, bins - 1.0)
    # A single value in all of an image stays what it is.
    levels = math.cast(math.range(_LEVELS), dtypes.float64)
    table = where(math.greater(spread, 0.0), table, table * 0.0 + levels)
    found = gather(array.reshape(table, [-1]), places)
    # By sizes, not by `shape(x)`: a trace must still know how many channels there are.
    return dims.reshape(math.cast(found, x.dtype), dims.of(x))
