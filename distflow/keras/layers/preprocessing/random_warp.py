"""Random layers that bend images: perspective and elastic distortion, each image by its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.core.convert import convert_to_tensor
from distflow.keras.layers.preprocessing import affine
from distflow.keras.layers.preprocessing.image_layer import (
    ImageLayer,
    batch_size,
    factor,
    images_of,
    value_range,
)
from distflow.keras.layers.preprocessing.random_filter import depthwise
from distflow.keras.layers.preprocessing.resampling import check_interpolation
from distflow.ops import array, dims, math
from distflow.ops.indexing import where
from distflow.ops.shaping import stack

# Of the corners (x, y) of the unit square, in Keras's order.
_CORNERS = np.asarray([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32)
# Of an elastic distortion at scale 1, as parts of the image's size: width of the bell curve that
# smooths the shifts, and their largest length (Simard et al. 2003 at 29 pixels: 4 and 34 / 5.5).
_SMOOTHNESS, _REACH = 0.14, 0.2


class _Warping(ImageLayer):
    """A layer that bends a random part of the images."""

    def __init__(self, factor: Any, scale: Any, interpolation: str, fill_value: float,
                 seed: Any, data_format: str | None, **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor, self.scale = factor, scale
        self.interpolation = check_interpolation(
            type(self).__name__, interpolation, ("nearest", "bilinear")
        )
        self.fill_value = fill_value

    def _chosen(self, data: Any, seed: Any) -> Any:
        count = batch_size(data)
        chance = self._draw(count, self.factor[0], self.factor[1], seed)
        return math.less(self._draw(count, 0.0, 1.0, seed), chance)

    def _bent(self, x: Any, transformation: Any, interpolation: str) -> Any:
        raise AssertionError("subclasses define _bent")

    def _apply(self, images: Any, transformation: Any, chosen: str, interpolation: str) -> Any:
        if transformation is None:
            return images
        x = self._last(images)
        apply = array.reshape(transformation[chosen], [-1, 1, 1, 1])
        return self._back(where(apply, self._bent(x, transformation, interpolation), x))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "factor": self.factor, "scale": self.scale, "interpolation": self.interpolation,
            "fill_value": self.fill_value, "seed": self.seed,
        }  # fmt: skip


class RandomPerspective(_Warping):
    """Moves three corners of the images, as if seen from aside; the first corner stays.

    Args:
      factor: the share of images that change: f for (0, f), or two in [0, 1].
      scale: corners move along each side by up to half this part of it.
    """

    def __init__(self, factor: Any = 1.0, scale: float = 1.0, interpolation: str = "bilinear",
                 fill_value: float = 0.0, seed: Any = None, data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(_part("RandomPerspective", factor, "factor"), _scale(scale),
                         interpolation, fill_value, seed, data_format, **kwargs)  # fmt: skip

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws which images change, and where their corners go: [batch, 4, (x, y)]."""
        if not training:
            return None
        x = self._last(self._batched(images_of(data)))
        start = _extent(x) * convert_to_tensor(_CORNERS)
        half = self.scale / 2
        moves = self._draw(batch_size(data), -half, half, seed, (4, 2))
        return {
            "apply_perspective": self._chosen(data, seed), "start_points": start + moves * 0,
            "end_points": start + start * moves,
        }  # fmt: skip

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images, some of them seen from aside."""
        x = self._cast(images)
        return self._apply(x, transformation, "apply_perspective", self.interpolation)

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the masks changed as their images, their values kept."""
        return self._apply(segmentation_masks, transformation, "apply_perspective", "nearest")

    def _bent(self, x: Any, transformation: Any, interpolation: str) -> Any:
        matrices = _from_corners(transformation["end_points"], _extent(x))
        return affine.transform(x, matrices, interpolation, "constant", self.fill_value)


def _extent(x: Any) -> Any:
    """(width - 1, height - 1) as floats."""
    sides = [dims.size(x, 2), dims.size(x, 1)]
    if all(isinstance(side, int) for side in sides):
        return convert_to_tensor(np.asarray(sides, np.float32) - 1.0)
    return stack([math.cast(side, "float32") - 1.0 for side in sides])


def _from_corners(corners: Any, extent: Any) -> Any:
    """Returns the maps [batch, 8] that send corners [batch, 4, 2] to those of the image.

    The map from the unit square to the corners (Heckbert 1989, section 2.2.3) is inverted by its
    adjugate.
    """
    (x0, y0), (x1, y1), (x3, y3), (x2, y2) = (
        (corners[:, i, 0], corners[:, i, 1]) for i in range(4)
    )
    sx, sy = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    ax, ay, bx, by = x1 - x2, y1 - y2, x3 - x2, y3 - y2
    area = ax * by - bx * ay
    g, h = (sx * by - bx * sy) / area, (ax * sy - sx * ay) / area
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    width, height = extent[0], extent[1]
    last = a * e - b * d
    rows = [
        (e - f * h) * width, (c * h - b) * width, (b * f - c * e) * width,
        (f * g - d) * height, (a - c * g) * height, (c * d - a * f) * height,
        d * h - e * g, b * g - a * h,
    ]  # fmt: skip
    return stack([row / last for row in rows], axis=1)


class RandomElasticTransform(_Warping):
    """Shifts each pixel a little, its neighbours alike: as if drawn on rubber.

    Args:
      factor: the share of images that change: f for (0, f), or two in [0, 1].
      scale: how strongly: s for (0, s), or two in [0, 1].
      fill_mode: how the image goes on beyond its borders.

    Keras draws the shifts inside of `transform_images`, so numbers are not comparable with it.

    Source: Simard, Steinkraus & Platt 2003, "Best practices for convolutional neural networks".
    """

    def __init__(self, factor: Any = 1.0, scale: Any = 1.0, interpolation: str = "bilinear",
                 fill_mode: str = "reflect", fill_value: float = 0.0,
                 value_range: Any = (0, 255), seed: Any = None, data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        where_ = "RandomElasticTransform"
        super().__init__(_part(where_, factor, "factor"), _part(where_, scale, "scale"),
                         interpolation, fill_value, seed, data_format, **kwargs)  # fmt: skip
        self.fill_mode = affine.check_fill_mode(where_, fill_mode)
        self.value_range = _pair(where_, value_range)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws which images change, and the shift of each pixel (right, down) in pixels."""
        if not training:
            return None
        x = self._last(self._batched(images_of(data)))
        count, height, width = (dims.size(x, i) for i in range(3))
        strength = self._draw(count, self.scale[0], self.scale[1], seed, (1, 1, 1))
        noise = self._draw(count, -1.0, 1.0, seed, (height, width, 2))
        known = [n for n in (height, width) if isinstance(n, int)]
        kernel = _bell_of(min(known) if known else 32)
        smooth = depthwise(noise, kernel)
        # White noise of variance 1/3 keeps sum(kernel^2) of it; brought back to about 1.
        scale = 1.0 / np.sqrt(np.square(kernel).sum() * 3.0)
        reach = array.reshape(_extent(x) * _REACH, [1, 1, 1, 2])
        return {
            "apply_transform": self._chosen(data, seed),
            "shifts": smooth * float(scale) * strength * reach / 3.0,
        }

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images, some of them bent."""
        x = self._apply(self._cast(images), transformation, "apply_transform", self.interpolation)
        return math.clip_by_value(x, *(float(v) for v in self.value_range))

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the masks bent as their images, their values kept."""
        return self._apply(segmentation_masks, transformation, "apply_transform", "nearest")

    def _bent(self, x: Any, transformation: Any, interpolation: str) -> Any:
        shifts = transformation["shifts"]
        height, width = dims.size(x, 1), dims.size(x, 2)
        across = math.cast(array.reshape(math.range(width), [1, 1, -1]), "float32")
        down = math.cast(array.reshape(math.range(height), [1, -1, 1]), "float32")
        return affine.sample(x, down + shifts[..., 1], across + shifts[..., 0], interpolation,
                             self.fill_mode, self.fill_value)  # fmt: skip

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {
            "fill_mode": self.fill_mode, "value_range": self.value_range,
        }  # fmt: skip


def _bell_of(size: int) -> Any:
    """Returns a square bell curve whose width is a part of the image's size, its sum 1."""
    sigma = max(_SMOOTHNESS * size, 0.5)
    places = np.arange(2 * int(np.ceil(2 * sigma)) + 1)
    line = np.exp(-np.square((places - places.mean()) / sigma) / 2)
    line /= line.sum()
    return np.outer(line, line)


def _part(where_: str, value: Any, name: str) -> tuple[float, float]:
    return factor(where_, value, 0, 1, name, 0)


def _scale(value: Any) -> float:
    factor("RandomPerspective", value, 0, 1, "scale", 0)
    return value


def _pair(where_: str, value: Any) -> Any:
    return value_range(where_, value)
