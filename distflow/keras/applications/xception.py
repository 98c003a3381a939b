"""Xception: residual blocks of separable convolutions.

Source: Chollet 2016, arXiv:1610.02357.
"""

from __future__ import annotations

from typing import Any

from distflow.keras.applications.building import Net, Request, published
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import to_signed_unit as preprocess_input

_WEIGHTS = published("xception", "xception", "0a58e3b7378bc2990ea3b43d5981f1f6",
                     "b0042744bf5b25fce3cb969f33bebb97")  # fmt: skip
# Block -> filters of its separable convolutions; those of two make images smaller.
_BLOCKS: dict[int, tuple[int, ...]] = {
    2: (128, 128), 3: (256, 256), 4: (728, 728),
    **dict.fromkeys(range(5, 13), (728, 728, 728)),
    13: (728, 1024),
}  # fmt: skip


def _block(net: Net, number: int, filters: tuple[int, ...]) -> Net:
    """Adds separable convolutions and their shortcut, the first summand's second."""
    name, shrinks = f"block{number}", len(filters) == 2
    shortcut = net.fork()
    if shrinks:
        shortcut.conv(filters[-1], 1, strides=2, padding="same").norm()
    for i, count in enumerate(filters, 1):
        if i > 1 or number > 2:  # the first block follows an activation
            net.act("relu", f"{name}_sepconv{i}_act")
        net.separable(count, name=f"{name}_sepconv{i}").norm(f"{name}_sepconv{i}_bn")
    if shrinks:
        net.max_pool(3, 2, "same", f"{name}_pool")
    return net.plus(shortcut.x)


def Xception(
    include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
    input_shape: Any = None, pooling: str | None = None, classes: int = 1000,
    classifier_activation: Any = "softmax", name: str = "xception",
) -> Any:  # fmt: skip
    """Returns Xception; arguments are those of `keras.applications.Xception`."""
    ask = Request("Xception", include_top, weights, input_tensor, input_shape, pooling, classes,
                  classifier_activation)  # fmt: skip
    net = ask.start(299, 71)
    beginning = net.x
    net.conv(32, 3, strides=2, name="block1_conv1")
    net.norm("block1_conv1_bn").act("relu", "block1_conv1_act")
    net.conv(64, 3, name="block1_conv2")
    net.norm("block1_conv2_bn").act("relu", "block1_conv2_act")
    for number, filters in _BLOCKS.items():
        _block(net, number, filters)
    for i, count in enumerate((1536, 2048), 1):
        net.separable(count, name=f"block14_sepconv{i}").norm(f"block14_sepconv{i}_bn")
        net.act("relu", f"block14_sepconv{i}_act")
    ask.head(net, average=None, largest=None)
    return ask.finish(beginning, net, name, _WEIGHTS)


__all__ = ["Xception", "decode_predictions", "preprocess_input"]
