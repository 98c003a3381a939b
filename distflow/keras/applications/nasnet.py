"""NASNet, mobile and large: two cells that a search found, stacked.

Source: Zoph et al. 2017, arXiv:1707.07012, figure 4.
"""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras import layers, settings
from distflow.keras.applications.building import KERAS_FILES, Net, Request, Weights
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import to_signed_unit as preprocess_input

_NORM = {"momentum": 0.9997, "epsilon": 1e-3}
# Name -> filters at the end, normal cells a stage, filters at the beginning, whether the cell
# before a reduction is skipped, size of images, files of weights.
_VARIANTS: dict[str, tuple[int, int, int, bool, int, Any]] = {
    "NASNetMobile": (1056, 4, 32, False, 224, (
        ("NASNet-mobile.h5", "md5:020fb642bf7360b370c678b08e0adf61"),
        ("NASNet-mobile-no-top.h5", "md5:1ed92395b5b598bdda52abe5c0dbfd63"))),
    "NASNetLarge": (4032, 6, 96, True, 331, (
        ("NASNet-large.h5", "md5:11577c9a518f0070763c2b964a382f17"),
        ("NASNet-large-no-top.h5", "md5:d81d89dc07e6e56530c4e77faddd61b5"))),
}  # fmt: skip


def _separable(net: Net, filters: int, kernel: int, name: str, strides: int = 1) -> Net:
    """Two separable convolutions, each after an activation and before a normalization."""
    net = net.fork().act("relu")
    if strides == 2:
        net.pad_for(kernel, f"separable_conv_1_pad_{name}")
    net.separable(filters, kernel, strides=strides, padding="valid" if strides == 2 else "same",
                  name=f"separable_conv_1_{name}")  # fmt: skip
    net.norm(f"separable_conv_1_bn_{name}", **_NORM).act("relu")
    net.separable(filters, kernel, name=f"separable_conv_2_{name}")
    return net.norm(f"separable_conv_2_bn_{name}", **_NORM)


def _conv(net: Net, filters: int, name: str) -> Net:
    return net.conv(filters, 1, padding="same", kernel_initializer="he_normal", name=name)


def _adjusted(before: Net | None, net: Net, filters: int, name: str) -> Net:
    """Returns the cell before with the size of this one's input and a number of filters."""
    if before is None:
        return net.fork()
    if before.x.shape[-2] != net.x.shape[-2]:
        before = before.fork().act("relu", f"adjust_relu_1_{name}")
        one = before.fork().mean_pool(1, 2, name=f"adjust_avg_pool_1_{name}")
        _conv(one, filters // 2, f"adjust_conv_1_{name}")
        # The other half sees the images moved by one.
        two = before.fork().pad(((0, 1), (0, 1))).put(layers.Cropping2D(((1, 0), (1, 0))))
        two.mean_pool(1, 2, name=f"adjust_avg_pool_2_{name}")
        _conv(two, filters // 2, f"adjust_conv_2_{name}")
        return Net.joined([one, two]).norm(f"adjust_bn_{name}", **_NORM)
    if before.channels != filters:
        before = _conv(before.fork().act("relu"), filters, f"adjust_conv_projection_{name}")
        return before.norm(f"adjust_bn_{name}", **_NORM)
    return before


def _sum(one: Net, two: Net, name: str | None = None) -> Net:
    return one.fork().plus(two.x, name)


def _normal(net: Net, before: Net | None, filters: int, name: str) -> tuple[Net, Net]:
    p = _adjusted(before, net, filters, name)
    h = _conv(net.fork().act("relu"), filters, f"normal_conv_1_{name}")
    h.norm(f"normal_bn_1_{name}", **_NORM)
    left, right = f"normal_left{{}}_{name}", f"normal_right{{}}_{name}"
    add = f"normal_add_{{}}_{name}"
    one = _sum(_separable(h, filters, 5, left.format(1)), _separable(p, filters, 3,
               right.format(1)), add.format(1))  # fmt: skip
    two = _sum(_separable(p, filters, 5, left.format(2)), _separable(p, filters, 3,
               right.format(2)), add.format(2))  # fmt: skip
    three = _sum(h.fork().mean_pool(3, 1, "same", left.format(3)), p, add.format(3))
    four = _sum(p.fork().mean_pool(3, 1, "same", left.format(4)),
                p.fork().mean_pool(3, 1, "same", right.format(4)), add.format(4))  # fmt: skip
    five = _sum(_separable(h, filters, 3, left.format(5)), h, add.format(5))
    return Net.joined([p, one, two, three, four, five], f"normal_concat_{name}"), net


def _reduction(net: Net, before: Net | None, filters: int, name: str) -> tuple[Net, Net]:
    p = _adjusted(before, net, filters, name)
    h = _conv(net.fork().act("relu"), filters, f"reduction_conv_1_{name}")
    h.norm(f"reduction_bn_1_{name}", **_NORM)
    padded = h.fork().pad_for(3, f"reduction_pad_1_{name}")
    left, right = f"reduction_left{{}}_{name}", f"reduction_right{{}}_{name}"
    one = _separable(h, filters, 5, left.format(1), 2)
    one = _sum(one, _separable(p, filters, 7, right.format(1), 2), f"reduction_add_1_{name}")
    two = padded.fork().max_pool(3, 2, name=left.format(2))
    two = _sum(two, _separable(p, filters, 7, right.format(2), 2), f"reduction_add_2_{name}")
    three = padded.fork().mean_pool(3, 2, name=left.format(3))
    last = _separable(p, filters, 5, right.format(3), 2)
    three = _sum(three, last, f"reduction_add3_{name}")
    four = _sum(two, one.fork().mean_pool(3, 1, "same", left.format(4)))
    five = _separable(one, filters, 3, left.format(4))
    small = padded.fork().max_pool(3, 2, name=right.format(5))
    five = _sum(five, small, f"reduction_add4_{name}")
    return Net.joined([two, three, four, five], f"reduction_concat_{name}"), net


def _cells(net: Net, filters: int, count: int, skips: bool) -> Net:
    """Adds three stages of normal cells, with a reduction before each but the first."""
    before: Net | None
    net, before = _reduction(net, None, filters // 4, "stem_1")
    net, before = _reduction(net, before, filters // 2, "stem_2")
    number = 0
    for stage in range(3):
        if stage:
            net, skipped = _reduction(net, before, filters * 2**stage, f"reduce_{stage * count}")
            before = before if skips else skipped
            number += 1
        for _ in range(count):
            net, before = _normal(net, before, filters * 2**stage, f"{number}")
            number += 1
        # Numbers of cells leave out one a reduction, counted from the stage's first.
        number = (stage + 1) * count
    return net


def _variant(where: str) -> Any:
    penultimate, count, first, skips, size, files = _VARIANTS[where]

    def make(
        input_shape: Any = None, include_top: bool = True, weights: Any = "imagenet",
        input_tensor: Any = None, pooling: str | None = None, classes: int = 1000,
        classifier_activation: Any = "softmax",
        name: str = f"nasnet_{where.removeprefix('NASNet').lower()}",
    ) -> Any:  # fmt: skip
        if settings.image_data_format() == "channels_first":
            raise errors.invalid(where, "image_data_format 'channels_last'", "channels_first")
        if where == "NASNetMobile" and not include_top and input_shape is None:
            input_shape = (224, 224, 3)
        ask = Request(where, include_top, weights, input_tensor, input_shape, pooling, classes,
                      classifier_activation)  # fmt: skip
        net = ask.start(size)
        beginning = net.x
        net.conv(first, 3, strides=2, kernel_initializer="he_normal", name="stem_conv1")
        net.norm("stem_bn1", **_NORM)
        net = _cells(net, penultimate // 24, count, skips).act("relu")
        ask.head(net, average=None, largest=None, top=None)
        return ask.finish(beginning, net, name, Weights(f"{KERAS_FILES}nasnet/", files))

    make.__name__ = make.__qualname__ = where
    make.__doc__ = f"Returns {where}; arguments are those of `keras.applications.{where}`."
    return make


NASNetMobile = _variant("NASNetMobile")
NASNetLarge = _variant("NASNetLarge")

__all__ = ["NASNetLarge", "NASNetMobile", "decode_predictions", "preprocess_input"]
