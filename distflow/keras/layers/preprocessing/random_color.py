"""Random layers of brightness, contrast and colour, each image by its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.convert import convert_to_tensor
from distflow.keras.layers.preprocessing.image_layer import (
    ImageLayer,
    batch_size,
    factor,
    value_range,
)
from distflow.ops import array, math
from distflow.ops.indexing import where
from distflow.ops.reduce import reduce_max, reduce_mean, reduce_min, reduce_sum
from distflow.ops.shaping import stack

# Shares of red, green and blue in the brightness of a pixel (ITU-R BT.601).
_GRAY = (0.2989, 0.5870, 0.1140)


def gray(images: Any) -> Any:
    """Returns the brightness [..., 1] of RGB images [..., 3]."""
    shares = convert_to_tensor(np.asarray(_GRAY, images.dtype.numpy))
    return reduce_sum(images * shares, -1, keepdims=True)


class _Colour(ImageLayer):
    """A layer with a range of factors and of pixel values."""

    def __init__(self, value_range_: Any = (0, 255), data_format: str | None = None,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.value_range = value_range(type(self).__name__, value_range_)

    def _clipped(self, images: Any) -> Any:
        return math.clip_by_value(images, *(float(v) for v in self.value_range))

    def _each(self, values: Any) -> Any:
        """Values of the images, to be spread over their pixels."""
        return array.reshape(math.cast(values, self.compute_dtype), [-1, 1, 1, 1])

    def _ranged(self, *names: str) -> dict[str, Any]:
        config = {name: getattr(self, name) for name in names}
        return config | {"value_range": self.value_range, "seed": self.seed}


class RandomBrightness(_Colour):
    """Adds a random share of the value range.

    Args:
      factor: a share f for [-f, f], or two in [-1, 1].
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any):
        super().__init__(value_range, seed=seed, **kwargs)
        self.factor = _range("RandomBrightness", factor, -1, 1, None)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws what is added to each image."""
        if not training:
            return None
        drawn = self._draw(batch_size(data), *self.factor, seed, (1, 1, 1))
        return {"rgb_delta": drawn * float(self.value_range[1] - self.value_range[0])}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images brighter or darker."""
        x = self._cast(images)
        return self._clipped(x + math.cast(transformation["rgb_delta"], x.dtype))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | self._ranged("factor")


class RandomContrast(_Colour):
    """Moves pixels away from the mean of their image and channel.

    Args:
      factor: a share f for [0, f], or two; pixels move by 1 + share.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any):
        super().__init__(value_range, seed=seed, **kwargs)
        self.factor = _contrast(factor)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the contrast of each image, 1 for none."""
        if not training:
            return None
        low, high = 1.0 - self.factor[0], 1.0 + self.factor[1]
        return {"contrast_factor": self._draw(batch_size(data), low, high, seed, (1, 1, 1))}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images with more or less contrast."""
        x = self._last(self._cast(images))
        mean = reduce_mean(x, [1, 2], keepdims=True)
        contrast = math.cast(transformation["contrast_factor"], x.dtype)
        return self._back(self._clipped((x - mean) * contrast + mean))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | self._ranged("factor")


def _contrast(value: Any) -> tuple[float, float]:
    # The lower share may be as low as wanted, down to no contrast at all.
    high = max(value) if isinstance(value, list | tuple) and value else 1
    return factor("RandomContrast", value, 0, max(1, high if high <= 10 else 1), "factor")


def _range(where_: str, value: Any, low: float, high: float, start: Any) -> tuple[float, float]:
    return factor(where_, value, low, high, "factor", start)


class RandomHue(_Colour):
    """Turns the hue by a random part of the circle.

    Args:
      factor: a share f of half the circle: hues turn by up to f / 2 either way.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, seed, **kwargs)
        self.factor = _range("RandomHue", factor, 0, 1, 0)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the turn of each image's hue, in circles."""
        if not training:
            return None
        drawn = self._draw(batch_size(data), -self.factor[1], self.factor[1], seed)
        return {"factor": drawn * 0.5}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images with other hues."""
        low, high = self.value_range
        x = (self._last(self._cast(images)) - float(low)) / float(high - low)
        hue, saturation, value = hsv(x)
        turn = array.reshape(math.cast(transformation["factor"], x.dtype), [-1, 1, 1])
        hue = hue + turn
        y = rgb(hue - math.floor(hue), saturation, value)
        return self._back(self._clipped(y * float(high - low) + float(low)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | self._ranged("factor")


class RandomSaturation(_Colour):
    """Multiplies the saturation.

    Args:
      factor: numbers u, f for [-f, f], or two in [-1, 1]; the saturation is multiplied by
        u / (1 - u): 0 gives gray, 0.5 no change.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, seed, **kwargs)
        self.factor = _range("RandomSaturation", factor, -1, 1, None)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws what each image's saturation is multiplied by."""
        if not training:
            return None
        drawn = self._draw(batch_size(data), *self.factor, seed)
        return {"factor": drawn / (1.0 - drawn + 1e-7)}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images with more or less saturation."""
        low, high = self.value_range
        x = (self._last(self._cast(images)) - float(low)) / float(high - low)
        hue, saturation, value = hsv(x)
        change = array.reshape(math.cast(transformation["factor"], x.dtype), [-1, 1, 1])
        saturation = math.clip_by_value(saturation * change, 0.0, 1.0)
        y = rgb(hue, saturation, value)
        return self._back(self._clipped(y * float(high - low) + float(low)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | self._ranged("factor")


def hsv(x: Any) -> tuple[Any, Any, Any]:
    """Returns hue, saturation and value, each [...] in [0, 1], of RGB [..., 3] in [0, 1].

    Source: Smith 1978, "Color gamut transform pairs".
    """
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    value, least = reduce_max(x, -1), reduce_min(x, -1)
    spread = value - least
    zero = spread * 0
    none = math.equal(spread, 0.0)
    safe = where(none, zero + 1.0, spread)
    hue = where(
        math.equal(value, red), (green - blue) / safe,
        where(math.equal(value, green), 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    ) / 6.0  # fmt: skip
    hue = where(none, zero, hue - math.floor(hue))
    light = math.greater(value, 0.0)
    saturation = where(light, spread / where(light, value, zero + 1.0), zero)
    return hue, saturation, value


def rgb(hue: Any, saturation: Any, value: Any) -> Any:
    """Undoes `hsv`: returns [..., 3]."""
    channels = []
    for turn in (0.0, 4.0, 2.0):
        # 1 within a sixth of the circle on either side of the channel's own hue, else less.
        place = hue * 6.0 + turn
        place = place - math.floor(place / 6.0) * 6.0
        share = math.clip_by_value(math.abs(place - 3.0) - 1.0, 0.0, 1.0)
        channels.append(value * (1.0 - saturation + saturation * share))
    return stack(channels, axis=-1)


class RandomColorDegeneration(_Colour):
    """Mixes images with their gray versions.

    Args:
      factor: a share f for [-f, f], or two in [0, 1]: 0 for no change, 1 for gray.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None,
                 seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, seed, **kwargs)
        self.factor = _range("RandomColorDegeneration", factor, -1, 1, None)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the share of gray of each image."""
        if not training:
            return None
        return {"factor": self._draw(batch_size(data), *self.factor, seed, (1, 1, 1))}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images with less colour."""
        x = self._last(self._cast(images))
        share = math.cast(transformation["factor"], x.dtype)
        return self._back(self._clipped(x + share * (gray(x) - x)))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | self._ranged("factor")


class RandomGrayscale(ImageLayer):
    """Turns a part `factor` of the images gray; they keep three channels."""

    def __init__(self, factor: float = 0.5, data_format: str | None = None, seed: Any = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        if not isinstance(factor, int | float) or not 0 <= factor <= 1:
            raise errors.invalid(
                "RandomGrayscale", "`factor` should be between 0 and 1", f"factor={factor}"
            )
        self.factor = factor

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws which images turn gray."""
        if not training:
            return None
        return math.less(self._draw(batch_size(data), 0.0, 1.0, seed, (1, 1, 1)), self.factor)

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images, some of them gray."""
        x = self._last(self._cast(images))
        return self._back(where(transformation, gray(x) + x * 0, x))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"factor": self.factor}


class RandomInvert(_Colour):
    """Inverts a random part of the images.

    Args:
      factor: the part, drawn from (0, f) or two numbers in [0, 1], for each image.
    """

    def __init__(self, factor: Any = 1.0, value_range: Any = (0, 255), seed: Any = None,
                 data_format: str | None = None, **kwargs: Any):  # fmt: skip
        super().__init__(value_range, data_format, seed, **kwargs)
        self.factor = _range("RandomInvert", factor, 0, 1, 0)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws which images are inverted."""
        if not training:
            return None
        return {"apply_inversion": self.chosen(batch_size(data), seed)}

    def chosen(self, count: Any, seed: Any = None) -> Any:
        """Returns bool [count]: true with a chance that is drawn from the factor's range."""
        chance = self._draw(count, *self.factor, seed)
        return math.less(self._draw(count, 0.0, 1.0, seed), chance)

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images, some of them inverted."""
        x = self._cast(images)
        chosen = array.reshape(transformation["apply_inversion"], [-1, 1, 1, 1])
        return where(chosen, float(sum(self.value_range)) - x, x)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | self._ranged("factor")


class RandomColorJitter(ImageLayer):
    """Brightness, contrast, saturation and hue, as far as their factors are given."""

    def __init__(self, value_range: Any = (0, 255), brightness_factor: Any = None,
                 contrast_factor: Any = None, saturation_factor: Any = None,
                 hue_factor: Any = None, seed: Any = None, data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.value_range = value_range
        self.brightness_factor = brightness_factor
        self.contrast_factor = contrast_factor
        self.saturation_factor = saturation_factor
        self.hue_factor = hue_factor
        shared = {
            "value_range": value_range,
            "data_format": data_format,
            "dtype": self.dtype_policy,
        }
        rows = (
            (RandomBrightness, brightness_factor), (RandomContrast, contrast_factor),
            (RandomSaturation, saturation_factor), (RandomHue, hue_factor),
        )  # fmt: skip
        self._steps = [
            kind(given, seed=None if seed is None else seed + i, **shared)
            for i, (kind, given) in enumerate(rows) if given is not None
        ]  # fmt: skip

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws what each of the layers does."""
        if not training:
            return None
        return [step.get_random_transformation(data, training, seed) for step in self._steps]

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images after all of the layers."""
        x = self._cast(images)
        for step, found in zip(self._steps, transformation):
            x = step.transform_images(x, found, training)
        return x

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "value_range": self.value_range, "brightness_factor": self.brightness_factor,
            "contrast_factor": self.contrast_factor, "saturation_factor": self.saturation_factor,
            "hue_factor": self.hue_factor, "seed": self.seed,
        }  # fmt: skip
