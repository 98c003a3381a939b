"""MixUp and CutMix: images and labels of a batch, mixed in pairs."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras.layers.preprocessing.image_layer import (
    ImageLayer,
    batch_size,
    factor,
    images_of,
)
from distflow.ops import array, dims, math
from distflow.ops.indexing import gather, where
from distflow.ops.sorting import argsort


class _Mixing(ImageLayer):
    """A layer that mixes each image with another one of the batch."""

    def call(self, data: Any, training: Any = True) -> Any:
        """Returns the data mixed: a dict of images and labels of floats, or images."""
        if isinstance(data, dict) and "labels" in data and not data["labels"].dtype.is_floating:
            raise errors.DtypeMismatchError(
                f"{type(self).__name__}: expected labels of floats, one-hot say, which can be "
                f"mixed; received {data['labels'].dtype.name}."
            )
        return super().call(data, training)

    def _partners(self, count: Any, seed: Any) -> Any:
        return argsort(self._draw(count, 0.0, 1.0, seed))

    def _spread(self, weight: Any, like: Any) -> Any:
        return array.reshape(math.cast(weight, like.dtype), [-1, *[1] * (like.ndim - 1)])

    def transform_labels(self, labels: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the labels mixed by the same shares as the images."""
        if transformation is None:
            return labels
        weight = self._spread(transformation["mix_weight"], labels)
        other = gather(labels, transformation["permutation_order"], axis=0)
        return weight * labels + (1.0 - weight) * other


class MixUp(_Mixing):
    """Adds two images, with a share that follows a Beta(alpha, alpha) distribution.

    Source: Zhang et al. 2017, arXiv:1710.09412.
    """

    def __init__(self, alpha: float = 0.2, data_format: str | None = None, seed: Any = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        if not isinstance(alpha, int | float) or alpha < 0:
            raise errors.invalid("MixUp", "`alpha` must not be negative", f"alpha={alpha}")
        self.alpha = alpha

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the share of each image, and its partner."""
        if not training:
            return None
        count = batch_size(data)
        return {
            "mix_weight": beta(self, count, self.alpha, seed),
            "permutation_order": self._partners(count, seed),
        }

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images mixed."""
        x = self._cast(images)
        weight = self._spread(transformation["mix_weight"], x)
        return weight * x + (1.0 - weight) * gather(x, transformation["permutation_order"], axis=0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"alpha": self.alpha, "seed": self.seed}


# Rounds of Johnk's rejection; with eight, less than one in a thousand draws is left over.
_ROUNDS = 8


def beta(layer: Any, count: Any, alpha: float, seed: Any = None) -> Any:
    """Returns numbers [count] of a Beta(alpha, alpha) distribution.

    Source: Jöhnk 1964: u^(1/a) / (u^(1/a) + v^(1/a)) of the first pair whose sum is at most 1.
    """
    if alpha == 0:
        return math.round(layer._draw(count, 0.0, 1.0, seed))
    u, v = (math.log(layer._draw(count, 1e-7, 1.0, seed, (_ROUNDS,))) / alpha for _ in range(2))
    fits = math.less_equal(math.exp(u) + math.exp(v), 1.0)
    share = math.sigmoid(u - v)
    result = share[:, _ROUNDS - 1]
    for i in reversed(range(_ROUNDS - 1)):
        result = where(fits[:, i], share[:, i], result)
    return result


class CutMix(_Mixing):
    """Puts a box of one image into another; labels are mixed by the share of pixels.

    Args:
      factor: bounds the share that stays: f for (0, f), or two numbers in [0, 1].

    Source: Yun et al. 2019, arXiv:1905.04899.
    """

    def __init__(self, factor: Any = 1.0, seed: Any = None, data_format: str | None = None,
                 **kwargs: Any):  # fmt: skip
        super().__init__(data_format=data_format, seed=seed, **kwargs)
        self.factor = _share(factor)

    def get_random_transformation(self, data: Any, training: Any = True, seed: Any = None) -> Any:
        """Draws the box of each image, and where its pixels come from."""
        if not training:
            return None
        x = self._last(self._batched(images_of(data)))
        count, height, width = (dims.size(x, i) for i in range(3))
        low, high = self.factor
        side = math.sqrt(1.0 - self._draw(count, low, high, seed))
        place = self._draw(count, 0.0, 1.0, seed, (2,))
        stays: Any = None
        cut: Any = None
        for axis, size in enumerate((height, width)):
            length = math.cast(size, "float32") if not isinstance(size, int) else float(size)
            start = math.floor(math.maximum(place[:, axis] * length - side * length / 2.0, 0.0))
            end = math.floor(math.minimum(place[:, axis] * length + side * length / 2.0, length))
            line = [1, 1, 1, 1]
            line[axis + 1] = -1
            at = array.reshape(math.cast(math.range(size), "float32"), line)
            start, end = (array.reshape(v, [-1, 1, 1, 1]) for v in (start, end))
            here = math.logical_and(math.greater_equal(at, start), math.less(at, end))
            stays = here if stays is None else math.logical_and(stays, here)
            part = math.maximum(end - start, 0.0) / length
            cut = part if cut is None else cut * part
        return {
            "permutation_order": self._partners(count, seed), "batch_masks": stays,
            "mix_weight": 1.0 - cut,
        }  # fmt: skip

    def transform_images(self, images: Any, transformation: Any, training: Any = True) -> Any:
        """Returns the images with boxes of others."""
        x = self._last(self._cast(images))
        other = gather(x, transformation["permutation_order"], axis=0)
        return self._back(where(transformation["batch_masks"], other, x))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return super().get_config() | {"factor": self.factor, "seed": self.seed}


def _share(value: Any) -> tuple[float, float]:
    return factor("CutMix", value, 0, 1, "factor", 0)
