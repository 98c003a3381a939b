"""Random layers that move pixels: flips, shifts, zooms, turns and shears, each image by its own."""

from __future__ import annotations

import math as _math
from typing import Any

from distflow.base import errors
from distflow.keras.layers.preprocessing import affine
from distflow.keras.layers.preprocessing.image_layer import (
    ImageLayer,
    batch_size,
    factor,
    images_of,
)
from distflow.keras.layers.preprocessing.resampling import check_interpolation
from distflow.ops import dims, math, shaping
from distflow.ops.indexing import where
from distflow.ops.shaping import stack

_FLIPS = {"horizontal": (2,), "vertical": (1,), "horizontal_and_vertical": (1, 2)}


class RandomFlip(ImageLayer):
    """Flips half of the images: left to right ("horizontal"), upside down, or either or both."""

    def __init__(self, mode: str = "horizontal_and_vertical", seed: Any = None,
                 data_format: str | None = None, **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        if mode not in _FLIPS:
            raise errors.invalid("RandomFlip", f"`mode` among {tuple(_FLIPS)}", f"mode={mode!r}")
        self.mode = mode

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws which images are flipped."""
        if not training:
            return None
        drawn = self._draw(batch_size(data), 0.0, 1.0, seed, (1, 1, 1))
        return {"flips": math.less_equal(drawn, 0.5)}

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images, some of them flipped."""
        return self._flipped(self._cast(images), transformation)

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the masks flipped as their images."""
        return self._flipped(segmentation_masks, transformation)

    def _flipped(self, images: Any, transformation: Any) -> Any:
        if transformation is None:
            return images
        x = self._last(images)
        for axis in reversed(_FLIPS[self.mode]):
            x = where(transformation["flips"], shaping.reverse(x, [axis]), x)
        return self._back(x)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"seed": self.seed, "mode": self.mode}


class _Affine(ImageLayer):
    """A layer that reads each image at mapped points.

    Args:
      fill_mode: how the image goes on beyond its borders.
      interpolation: "bilinear" or "nearest".
    """

    def __init__(self, fill_mode: str, interpolation: str, seed: Any, fill_value: float,
                 data_format: str | None, **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.fill_mode = affine.check_fill_mode(type(self).__name__, fill_mode)
        self.fill_value = fill_value
        self.interpolation = check_interpolation(
            type(self).__name__, interpolation, ("nearest", "bilinear")
        )

    def _matrices(self, transformation: Any, height: Any, width: Any) -> Any:
        raise AssertionError("subclasses define _matrices")

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images mapped."""
        return self._mapped(self._cast(images), transformation, self.interpolation)

    def transform_segmentation_masks(self, segmentation_masks: Any, transformation: Any,
                                     training: Any = True) -> Any:  # fmt: skip
        """Returns the masks mapped as their images, their values kept."""
        return self._mapped(segmentation_masks, transformation, "nearest")

    def _mapped(self, images: Any, transformation: Any, interpolation: str) -> Any:
        if transformation is None:
            return images
        x = self._last(images)
        matrices = self._matrices(transformation, *_extent(x))
        y = affine.transform(x, matrices, interpolation, self.fill_mode, self.fill_value)
        return self._back(y)

    def _filling(self) -> dict[str, Any]:
        return {
            "fill_mode": self.fill_mode, "interpolation": self.interpolation, "seed": self.seed,
            "fill_value": self.fill_value,
        }  # fmt: skip


def _extent(x: Any) -> tuple[Any, Any]:
    """Height and width as floats."""
    found = (dims.size(x, 1), dims.size(x, 2))
    return tuple(float(v) if isinstance(v, int) else math.cast(v, "float32") for v in found)  # type: ignore[return-value]


class RandomTranslation(_Affine):
    """Shifts images down and to the right by random shares of their size.

    Args:
      height_factor, width_factor: a share f for [-f, f], or two.
    """

    def __init__(self, height_factor: Any, width_factor: Any, fill_mode: str = "reflect",
                 interpolation: str = "bilinear", seed: Any = None, fill_value: float = 0.0,
                 data_format: str | None = None, **kwargs: Any):  # fmt: skip
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        where_ = "RandomTranslation"
        self._height = factor(where_, height_factor, -1.0, 1.0, "height_factor", None)
        self._width = factor(where_, width_factor, -1.0, 1.0, "width_factor", None)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the shift of each image in pixels, (right, down)."""
        if not training:
            return None
        height, width = _extent(self._last(self._batched(images_of(data))))
        count = batch_size(data)
        down = self._draw(count, *self._height, seed) * height
        across = self._draw(count, *self._width, seed) * width
        return {"translations": stack([across, down], axis=1)}

    def _matrices(self, transformation: Any, height: Any, width: Any) -> Any:
        moves = transformation["translations"]
        return affine.shift(moves[:, 0], moves[:, 1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        given = {"height_factor": self.height_factor, "width_factor": self.width_factor}
        return super().get_config() | given | self._filling()


class RandomZoom(_Affine):
    """Zooms images about their middle: factors below 0 zoom in, above 0 out.

    Args:
      height_factor: a share f for [-f, f], or two.
      width_factor: the same; None keeps the aspect ratio.
    """

    def __init__(self, height_factor: Any, width_factor: Any = None, fill_mode: str = "reflect",
                 interpolation: str = "bilinear", seed: Any = None, fill_value: float = 0.0,
                 data_format: str | None = None, **kwargs: Any):  # fmt: skip
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.height_factor, self.width_factor = height_factor, width_factor
        self._height = factor("RandomZoom", height_factor, -1.0, 1.0, "height_factor", None)
        self._width = self._height
        if width_factor is not None:
            self._width = factor("RandomZoom", width_factor, -1.0, 1.0, "width_factor", None)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the zoom of each image, 1 for none."""
        if not training:
            return None
        count = batch_size(data)
        height = self._draw(count, *self._height, seed, (1,)) + 1.0
        width = height
        if self.width_factor is not None:
            width = self._draw(count, *self._width, seed, (1,)) + 1.0
        return {"height_zoom": height, "width_zoom": width}

    def _matrices(self, transformation: Any, height: Any, width: Any) -> Any:
        across, down = transformation["width_zoom"][:, 0], transformation["height_zoom"][:, 0]
        zero = across * 0
        x, y = (width - 1.0) / 2.0 * (1.0 - across), (height - 1.0) / 2.0 * (1.0 - down)
        return stack([across, zero, x, zero, down, y, zero, zero], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        given = {"height_factor": self.height_factor, "width_factor": self.width_factor}
        return super().get_config() | given | self._filling()


class RandomRotation(_Affine):
    """Turns images about their middle.

    Args:
      factor: shares of a full turn: f for [-f, f], or two; above 0 is counter-clockwise.
    """

    def __init__(self, factor: Any, fill_mode: str = "reflect", interpolation: str = "bilinear",
                 seed: Any = None, fill_value: float = 0.0, data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = _turns(factor)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the angle of each image in degrees, and its matrix."""
        if not training:
            return None
        low, high = (360.0 * f for f in self.factor)
        angle = self._draw(batch_size(data), low, high, seed)
        extent = _extent(self._last(self._batched(images_of(data))))
        return {"angle": angle, "rotation_matrix": _turned(angle, *extent)}

    def _matrices(self, transformation: Any, height: Any, width: Any) -> Any:
        return transformation["rotation_matrix"]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"factor": self.factor} | self._filling()


def _turns(value: Any) -> tuple[float, float]:
    return factor("RandomRotation", value, -_math.inf, _math.inf, "factor", None)


def _turned(angle: Any, height: Any, width: Any) -> Any:
    """The matrices of turns about the middle by degrees."""
    radians = angle * (_math.pi / 180.0)
    c, s = math.cos(radians), math.sin(radians)
    x = ((width - 1.0) - (c * (width - 1.0) - s * (height - 1.0))) / 2.0
    y = ((height - 1.0) - (s * (width - 1.0) + c * (height - 1.0))) / 2.0
    zero = angle * 0
    return stack([c, -s, x, s, c, y, zero, zero], axis=1)


class RandomShear(_Affine):
    """Shears images along both axes.

    Args:
      x_factor, y_factor: shares: f for [-f, f], or two in [0, 1].
    """

    def __init__(self, x_factor: Any = 0.0, y_factor: Any = 0.0, interpolation: str = "bilinear",
                 fill_mode: str = "reflect", fill_value: float = 0.0,
                 data_format: str | None = None, seed: Any = None, **kwargs: Any):  # fmt: skip
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.x_factor = _shear(x_factor, "x_factor")
        self.y_factor = _shear(y_factor, "y_factor")

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the shear of each image, (along x, along y)."""
        if not training:
            return None
        count = batch_size(data)
        x = self._draw(count, *self.x_factor, seed)
        y = self._draw(count, *self.y_factor, seed)
        return {"shear_factor": stack([x, y], axis=1)}

    def _matrices(self, transformation: Any, height: Any, width: Any) -> Any:
        x, y = transformation["shear_factor"][:, 0], transformation["shear_factor"][:, 1]
        one, zero = x * 0 + 1.0, x * 0
        return stack([one, x, zero, y, one, zero, zero, zero], axis=1)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        given = {"x_factor": self.x_factor, "y_factor": self.y_factor}
        return super().get_config() | given | self._filling()


def _shear(value: Any, name: str) -> tuple[float, float]:
    # Configs hold (-f, f).
    return factor("RandomShear", value, -1.0 if isinstance(value, tuple | list) else 0.0, 1.0,
                  name, None)  # fmt: skip
