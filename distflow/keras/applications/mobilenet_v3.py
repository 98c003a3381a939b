"""MobileNetV3, small and large: MobileNetV2's blocks with squeezing and hard swish.

Source: Howard et al. 2019, arXiv:1905.02244, tables 1 and 2.
"""

from __future__ import annotations

import warnings
from typing import Any

from distflow.base import errors
from distflow.keras import layers
from distflow.keras.applications.building import KERAS_FILES, Net, Request, Weights, divisible
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import unchanged as preprocess_input
from distflow.keras.applications.mobilenet import sides

_NORM = {"epsilon": 1e-3, "momentum": 0.999}
_SQUEEZED = 0.25
# Rows: widening, filters, kernel, stride, whether it squeezes, whether it uses hard swish.
_SMALL = (
    (1, 16, 3, 2, True, False), (72.0 / 16, 24, 3, 2, False, False),
    (88.0 / 24, 24, 3, 1, False, False), (4, 40, 5, 2, True, True), (6, 40, 5, 1, True, True),
    (6, 40, 5, 1, True, True), (3, 48, 5, 1, True, True), (3, 48, 5, 1, True, True),
    (6, 96, 5, 2, True, True), (6, 96, 5, 1, True, True), (6, 96, 5, 1, True, True),
)  # fmt: skip
_LARGE = (
    (1, 16, 3, 1, False, False), (4, 24, 3, 2, False, False), (3, 24, 3, 1, False, False),
    (3, 40, 5, 2, True, False), (3, 40, 5, 1, True, False), (3, 40, 5, 1, True, False),
    (6, 80, 3, 2, False, True), (2.5, 80, 3, 1, False, True), (2.3, 80, 3, 1, False, True),
    (2.3, 80, 3, 1, False, True), (6, 112, 3, 1, True, True), (6, 112, 3, 1, True, True),
    (6, 160, 5, 2, True, True), (6, 160, 5, 1, True, True), (6, 160, 5, 1, True, True),
)  # fmt: skip
# Name -> rows, filters before the classifier, checksums by name of the variant.
_VARIANTS: dict[str, tuple[Any, int, dict[str, tuple[str, str]]]] = {
    "MobileNetV3Small": (_SMALL, 1024, {
        "small_224_0.75_float":
            ("cb65d4e5be93758266aa0a7f2c6708b7", "ebdb5cc8e0b497cd13a7c275d475c819"),
        "small_224_1.0_float":
            ("8768d4c2e7dee89b9d02b2d03d65d862", "d3e8ec802a04aa4fc771ee12a9a9b836"),
        "small_minimalistic_224_1.0_float":
            ("99cd97fb2fcdad2bf028eb838de69e37", "cde8136e733e811080d9fcd8a252f7e4"),
    }),
    "MobileNetV3Large": (_LARGE, 1280, {
        "large_224_0.75_float":
            ("765b44a33ad4005b3ac83185abf1d0eb", "40af19a13ebea4e2ee0c676887f69a2e"),
        "large_224_1.0_float":
            ("59e551e166be033d707958cf9e29a6a7", "07fb09a5933dd0c8eaafa16978110389"),
        "large_minimalistic_224_1.0_float":
            ("675e7b876c45c57e9e63e6d90a36599c", "ec5221f64a2f6d1ef965a614bdae7973"),
    }),
}  # fmt: skip


def _activate(net: Net, swish: bool) -> Net:
    return net.act("hard_swish") if swish else net.put(layers.ReLU())


def _squeeze(net: Net, channels: int, name: str) -> Net:
    factor = net.fork()
    factor.put(layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}avg_pool"))
    factor.conv(divisible(channels * _SQUEEZED), 1, padding="same", bias=True, name=f"{name}conv")
    factor.put(layers.ReLU(name=f"{name}relu"))
    factor.conv(channels, 1, padding="same", bias=True, name=f"{name}conv_1")
    # A hard sigmoid as the authors wrote it.
    gate = layers.ReLU(6.0)(factor.x + 3.0) * (1.0 / 6.0)
    net.x = layers.Multiply(name=f"{name}mul")([net.x, gate])
    return net


def _block(net: Net, wider: float, filters: int, kernel: int, strides: int, squeezes: bool,
           swish: bool, number: int) -> Net:  # fmt: skip
    shortcut, channels = net.fork(), net.channels
    name = f"expanded_conv_{number}_" if number else "expanded_conv_"
    wide = divisible(channels * wider)
    if number:
        net.conv(wide, 1, padding="same", name=f"{name}expand")
        _activate(net.norm(f"{name}expand_bn", **_NORM), swish)
    if strides == 2:
        net.pad_for(kernel, f"{name}depthwise_pad")
    net.depthwise(kernel, strides=strides, padding="same" if strides == 1 else "valid",
                  name=f"{name}depthwise")  # fmt: skip
    _activate(net.norm(f"{name}depthwise_bn", **_NORM), swish)
    if squeezes:
        _squeeze(net, wide, f"{name}squeeze_excite_")
    net.conv(filters, 1, padding="same", name=f"{name}project").norm(f"{name}project_bn", **_NORM)
    if strides == 1 and channels == filters:
        net.add(shortcut, f"{name}add")
    return net


def _files(where: str, sums: Any, alpha: float, minimalistic: bool, net: Net) -> Weights:
    size = where.removeprefix("MobileNetV3").lower()
    model = f"{size}{'_minimalistic' if minimalistic else ''}_224_{alpha}_float"
    if model not in sums:
        raise errors.invalid(
            where, "weights='imagenet' with alpha 1.0, or 0.75 unless minimalistic",
            f"alpha={alpha}, minimalistic={minimalistic}",
        )  # fmt: skip
    if sides(net) != (224, 224):
        warnings.warn(f"{where}: images are not 224 x 224. Weights for input shape (224, 224) "
                      "will be loaded as the default.", stacklevel=3)  # fmt: skip
    stem, (top, no_top) = f"weights_mobilenet_v3_{model}", sums[model]
    return Weights(f"{KERAS_FILES}mobilenet_v3/", (
        (f"{stem}.h5", f"md5:{top}"), (f"{stem}_no_top_v2.h5", f"md5:{no_top}")))  # fmt: skip


def _variant(where: str) -> Any:
    rows, last, sums = _VARIANTS[where]

    def make(
        input_shape: Any = None, alpha: float = 1.0, minimalistic: bool = False,
        include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
        classes: int = 1000, pooling: str | None = None, dropout_rate: float = 0.2,
        classifier_activation: Any = "softmax", include_preprocessing: bool = True,
        name: str = where,
    ) -> Any:  # fmt: skip
        ask = Request(where, include_top, weights, input_tensor, input_shape, pooling, classes,
                      classifier_activation)  # fmt: skip
        net = ask.start(224, any_size=True)
        beginning = net.x
        files = Weights("", (("", None), ("", None)))
        if weights == "imagenet":
            files = _files(where, sums, alpha, minimalistic, net)
        if include_preprocessing:
            net.put(layers.Rescaling(scale=1.0 / 127.5, offset=-1.0))
        net.conv(16, 3, strides=2, padding="same", name="conv")
        _activate(net.norm("conv_bn", **_NORM), not minimalistic)
        for number, (wider, filters, kernel, strides, squeezes, swish) in enumerate(rows):
            _block(net, wider, divisible(filters * alpha), 3 if minimalistic else kernel, strides,
                   squeezes and not minimalistic, swish and not minimalistic, number)  # fmt: skip
        net.conv(divisible(net.channels * 6), 1, padding="same", name="conv_1")
        _activate(net.norm("conv_1_bn", **_NORM), not minimalistic)
        if include_top:
            net.put(layers.GlobalAveragePooling2D(keepdims=True))
            width = divisible(last * alpha) if alpha > 1.0 else last
            net.conv(width, 1, padding="same", bias=True, name="conv_2")
            _activate(net, not minimalistic)
            if dropout_rate > 0:
                net.put(layers.Dropout(dropout_rate))
            net.conv(classes, 1, padding="same", bias=True, name="logits").put(layers.Flatten())
            net.act(classifier_activation, "predictions")
        else:
            ask.pool(net, "avg_pool", "max_pool")
        return ask.finish(beginning, net, name, files)

    make.__name__ = make.__qualname__ = where
    make.__doc__ = f"Returns {where}; arguments are those of `keras.applications.{where}`."
    return make


MobileNetV3Small = _variant("MobileNetV3Small")
MobileNetV3Large = _variant("MobileNetV3Large")

# Keras has the models of this family in `applications` only.
__all__ = ["decode_predictions", "preprocess_input"]
