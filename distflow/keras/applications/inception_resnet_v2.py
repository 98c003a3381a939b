"""InceptionResNetV2: blocks of Inception whose results are scaled and added to their input.

Source: Szegedy et al. 2016, arXiv:1602.07261.
"""

from __future__ import annotations

from typing import Any

from distflow.keras import layers, registry
from distflow.keras.applications.building import Net, Request, published
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import to_signed_unit as preprocess_input

_WEIGHTS = published("inception_resnet_v2", "inception_resnet_v2",
                     "e693bd0210a403b3192acc6073ad2e96",
                     "d19885ff4a710c122648d3b5c3b684e4")  # fmt: skip
# Block -> scale, how many of them, branches of convolutions (filters, kernel).
_BLOCKS: dict[str, tuple[float, int, Any]] = {
    "block35": (0.17, 10, (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))),
    "block17": (0.1, 20, (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))),
    "block8": (0.2, 10, (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))),
}
# Name -> branches; "/2" marks a valid convolution of stride 2. A max pooling comes last.
_SHRINKING: dict[str, Any] = {
    "mixed_6a": (((384, 3, "/2"),), ((256, 1), (256, 3), (384, 3, "/2"))),
    "mixed_7a": (
        ((256, 1), (384, 3, "/2")), ((256, 1), (288, 3, "/2")),
        ((256, 1), (288, 3), (320, 3, "/2")),
    ),
}  # fmt: skip


@registry.register_keras_serializable("distflow.applications")
class CustomScaleLayer(layers.Layer):
    """inputs[0] + inputs[1] * scale."""

    def __init__(self, scale: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        """Returns the sum."""
        return inputs[0] + inputs[1] * self.scale

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns the shape of the first input."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that make an equal layer."""
        return {**super().get_config(), "scale": self.scale}


def _conv(net: Net, filters: int, kernel: Any, mark: str = "", name: str | None = None) -> Net:
    if mark == "/2":
        net.conv(filters, kernel, strides=2, name=name)
    else:
        net.conv(filters, kernel, padding=mark or "same", name=name)
    net.norm(name and f"{name}_bn", scale=False)
    return net.act("relu", name and f"{name}_ac")


def _branch(net: Net, row: Any) -> Net:
    branch = net.fork()
    for convolution in row:
        _conv(branch, *convolution)
    return branch


def _block(net: Net, kind: str, number: int) -> Net:
    scale, count, rows = _BLOCKS[kind]
    name, is_last = f"{kind}_{number}", kind == "block8" and number == count
    mixed = Net.joined([_branch(net, row) for row in rows], f"{name}_mixed")
    mixed.conv(net.channels, 1, padding="same", bias=True, name=f"{name}_conv")
    net.x = CustomScaleLayer(1.0 if is_last else scale)([net.x, mixed.x])
    return net if is_last else net.act("relu", f"{name}_ac")


def _shrink(net: Net, name: str) -> Net:
    parts = [_branch(net, row) for row in _SHRINKING[name]]
    return Net.joined([*parts, net.fork().max_pool(3, 2)], name)


def InceptionResNetV2(
    include_top: bool = True, weights: Any = "imagenet", input_tensor: Any = None,
    input_shape: Any = None, pooling: str | None = None, classes: int = 1000,
    classifier_activation: Any = "softmax", name: str = "inception_resnet_v2",
) -> Any:  # fmt: skip
    """Returns InceptionResNetV2; arguments are those of all `keras.applications`."""
    ask = Request("InceptionResNetV2", include_top, weights, input_tensor, input_shape, pooling,
                  classes, classifier_activation)  # fmt: skip
    net = ask.start(299, 75)
    beginning = net.x
    _conv(net, 32, 3, "/2")
    _conv(net, 32, 3, "valid")
    _conv(net, 64, 3).max_pool(3, 2)
    _conv(net, 80, 1, "valid")
    _conv(net, 192, 3, "valid").max_pool(3, 2)
    rows = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
    parts = [_branch(net, row) for row in rows]
    parts.append(_conv(net.fork().mean_pool(3, 1, "same"), 64, 1))
    net = Net.joined(parts, "mixed_5b")
    for kind, shrinking in (("block35", "mixed_6a"), ("block17", "mixed_7a"), ("block8", None)):
        for number in range(1, _BLOCKS[kind][1] + 1):
            _block(net, kind, number)
        if shrinking:
            net = _shrink(net, shrinking)
    _conv(net, 1536, 1, name="conv_7b")
    ask.head(net, average=None, largest=None)
    return ask.finish(beginning, net, name, _WEIGHTS)


__all__ = ["InceptionResNetV2", "decode_predictions", "preprocess_input"]
