"""VGG16 and VGG19: blocks of 3 x 3 convolutions, then three dense layers.

Source: Simonyan & Zisserman 2014, arXiv:1409.1556.
"""

from __future__ import annotations

from typing import Any

from distflow.keras import layers
from distflow.keras.applications.building import Request, Weights, published

_FILTERS = (64, 128, 256, 512, 512)
# Name -> convolutions of each block, and where the weights are.
_VARIANTS: dict[str, tuple[tuple[int, ...], Weights]] = {
    "VGG16": (
        (2, 2, 3, 3, 3),
        published("vgg16", "vgg16", "64373286793e3c8b2b4e3219cbf3544b",
                  "6d6bbae143d832006294945121d1f1fc"),
    ),
    "VGG19": (
        (2, 2, 4, 4, 4),
        published("vgg19", "vgg19", "cbe5617147190e668d6c5d5026f83318",
                  "253f8cb515780f3b799900260a226db6"),
    ),
}  # fmt: skip


def variant(where: str) -> Any:
    """Returns the function that makes a model of a row of the table."""
    convolutions, weights_files = _VARIANTS[where]

    def make(
        include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
        input_shape: Any = None, pooling: str | None = None, classes: int = 1000,
        classifier_activation: Any = "softmax", name: str = where.lower(),
    ) -> Any:  # fmt: skip
        ask = Request(where, include_top, weights, input_tensor, input_shape, pooling, classes,
                      classifier_activation)  # fmt: skip
        net = ask.start(224)
        beginning = net.x
        for block, (filters, count) in enumerate(zip(_FILTERS, convolutions), 1):
            for i in range(1, count + 1):
                net.conv(filters, 3, padding="same", bias=True, activation="relu",
                         name=f"block{block}_conv{i}")  # fmt: skip
            net.max_pool(2, 2, name=f"block{block}_pool")
        if include_top:
            net.put(layers.Flatten(name="flatten"))
            for i in (1, 2):
                net.put(layers.Dense(4096, activation="relu", name=f"fc{i}"))
            net.put(layers.Dense(classes, activation=classifier_activation, name="predictions"))
        else:
            ask.pool(net)
        return ask.finish(beginning, net, name, weights_files)

    make.__name__ = make.__qualname__ = where
    make.__doc__ = f"Returns {where}; arguments are those of `keras.applications.{where}`."
    return make
