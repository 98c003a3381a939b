"""EfficientNet B0 to B7: one net, made wider, deeper and larger by three factors together.

Source: Tan & Le 2019, arXiv:1905.11946.
"""

from __future__ import annotations

import math
from typing import Any

from distflow.keras import layers
from distflow.keras.applications import mbconv
from distflow.keras.applications.building import Net, Request, Weights, channel_axis, divisible
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import unchanged as preprocess_input

# Kernel, blocks, filters before and after, widening, stride of the first block.
_STAGES = (
    (3, 1, 32, 16, 1, 1), (3, 2, 16, 24, 6, 2), (5, 2, 24, 40, 6, 2), (3, 3, 40, 80, 6, 2),
    (5, 3, 80, 112, 6, 1), (5, 4, 112, 192, 6, 2), (3, 1, 192, 320, 6, 1),
)  # fmt: skip
_SQUEEZED = 0.25
_DROPPED_BLOCKS = 0.2
_DEVIATIONS = (0.229, 0.224, 0.225)
_URL = "https://storage.googleapis.com/keras-applications/"
# Name -> factors of width and depth, size of images, dropout, checksums.
_VARIANTS: dict[str, tuple[float, float, int, float, tuple[str, str]]] = {
    "EfficientNetB0": (1.0, 1.0, 224, 0.2,
        ("902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d")),
    "EfficientNetB1": (1.0, 1.1, 240, 0.2,
        ("1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432")),
    "EfficientNetB2": (1.1, 1.2, 260, 0.3,
        ("b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39")),
    "EfficientNetB3": (1.2, 1.4, 300, 0.3,
        ("ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226")),
    "EfficientNetB4": (1.4, 1.8, 380, 0.4,
        ("18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba")),
    "EfficientNetB5": (1.6, 2.2, 456, 0.4,
        ("ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f")),
    "EfficientNetB6": (1.8, 2.6, 528, 0.5,
        ("165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743")),
    "EfficientNetB7": (2.0, 3.1, 600, 0.5,
        ("8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a")),
}  # fmt: skip


def _block(net: Net, kernel: int, before: int, after: int, wider: int, strides: int,
           drop_rate: float, name: str) -> Net:  # fmt: skip
    beginning = net.x
    if wider != 1:
        net.conv(before * wider, 1, padding="same", kernel_initializer=mbconv.conv_start(),
                 name=f"{name}expand_conv")  # fmt: skip
        net.norm(f"{name}expand_bn").act("swish", f"{name}expand_activation")
    if strides == 2:
        net.pad_for(kernel, f"{name}dwconv_pad")
    net.depthwise(kernel, strides=strides, padding="valid" if strides == 2 else "same",
                  depthwise_initializer=mbconv.conv_start(), name=f"{name}dwconv")  # fmt: skip
    net.norm(f"{name}bn").act("swish", f"{name}activation")
    mbconv.squeeze(net, max(1, int(before * _SQUEEZED)), name)
    net.conv(after, 1, padding="same", kernel_initializer=mbconv.conv_start(),
             name=f"{name}project_conv")  # fmt: skip
    net.norm(f"{name}project_bn")
    if strides == 1 and before == after:
        mbconv.add_input(net, beginning, drop_rate, name)
    return net


def _blocks(net: Net, width: float, depth: float) -> Net:
    counts = [math.ceil(depth * row[1]) for row in _STAGES]
    done = 0
    for stage, (count, (kernel, _, before, after, wider, strides)) in enumerate(
        zip(counts, _STAGES), 1
    ):
        before, after = divisible(before * width), divisible(after * width)
        for i in range(count):
            rate = _DROPPED_BLOCKS * done / sum(counts)
            name = f"block{stage}{chr(ord('a') + i)}_"
            _block(net, kernel, before if i == 0 else after, after, wider,
                   strides if i == 0 else 1, rate, name)  # fmt: skip
            done += 1
    return net


def _variant(where: str) -> Any:
    width, depth, size, dropout, (with_top, without) = _VARIANTS[where]
    own_name = where.lower()
    files = Weights(_URL, ((f"{own_name}.h5", f"md5:{with_top}"),
                           (f"{own_name}_notop.h5", f"md5:{without}")))  # fmt: skip

    def make(
        include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
        input_shape: Any = None, pooling: str | None = None, classes: int = 1000,
        classifier_activation: Any = "softmax", name: str = own_name,
    ) -> Any:  # fmt: skip
        ask = Request(where, include_top, weights, input_tensor, input_shape, pooling, classes,
                      classifier_activation)  # fmt: skip
        net = ask.start(size)
        beginning = net.x
        net.put(layers.Rescaling(1.0 / 255.0)).put(layers.Normalization(axis=channel_axis()))
        if weights == "imagenet":
            # The published weights want the deviation where the layer takes its root.
            net.put(layers.Rescaling([1.0 / math.sqrt(d) for d in _DEVIATIONS]))
        net.pad_for(3, "stem_conv_pad")
        net.conv(divisible(32 * width), 3, strides=2, kernel_initializer=mbconv.conv_start(),
                 name="stem_conv")  # fmt: skip
        net.norm("stem_bn").act("swish", "stem_activation")
        _blocks(net, width, depth)
        net.conv(divisible(1280 * width), 1, padding="same",
                 kernel_initializer=mbconv.conv_start(), name="top_conv")  # fmt: skip
        net.norm("top_bn").act("swish", "top_activation")
        ask.head(net, dropout=dropout, kernel_initializer=mbconv.dense_start())
        return ask.finish(beginning, net, name, files)

    make.__name__ = make.__qualname__ = where
    make.__doc__ = f"Returns {where}; arguments are those of `keras.applications.{where}`."
    return make


EfficientNetB0 = _variant("EfficientNetB0")
EfficientNetB1 = _variant("EfficientNetB1")
EfficientNetB2 = _variant("EfficientNetB2")
EfficientNetB3 = _variant("EfficientNetB3")
EfficientNetB4 = _variant("EfficientNetB4")
EfficientNetB5 = _variant("EfficientNetB5")
EfficientNetB6 = _variant("EfficientNetB6")
EfficientNetB7 = _variant("EfficientNetB7")

__all__ = [*_VARIANTS, "decode_predictions", "preprocess_input"]
