"""MobileNetV2: blocks that widen, convolve each channel, and narrow again without activation.

Source: Sandler et al. 2018, arXiv:1801.04381.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import layers
from distflow.keras.applications.building import KERAS_FILES, Net, Request, Weights, divisible
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import to_signed_unit as preprocess_input
from distflow.keras.applications.mobilenet import published_size, sides, size_of

# Filters, blocks, and the stride of the first of them; the very first block does not widen.
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
_WIDER = 6
_NORM = {"epsilon": 1e-3, "momentum": 0.999}
_SIZES = (96, 128, 160, 192, 224)
_ALPHAS = (0.35, 0.50, 0.75, 1.0, 1.3, 1.4)


def _block(net: Net, filters: int, strides: int, number: int) -> Net:
    shortcut, channels = net.fork(), net.channels
    name = f"block_{number}_" if number else "expanded_conv_"
    if number:
        net.conv(_WIDER * channels, 1, padding="same", name=f"{name}expand")
        net.norm(f"{name}expand_BN", **_NORM).put(layers.ReLU(6.0, name=f"{name}expand_relu"))
    if strides == 2:
        net.pad_for(3, f"{name}pad")
    net.depthwise(3, strides=strides, padding="same" if strides == 1 else "valid",
                  name=f"{name}depthwise")  # fmt: skip
    net.norm(f"{name}depthwise_BN", **_NORM).put(layers.ReLU(6.0, name=f"{name}depthwise_relu"))
    net.conv(filters, 1, padding="same", name=f"{name}project").norm(f"{name}project_BN", **_NORM)
    if channels == filters and strides == 1:
        net.add(shortcut, f"{name}add")
    return net


def MobileNetV2(
    input_shape: Any = None, alpha: float = 1.0, include_top: bool = True,
    weights: Any = "imagenet", input_tensor: Any = None, pooling: str | None = None,
    classes: int = 1000, classifier_activation: Any = "softmax", name: str | None = None,
) -> Any:  # fmt: skip
    """Returns MobileNetV2; alpha is the factor of the number of filters.

    Other arguments are those of all `keras.applications`.
    """
    if weights == "imagenet" and alpha not in _ALPHAS:
        raise errors.invalid("MobileNetV2", f"alpha in {list(_ALPHAS)} with weights='imagenet'",
                             str(alpha))  # fmt: skip
    ask = Request("MobileNetV2", include_top, weights, input_tensor, input_shape, pooling, classes,
                  classifier_activation)  # fmt: skip
    shape = input_shape if input_tensor is None else tuple(input_tensor.shape[1:])
    net = ask.start(size_of(shape, _SIZES))
    beginning, (rows, columns) = net.x, sides(net)
    if weights == "imagenet":
        rows = published_size("MobileNetV2", rows, columns, _SIZES)
    net.conv(divisible(32 * alpha), 3, strides=2, padding="same", name="Conv1")
    net.norm("bn_Conv1", **_NORM).put(layers.ReLU(6.0, name="Conv1_relu"))
    number = 0
    for filters, count, strides in _STAGES:
        for i in range(count):
            _block(net, divisible(int(filters * alpha)), strides if i == 0 else 1, number)
            number += 1
    # The paper's factor makes the last layer wider, never narrower.
    net.conv(divisible(1280 * max(alpha, 1.0)), 1, name="Conv_1").norm("Conv_1_bn", **_NORM)
    net.put(layers.ReLU(6.0, name="out_relu"))
    ask.head(net, average=None, largest=None, top=None)
    stem = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{rows}"
    files = Weights(f"{KERAS_FILES}mobilenet_v2/",
                    ((f"{stem}.h5", None), (f"{stem}_no_top.h5", None)))  # fmt: skip
    return ask.finish(beginning, net, name or f"mobilenetv2_{alpha:0.2f}_{rows}", files)


__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]
