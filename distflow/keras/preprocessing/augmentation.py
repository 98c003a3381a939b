"""Changes of single pictures as TF 2 had them: shifts of brightness and of channels."""

from __future__ import annotations

from typing import Any

import numpy as np


def apply_channel_shift(x: Any, intensity: float, channel_axis: int = 0) -> Any:
    """Returns an array with `intensity` added, limited to the range that it had."""
    x = np.asarray(x)
    return np.clip(x + intensity, x.min(), x.max())


def random_channel_shift(x: Any, intensity_range: float, channel_axis: int = 0) -> Any:
    """Returns an array with a random number in [-range, range] added."""
    return apply_channel_shift(x, np.random.uniform(-intensity_range, intensity_range),
                               channel_axis)  # fmt: skip


def apply_brightness_shift(x: Any, brightness: float, scale: bool = True) -> Any:
    """Returns a picture [height, width, channels] made brighter by a factor.

    Args:
      scale: whether its values are spread to [0, 255] first, and back afterwards.
    """
    x = np.asarray(x, np.float32)
    low, high = float(x.min()), float(x.max())
    spread = (x - low) / (high - low) * 255 if scale and high > low else x
    bright = np.clip(np.floor(np.floor(spread) * brightness), 0, 255)
    return bright / 255 * (high - low) + low if scale and high > low else bright


def random_brightness(x: Any, brightness_range: Any, scale: bool = True) -> Any:
    """Returns a picture made brighter by a random factor in [low, high].

    Raises:
      ValueError: unless the range is two numbers.
    """
    if len(brightness_range) != 2:
        raise ValueError(
            f"`brightness_range should be tuple or list of two floats. Received: {brightness_range}"
        )
    return apply_brightness_shift(x, np.random.uniform(*brightness_range), scale)
