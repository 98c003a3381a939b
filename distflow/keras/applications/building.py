"""A model under construction, and its beginning and end, which are the same for all families."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

from distflow.base import errors
from distflow.keras import activations, layers, models, settings
from distflow.keras.applications.imagenet_utils import CLASSES
from distflow.keras.datasets import files
from distflow.keras.engine.keras_tensor import KerasTensor

KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/"


def channel_axis() -> int:
    """Returns the axis of the channels in a batch of images."""
    return 1 if settings.image_data_format() == "channels_first" else 3


class Net:
    """A tensor, and methods that put a layer behind it; each returns the Net itself."""

    def __init__(self, x: Any):
        self.x = x

    def fork(self) -> Net:
        """Returns another Net that starts here."""
        return Net(self.x)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.x.shape[channel_axis()]

    def put(self, layer: Any) -> Net:
        """Adds any layer."""
        self.x = layer(self.x)
        return self

    def conv(self, filters: int, kernel: Any, *, strides: Any = 1, padding: str = "valid",
             bias: bool = False, name: str | None = None, **more: Any) -> Net:  # fmt: skip
        """Adds a convolution, without bias unless wanted."""
        return self.put(layers.Conv2D(filters, kernel, strides=strides, padding=padding,
                                      use_bias=bias, name=name, **more))  # fmt: skip

    def depthwise(self, kernel: int, *, strides: Any = 1, padding: str = "same",
                  name: str | None = None, **more: Any) -> Net:  # fmt: skip
        """Adds a convolution of each channel by itself, without bias."""
        return self.put(layers.DepthwiseConv2D(kernel, strides=strides, padding=padding,
                                               use_bias=False, name=name, **more))  # fmt: skip

    def separable(self, filters: int, kernel: Any = 3, *, strides: Any = 1, padding: str = "same",
                  name: str | None = None) -> Net:  # fmt: skip
        """Adds a separable convolution, without bias."""
        return self.put(layers.SeparableConv2D(filters, kernel, strides=strides, padding=padding,
                                               use_bias=False, name=name))  # fmt: skip

    def norm(self, name: str | None = None, **more: Any) -> Net:
        """Adds a batch normalization."""
        return self.put(layers.BatchNormalization(axis=channel_axis(), name=name, **more))

    def act(self, activation: Any, name: str | None = None) -> Net:
        """Adds an activation."""
        return self.put(layers.Activation(activation, name=name))

    def pad(self, padding: Any, name: str | None = None) -> Net:
        """Adds zeros around images."""
        return self.put(layers.ZeroPadding2D(padding, name=name))

    def pad_for(self, kernel: int, name: str | None = None) -> Net:
        """Adds the zeros after which a valid convolution of stride 2 fits, as the authors did."""
        size = [n for i, n in enumerate(self.x.shape) if i not in (0, channel_axis())]
        less = [1 - n % 2 if size[0] is not None else 1 for n in (s or 0 for s in size)]
        half = kernel // 2
        return self.pad(tuple((half - d, half) for d in less), name)

    def max_pool(self, size: int, strides: int, padding: str = "valid",
                 name: str | None = None) -> Net:  # fmt: skip
        """Adds a pooling by the maximum."""
        return self.put(layers.MaxPooling2D(size, strides=strides, padding=padding, name=name))

    def mean_pool(self, size: int, strides: int, padding: str = "valid",
                  name: str | None = None) -> Net:  # fmt: skip
        """Adds a pooling by the mean."""
        return self.put(layers.AveragePooling2D(size, strides=strides, padding=padding, name=name))

    def add(self, first: Net, name: str | None = None) -> Net:
        """Adds another Net's tensor, as the first summand."""
        self.x = layers.Add(name=name)([first.x, self.x])
        return self

    def plus(self, second: Any, name: str | None = None) -> Net:
        """Adds a tensor, as the second summand."""
        self.x = layers.Add(name=name)([self.x, second])
        return self

    @staticmethod
    def joined(parts: list[Net], name: str | None = None) -> Net:
        """Returns a Net of the channels of all parts."""
        return Net(layers.Concatenate(axis=channel_axis(), name=name)([p.x for p in parts]))


@dataclass(frozen=True)
class Weights:
    """Published weights.

    Attributes:
      url: folder.
      files: (name, checksum or None) with the classifier, and without it.
    """

    url: str
    files: tuple[tuple[str, str | None], tuple[str, str | None]]


def published(folder: str, name: str, top: str, no_top: str) -> Weights:
    """Returns the weights of the older families, by their MD5 sums."""
    stem = f"{name}_weights_tf_dim_ordering_tf_kernels"
    return Weights(
        f"{KERAS_FILES}{folder}/",
        ((f"{stem}.h5", f"md5:{top}"), (f"{stem}_notop.h5", f"md5:{no_top}")),
    )


def divisible(value: float, by: int = 8) -> int:
    """Returns a number of channels near a value: a multiple of `by`, not a tenth below it."""
    near = max(by, int(value + by / 2) // by * by)
    return near + by if near < 0.9 * value else near


@dataclass(frozen=True)
class Request:
    """What a user asks for: the arguments that all families have.

    Attributes:
      where: name of the family's function.
      include_top: whether the classifier is there.
      weights: None, "imagenet", or the path of a file.
      input_tensor: a Keras tensor to start from, or None.
      input_shape: of an image, or None for the family's own size.
      pooling: without a classifier: None, "avg" or "max".
      classes, classifier_activation: of the classifier.
    """

    where: str
    include_top: bool
    weights: Any
    input_tensor: Any
    input_shape: Any
    pooling: str | None
    classes: int
    classifier_activation: Any

    def start(self, default_size: int, min_size: int = 32, any_size: bool = False) -> Net:
        """Returns the beginning of the net, once the arguments are checked.

        Args:
          default_size: of images, where a classifier needs to know.
          min_size: the smallest size that all layers can take.
          any_size: whether images may have any size even with a classifier.
        """
        self._check()
        shape = self._shape(default_size, min_size, any_size)
        if self.input_tensor is None:
            return Net(layers.Input(shape=shape))
        if not isinstance(self.input_tensor, KerasTensor):
            raise errors.invalid(self.where, "input_tensor must be a Keras tensor",
                                 repr(self.input_tensor), "Use keras.Input(...).")  # fmt: skip
        return Net(self.input_tensor)

    def _check(self) -> None:
        weights = self.weights
        if weights not in (None, "imagenet") and not os.path.exists(weights):
            raise errors.invalid(
                self.where, "weights must be None, 'imagenet', or the path of a file that is there",
                repr(weights),
            )  # fmt: skip
        if self.pooling not in (None, "avg", "max"):
            raise errors.invalid(self.where, "pooling must be None, 'avg' or 'max'",
                                 repr(self.pooling))  # fmt: skip
        if not self.include_top:
            return
        if weights == "imagenet" and self.classes != CLASSES:
            raise errors.invalid(
                self.where, f"classes must be {CLASSES} with weights='imagenet' and include_top",
                str(self.classes), "Use include_top=False and add a classifier of your own.",
            )  # fmt: skip
        allowed = (activations.get("softmax"), activations.get(None))
        if weights is not None and activations.get(self.classifier_activation) not in allowed:
            raise errors.invalid(
                self.where, "classifier_activation must be None or 'softmax' with given weights",
                repr(self.classifier_activation),
            )  # fmt: skip

    def _shape(self, size: int, min_size: int, any_size: bool) -> tuple[Any, ...]:
        first = settings.image_data_format() == "channels_first"
        given = None if self.input_shape is None else tuple(self.input_shape)
        if given is None and self.input_tensor is not None:
            given = tuple(self.input_tensor.shape[1:])
        if given is not None and len(given) != 3:
            raise errors.invalid(self.where, "input_shape must be a tuple of three integers",
                                 str(given))  # fmt: skip
        colours = 3 if given is None else given[0 if first else -1]
        imagenet = self.weights == "imagenet"
        if imagenet and colours != 3:
            raise errors.invalid(self.where, "3 channels with weights='imagenet'", str(given))
        if colours not in (1, 3):
            warnings.warn(
                f"{self.where} usually expects 1 or 3 input channels. However, it was passed an "
                f"input_shape with {colours} input channels.", stacklevel=4,
            )  # fmt: skip
        needs_size = self.include_top and not any_size
        own = (colours, size, size) if first else (size, size, colours)
        if given is None:
            sides = (size, size) if needs_size else (None, None)
            given = (3, *sides) if first else (*sides, 3)
        if imagenet and needs_size and given != own:
            raise errors.invalid(
                self.where, f"input_shape must be {own} with weights='imagenet' and include_top",
                str(given),
            )  # fmt: skip
        sides = given[1:] if first else given[:2]
        if any(side is not None and side < min_size for side in sides):
            raise errors.invalid(self.where, f"images must be at least {min_size} x {min_size}",
                                 str(given))  # fmt: skip
        if needs_size and None in given:
            raise errors.invalid(self.where, "input_shape must be known with include_top",
                                 str(given))  # fmt: skip
        return given

    def head(self, net: Net, *, average: str | None = "avg_pool", largest: str | None = "max_pool",
             top: str | None = "avg_pool", dropout: float = 0.0, **dense: Any) -> Net:  # fmt: skip
        """Adds the classifier "predictions" behind a mean over images, or the pooling.

        Args:
          average, largest, top: names of the pooling layers, without and with a classifier.
          dropout: rate before the classifier.
          **dense: further arguments of the classifier.
        """
        if not self.include_top:
            return self.pool(net, average, largest)
        net.put(layers.GlobalAveragePooling2D(name=top))
        if dropout > 0:
            net.put(layers.Dropout(dropout, name="top_dropout"))
        return net.put(layers.Dense(self.classes, activation=self.classifier_activation,
                                    name="predictions", **dense))  # fmt: skip

    def pool(self, net: Net, average: str | None = None, largest: str | None = None) -> Net:
        """Adds the pooling that is asked for instead of a classifier."""
        if self.pooling == "avg":
            net.put(layers.GlobalAveragePooling2D(name=average))
        elif self.pooling == "max":
            net.put(layers.GlobalMaxPooling2D(name=largest))
        return net

    def finish(self, beginning: Any, net: Net, name: str, weights: Weights) -> Any:
        """Returns the model, with its weights loaded.

        Raises:
          NotFoundError: if published weights are not there and cannot be downloaded.
        """
        model = models.Model(beginning, net.x, name=name)
        if self.weights == "imagenet":
            file, checksum = weights.files[0 if self.include_top else 1]
            model.load_weights(
                files.fetch(self.where, file, weights.url + file, checksum, folder="models")
            )
        elif self.weights is not None:
            model.load_weights(self.weights)
        return model
