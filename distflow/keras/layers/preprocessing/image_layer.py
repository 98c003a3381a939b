"""ImageLayer: a layer of images, alone or in a dict with labels and masks, random in training."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import config as settings
from distflow.keras import random
from distflow.keras.layers.preprocessing.data_layer import DataLayer, as_tensor
from distflow.ops import array, dims, math

_UNBATCHED = 3


class ImageLayer(DataLayer):
    """A layer of [batch, height, width, channels] or [height, width, channels].

    `get_random_transformation` draws what one call does; `transform_images`,
    `transform_segmentation_masks` and `transform_labels` do it. A dict has the keys "images", and
    "labels" or "segmentation_masks". Outside of training, layers that draw return their inputs.
    """

    # Whether it does the same outside of training.
    _always = False

    def __init__(self, data_format: str | None = None, seed: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = settings.standardize_data_format(data_format)
        if seed is not None and not isinstance(seed, int):
            raise errors.invalid(type(self).__name__, "`seed` must be an integer", repr(seed))
        self.seed = seed
        if not self._always:
            self.generator = random.SeedGenerator(seed)

    def _as_tensors(self, inputs: Any) -> Any:
        if isinstance(inputs, dict):
            return {key: as_tensor(value) for key, value in inputs.items()}
        return as_tensor(inputs)

    def call(self, data: Any, training: Any = True) -> Any:
        """Returns the data with its images transformed."""
        if not isinstance(data, dict):
            return self._one(data, training)
        if "bounding_boxes" in data:
            raise errors.UnimplementedError(
                f"{type(self).__name__}: bounding boxes are not there yet; give images, labels and "
                "segmentation_masks."
            )
        if not (training or self._always):
            return data
        images = self._batched(data["images"])
        found = self.get_random_transformation({**data, "images": images}, training)
        result = dict(data)
        result["images"] = self._like(
            self.transform_images(images, found, training), data["images"]
        )
        for key in ("labels", "segmentation_masks"):
            if key in data:
                method = getattr(self, f"transform_{key}")
                value = data[key]
                if key == "segmentation_masks":
                    result[key] = self._like(method(self._batched(value), found, training), value)
                else:
                    result[key] = method(value, found, training)
        return result

    def _one(self, images: Any, training: Any) -> Any:
        if images.ndim not in (_UNBATCHED, _UNBATCHED + 1):
            raise errors.invalid(
                type(self).__name__, "images of rank 3 (height, width, channels) or 4 (batch)",
                f"shape {tuple(images.shape)}",
            )  # fmt: skip
        x = self._batched(images)
        if not (training or self._always):
            return self._like(self._cast(x), images)
        found = self.get_random_transformation(x, training)
        return self._like(self.transform_images(x, found, training), images)

    def _batched(self, images: Any) -> Any:
        return array.expand_dims(images, 0) if images.ndim == _UNBATCHED else images

    def _like(self, result: Any, images: Any) -> Any:
        return array.squeeze(result, 0) if images.ndim == _UNBATCHED else result

    def _cast(self, images: Any) -> Any:
        return math.cast(images, self.compute_dtype)

    def _last(self, images: Any) -> Any:
        """Images with their channels at the end."""
        first = self.data_format == "channels_first"
        return array.transpose(images, (0, 2, 3, 1)) if first else images

    def _back(self, images: Any) -> Any:
        """Undoes `_last`."""
        first = self.data_format == "channels_first"
        return array.transpose(images, (0, 3, 1, 2)) if first else images

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Returns what one call does with a batch: a dict of tensors, or None."""
        return None

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images transformed."""
        raise AssertionError("subclasses define transform_images")

    def transform_labels(self, labels: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the labels, which most layers leave as they are."""
        return labels

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any, training: Any = True
    ) -> Any:
        """Returns the masks, which layers of colours leave as they are."""
        return segmentation_masks

    def _draw(self, count: Any, low: Any, high: Any, seed: Any = None, shape: Any = ()) -> Any:
        """Returns uniform numbers [count, *shape]."""
        return random.uniform(
            [count, *shape], low, high, dtype="float32", seed=seed or self.generator
        )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"data_format": self.data_format}


def images_of(data: Any) -> Any:
    """Returns the images of what a layer is called on."""
    return data["images"] if isinstance(data, dict) else data


def batch_size(data: Any) -> Any:
    """Returns the number of images: an int, or a tensor where a trace does not know it."""
    images = images_of(data)
    return 1 if images.ndim == _UNBATCHED else dims.size(images, 0)


def factor(where: str, value: Any, low: float, high: float, name: str = "factor",
           start: float | None = 0.0) -> tuple[float, float]:  # fmt: skip
    """Returns a range in [low, high] from a number f, or from two numbers.

    A number stands for (start, f); where `start` is None for (-f, f).
    """
    wanted = f"The `{name}` argument should be a number (or a list of two numbers) in the range"
    if isinstance(value, list | tuple):
        valid = len(value) == 2 and all(_is_number(v) and low <= v <= high for v in value)
        if not valid:
            raise errors.invalid(where, f"{wanted} [{low}, {high}]", f"{name}={value}")
        return (min(value), max(value))
    if not _is_number(value) or not low <= value <= high:
        raise errors.invalid(where, f"{wanted} [{low}, {high}]", f"{name}={value}")
    return (-abs(value), abs(value)) if start is None else (start, abs(value))


def value_range(where: str, value: Any) -> Any:
    """Returns a range of pixel values; raises InvalidArgumentError for other things."""
    if not isinstance(value, list | tuple) or len(value) != 2 or value[0] >= value[1]:
        raise errors.invalid(
            where, "The `value_range` argument should be a list of two ascending numbers",
            f"value_range={value}",
        )  # fmt: skip
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
