"""DenseNet121, 169 and 201: each layer sees the channels of all before it in its block.

Source: Huang et al. 2016, arXiv:1608.06993.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import settings
from distflow.keras.applications.building import Net, Request, Weights, published
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import torch as preprocess_input

_EPSILON = 1.001e-5
_GROWTH = 32
# Name -> layers of the four blocks, and where the weights are.
_VARIANTS: dict[str, tuple[tuple[int, ...], Weights]] = {
    name: (blocks, published("densenet", name.lower(), *sums))
    for name, blocks, sums in (
        ("DenseNet121", (6, 12, 24, 16),
         ("9d60b8095a5708f2dcce2bca79d332c7", "30ee3e1110167f948a6b9946edeeb738")),
        ("DenseNet169", (6, 12, 32, 32),
         ("d699b8f76981ab1b30698df4c175e90b", "b8c4d4c20dd625c148057b9ff1c1176b")),
        ("DenseNet201", (6, 12, 48, 32),
         ("1ceb130c1ea1b78c3bf6114dbdfd8807", "c13680b51ded0fb44dff2d8f86ac8bb1")),
    )
}  # fmt: skip


def _layer(net: Net, name: str) -> Net:
    new = net.fork().norm(f"{name}_0_bn", epsilon=_EPSILON).act("relu", f"{name}_0_relu")
    new.conv(4 * _GROWTH, 1, name=f"{name}_1_conv")
    new.norm(f"{name}_1_bn", epsilon=_EPSILON).act("relu", f"{name}_1_relu")
    new.conv(_GROWTH, 3, padding="same", name=f"{name}_2_conv")
    return Net.joined([net, new], f"{name}_concat")


def _variant(where: str) -> Any:
    blocks, weights_files = _VARIANTS[where]

    def make(
        include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
        input_shape: Any = None, pooling: str | None = None, classes: int = 1000,
        classifier_activation: Any = "softmax", name: str = where.lower(),
    ) -> Any:  # fmt: skip
        if settings.image_data_format() == "channels_first":
            raise errors.invalid(where, "image_data_format 'channels_last'", "channels_first")
        ask = Request(where, include_top, weights, input_tensor, input_shape, pooling, classes,
                      classifier_activation)  # fmt: skip
        net = ask.start(224)
        beginning = net.x
        net.pad(3).conv(64, 7, strides=2, name="conv1_conv")
        net.norm("conv1_bn", epsilon=_EPSILON).act("relu", "conv1_relu")
        net.pad(1).max_pool(3, 2, name="pool1")
        for block, count in enumerate(blocks, 2):
            for i in range(1, count + 1):
                net = _layer(net, f"conv{block}_block{i}")
            if block < 5:
                net.norm(f"pool{block}_bn", epsilon=_EPSILON).act("relu", f"pool{block}_relu")
                net.conv(net.channels // 2, 1, name=f"pool{block}_conv")
                net.mean_pool(2, 2, name=f"pool{block}_pool")
        net.norm("bn", epsilon=_EPSILON).act("relu", "relu")
        return ask.finish(beginning, ask.head(net), name, weights_files)

    make.__name__ = make.__qualname__ = where
    make.__doc__ = f"Returns {where}; arguments are those of `keras.applications.{where}`."
    return make


DenseNet121 = _variant("DenseNet121")
DenseNet169 = _variant("DenseNet169")
DenseNet201 = _variant("DenseNet201")

__all__ = ["DenseNet121", "DenseNet169", "DenseNet201", "decode_predictions", "preprocess_input"]
