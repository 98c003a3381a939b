"""What both EfficientNets share: initializers, squeezing, and the end of a block."""

from __future__ import annotations

from typing import Any

from distflow.keras import initializers, layers
from distflow.keras.applications.building import Net, channel_axis


def conv_start() -> Any:
    """Returns the initializer of convolutions."""
    return initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")


def dense_start() -> Any:
    """Returns the initializer of the classifier."""
    return initializers.VarianceScaling(1.0 / 3.0, "fan_out", "uniform")


def squeeze(net: Net, reduced: int, name: str) -> Net:
    """Multiplies each channel by a number in [0, 1] that is found from the means of all."""
    channels = net.channels
    factor = net.fork().put(layers.GlobalAveragePooling2D(name=f"{name}se_squeeze"))
    shape = (channels, 1, 1) if channel_axis() == 1 else (1, 1, channels)
    factor.put(layers.Reshape(shape, name=f"{name}se_reshape"))
    factor.conv(reduced, 1, padding="same", bias=True, activation="swish",
                kernel_initializer=conv_start(), name=f"{name}se_reduce")  # fmt: skip
    factor.conv(channels, 1, padding="same", bias=True, activation="sigmoid",
                kernel_initializer=conv_start(), name=f"{name}se_expand")  # fmt: skip
    net.x = layers.Multiply(name=f"{name}se_excite")([net.x, factor.x])
    return net


def add_input(net: Net, beginning: Any, drop_rate: float, name: str) -> Net:
    """Adds the block's input; in training, whole blocks are left out at a rate."""
    if drop_rate > 0:
        shape = (None, 1, 1, 1)
        net.put(layers.Dropout(drop_rate, noise_shape=shape, name=f"{name}drop"))
    return net.plus(beginning, f"{name}add")
