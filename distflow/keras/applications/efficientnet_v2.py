"""EfficientNetV2 B0 to B3, S, M and L: early blocks are plain convolutions.

Source: Tan & Le 2021, arXiv:2104.00298.
"""

from __future__ import annotations

import math
from typing import Any

from distflow.keras import layers
from distflow.keras.applications import mbconv
from distflow.keras.applications.building import KERAS_FILES, Net, Request, Weights, channel_axis
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import unchanged as preprocess_input

_MOMENTUM = 0.9
_DROPPED_BLOCKS = 0.2
_DROPOUT = 0.2
# Whether blocks are plain ("fused"), blocks, filters before and after, widening, the squeezed
# part of the filters, stride of the first block. All kernels are 3 x 3.
_BASE = (
    (True, 1, 32, 16, 1, 0, 1), (True, 2, 16, 32, 4, 0, 2), (True, 2, 32, 48, 4, 0, 2),
    (False, 3, 48, 96, 4, 0.25, 2), (False, 5, 96, 112, 6, 0.25, 1),
    (False, 8, 112, 192, 6, 0.25, 2),
)  # fmt: skip
_S = (
    (True, 2, 24, 24, 1, 0, 1), (True, 4, 24, 48, 4, 0, 2), (True, 4, 48, 64, 4, 0, 2),
    (False, 6, 64, 128, 4, 0.25, 2), (False, 9, 128, 160, 6, 0.25, 1),
    (False, 15, 160, 256, 6, 0.25, 2),
)  # fmt: skip
_M = (
    (True, 3, 24, 24, 1, 0, 1), (True, 5, 24, 48, 4, 0, 2), (True, 5, 48, 80, 4, 0, 2),
    (False, 7, 80, 160, 4, 0.25, 2), (False, 14, 160, 176, 6, 0.25, 1),
    (False, 18, 176, 304, 6, 0.25, 2), (False, 5, 304, 512, 6, 0.25, 1),
)  # fmt: skip
_L = (
    (True, 4, 32, 32, 1, 0, 1), (True, 7, 32, 64, 4, 0, 2), (True, 7, 64, 96, 4, 0, 2),
    (False, 10, 96, 192, 4, 0.25, 2), (False, 19, 192, 224, 6, 0.25, 1),
    (False, 25, 224, 384, 6, 0.25, 2), (False, 7, 384, 640, 6, 0.25, 1),
)  # fmt: skip
# Name -> model's name, stages, factors of width and depth, size of images, checksums.
_VARIANTS: dict[str, tuple[str, Any, float, float, int, tuple[str, str]]] = {
    "EfficientNetV2B0": ("efficientnetv2-b0", _BASE, 1.0, 1.0, 224,
        ("21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff")),
    "EfficientNetV2B1": ("efficientnetv2-b1", _BASE, 1.0, 1.1, 240,
        ("069f0534ff22adf035c89e2d9547a9dc", "0e80663031ca32d657f9caa404b6ec37")),
    "EfficientNetV2B2": ("efficientnetv2-b2", _BASE, 1.1, 1.2, 260,
        ("424e49f28180edbde1e94797771950a7", "1dfe2e7a5d45b6632553a8961ea609eb")),
    "EfficientNetV2B3": ("efficientnetv2-b3", _BASE, 1.2, 1.4, 300,
        ("1f1fc43bd98a6e4fd8fdfd551e02c7a0", "f6abf7b5849ac99a89b50dd3fd532856")),
    "EfficientNetV2S": ("efficientnetv2-s", _S, 1.0, 1.0, 384,
        ("e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070")),
    "EfficientNetV2M": ("efficientnetv2-m", _M, 1.0, 1.0, 480,
        ("a3bf6aa3276309f4fc6a34aa114c95cd", "1b8dc055df72dde80d614482840fe342")),
    "EfficientNetV2L": ("efficientnetv2-l", _L, 1.0, 1.0, 480,
        ("27e6d408b53c7ebc868fefa357689935", "b0b66b5c863aef5b46e8608fe1711615")),
}  # fmt: skip


def _filters(count: int, width: float) -> int:
    return max(8, int(count * width + 4) // 8 * 8)


def _conv(net: Net, filters: int, kernel: int, name: str, strides: int = 1) -> Net:
    return net.conv(filters, kernel, strides=strides, padding="same",
                    kernel_initializer=mbconv.conv_start(), name=name)  # fmt: skip


def _norm(net: Net, name: str) -> Net:
    return net.norm(name, momentum=_MOMENTUM)


def _plain(net: Net, filters: int, after: int, strides: int, reduced: int, name: str) -> Net:
    """One 3 x 3 convolution, or one that widens and a 1 x 1 one."""
    if filters == net.channels:
        _norm(_conv(net, after, 3, f"{name}project_conv", strides), f"{name}project_bn")
        return net.act("swish", f"{name}project_activation")
    _norm(_conv(net, filters, 3, f"{name}expand_conv", strides), f"{name}expand_bn")
    net.act("swish", f"{name}expand_activation")
    if reduced:
        mbconv.squeeze(net, reduced, name)
    return _norm(_conv(net, after, 1, f"{name}project_conv"), f"{name}project_bn")


def _by_channel(net: Net, filters: int, after: int, strides: int, reduced: int, name: str) -> Net:
    """A 1 x 1 convolution that widens, one of each channel, and a 1 x 1 one."""
    if filters != net.channels:
        _norm(_conv(net, filters, 1, f"{name}expand_conv"), f"{name}expand_bn")
        net.act("swish", f"{name}expand_activation")
    net.depthwise(3, strides=strides, depthwise_initializer=mbconv.conv_start(),
                  name=f"{name}dwconv2")  # fmt: skip
    _norm(net, f"{name}bn").act("swish", f"{name}activation")
    if reduced:
        mbconv.squeeze(net, reduced, name)
    return _norm(_conv(net, after, 1, f"{name}project_conv"), f"{name}project_bn")


def _blocks(net: Net, stages: Any, width: float, depth: float) -> Net:
    done, total = 0, sum(row[1] for row in stages)
    for stage, (fused, count, before, after, wider, squeezed, first) in enumerate(stages, 1):
        before, after = _filters(before, width), _filters(after, width)
        for i in range(math.ceil(depth * count)):
            strides, channels = (first, before) if i == 0 else (1, after)
            name, beginning = f"block{stage}{chr(ord('a') + i)}_", net.x
            reduced = max(1, int(channels * squeezed)) if squeezed else 0
            (_plain if fused else _by_channel)(
                net, channels * wider, after, strides, reduced, name
            )  # fmt: skip
            if strides == 1 and channels == after:
                mbconv.add_input(net, beginning, _DROPPED_BLOCKS * done / total, name)
            done += 1
    return net


def _prepared(net: Net, where: str) -> Net:
    if "B" in where and net.channels == 3:
        variance = [d**2 for d in (0.229, 0.224, 0.225)]
        net.put(layers.Rescaling(scale=1.0 / 255))
        return net.put(layers.Normalization(mean=[0.485, 0.456, 0.406], variance=variance,
                                            axis=channel_axis()))  # fmt: skip
    return net.put(layers.Rescaling(scale=1.0 / 128.0, offset=-1))


def _variant(where: str) -> Any:
    own_name, stages, width, depth, size, (with_top, without) = _VARIANTS[where]
    files = Weights(
        f"{KERAS_FILES}efficientnet_v2/",
        ((f"{own_name}.h5", f"md5:{with_top}"), (f"{own_name}_notop.h5", f"md5:{without}")),
    )

    def make(
        include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
        input_shape: Any = None, pooling: str | None = None, classes: int = 1000,
        classifier_activation: Any = "softmax", include_preprocessing: bool = True,
        name: str = own_name,
    ) -> Any:  # fmt: skip
        ask = Request(where, include_top, weights, input_tensor, input_shape, pooling, classes,
                      classifier_activation)  # fmt: skip
        net = ask.start(size)
        beginning = net.x
        if include_preprocessing:
            _prepared(net, where)
        _norm(_conv(net, _filters(stages[0][2], width), 3, "stem_conv", 2), "stem_bn")
        net.act("swish", "stem_activation")
        _blocks(net, stages, width, depth)
        _norm(_conv(net, _filters(1280, width), 1, "top_conv"), "top_bn")
        net.act("swish", "top_activation")
        ask.head(net, dropout=_DROPOUT, kernel_initializer=mbconv.dense_start())
        return ask.finish(beginning, net, name, files)

    make.__name__ = make.__qualname__ = where
    make.__doc__ = f"Returns {where}; arguments are those of `keras.applications.{where}`."
    return make


EfficientNetV2B0 = _variant("EfficientNetV2B0")
EfficientNetV2B1 = _variant("EfficientNetV2B1")
EfficientNetV2B2 = _variant("EfficientNetV2B2")
EfficientNetV2B3 = _variant("EfficientNetV2B3")
EfficientNetV2S = _variant("EfficientNetV2S")
EfficientNetV2M = _variant("EfficientNetV2M")
EfficientNetV2L = _variant("EfficientNetV2L")

__all__ = [*_VARIANTS, "decode_predictions", "preprocess_input"]
