"""MobileNet: depthwise and pointwise convolutions in turn.

Source: Howard et al. 2017, arXiv:1704.04861.
"""

from __future__ import annotations

import warnings
from typing import Any

from distflow.base import errors
from distflow.keras import layers, settings
from distflow.keras.applications.building import KERAS_FILES, Net, Request, Weights
from distflow.keras.applications.imagenet_utils import decode_predictions
from distflow.keras.applications.kinds import to_signed_unit as preprocess_input

# Filters and stride of each block.
_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
    (1024, 1),
)  # fmt: skip
_SIZES = (128, 160, 192, 224)
_ALPHAS = {1.0: "1_0", 0.75: "7_5", 0.50: "5_0", 0.25: "2_5"}


def _block(net: Net, filters: int, strides: int, multiplier: int, number: int) -> Net:
    if strides == 2:
        net.pad(((0, 1), (0, 1)), f"conv_pad_{number}")
    net.depthwise(3, strides=strides, padding="same" if strides == 1 else "valid",
                  depth_multiplier=multiplier, name=f"conv_dw_{number}")  # fmt: skip
    net.norm(f"conv_dw_{number}_bn").put(layers.ReLU(6.0, name=f"conv_dw_{number}_relu"))
    net.conv(filters, 1, padding="same", name=f"conv_pw_{number}")
    return net.norm(f"conv_pw_{number}_bn").put(layers.ReLU(6.0, name=f"conv_pw_{number}_relu"))


def size_of(shape: Any, sizes: tuple[int, ...], default: int = 224) -> int:
    """Returns the size of square images, if weights were published for it, or the default."""
    if shape is None:
        return default
    first = settings.image_data_format() == "channels_first"
    rows, columns = shape[1:] if first else shape[:2]
    return rows if rows == columns and rows in sizes else default


def published_size(where: str, rows: Any, columns: Any, sizes: tuple[int, ...]) -> int:
    """Returns the size that weights were published for; warns if images have another one."""
    if rows == columns and rows in sizes:
        return rows
    warnings.warn(
        f"{where}: images are not square of a size in {list(sizes)}. Weights for input shape "
        "(224, 224) will be loaded as the default.", stacklevel=3,
    )  # fmt: skip
    return 224


def sides(net: Net) -> tuple[Any, Any]:
    """Returns the height and width of images, None where unknown."""
    first = settings.image_data_format() == "channels_first"
    shape = tuple(net.x.shape)
    return shape[2:] if first else shape[1:3]  # type: ignore[return-value]


def MobileNet(
    input_shape: Any = None, alpha: float = 1.0, depth_multiplier: int = 1,
    dropout: float = 1e-3, include_top: bool = True, weights: Any = "imagenet",
    input_tensor: Any = None, pooling: str | None = None, classes: int = 1000,
    classifier_activation: Any = "softmax", name: str | None = None,
) -> Any:  # fmt: skip
    """Returns MobileNet.

    Args:
      alpha: factor of the number of filters.
      depth_multiplier: channels of depthwise convolutions for each of their input.
      dropout: rate before the classifier.

    Other arguments are those of all `keras.applications`.
    """
    if weights == "imagenet" and (depth_multiplier != 1 or alpha not in _ALPHAS):
        raise errors.invalid(
            "MobileNet", f"weights='imagenet' with depth_multiplier=1 and alpha in {list(_ALPHAS)}",
            f"depth_multiplier={depth_multiplier}, alpha={alpha}",
        )  # fmt: skip
    ask = Request("MobileNet", include_top, weights, input_tensor, input_shape, pooling, classes,
                  classifier_activation)  # fmt: skip
    net = ask.start(size_of(input_shape, _SIZES))
    beginning, (rows, columns) = net.x, sides(net)
    if weights == "imagenet":
        rows = published_size("MobileNet", rows, columns, _SIZES)
    net.conv(int(32 * alpha), 3, strides=2, padding="same", name="conv1")
    net.norm("conv1_bn").put(layers.ReLU(6.0, name="conv1_relu"))
    for number, (filters, strides) in enumerate(_BLOCKS, 1):
        _block(net, int(filters * alpha), strides, depth_multiplier, number)
    if include_top:
        net.put(layers.GlobalAveragePooling2D(keepdims=True))
        net.put(layers.Dropout(dropout, name="dropout"))
        net.conv(classes, 1, padding="same", bias=True, name="conv_preds")
        net.put(layers.Reshape((classes,), name="reshape_2"))
        net.act(classifier_activation, "predictions")
    else:
        ask.pool(net)
    stem = f"mobilenet_{_ALPHAS.get(alpha)}_{rows}_tf"
    files = Weights(f"{KERAS_FILES}mobilenet/", ((f"{stem}.h5", None), (f"{stem}_no_top.h5", None)))
    return ask.finish(beginning, net, name or f"mobilenet_{alpha:0.2f}_{rows}", files)


__all__ = ["MobileNet", "decode_predictions", "preprocess_input"]
