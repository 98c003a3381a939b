"""Images under projective maps: each output pixel reads the input at a point of its own.

Borders are continued as in TensorFlow's image transforms: "reflect" (dcba|abcd|dcba), "wrap",
"nearest", or "constant".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.ops import array, dims, math
from distflow.ops.indexing import gather, where
from distflow.ops.shaping import stack

FILL_MODES = ("reflect", "wrap", "constant", "nearest")


def check_fill_mode(where_: str, mode: Any) -> str:
    """Returns a fill mode; raises InvalidArgumentError for another one."""
    if mode not in FILL_MODES:
        raise errors.invalid(where_, f"`fill_mode` among {FILL_MODES}", f"fill_mode={mode!r}")
    return mode


def transform(images: Any, matrices: Any, interpolation: str = "bilinear",
              fill_mode: str = "reflect", fill_value: float = 0.0) -> Any:  # fmt: skip
    """Returns images whose pixel (x, y) is that of the input at the mapped point.

    Args:
      images: [batch, height, width, channels].
      matrices: [batch, 8]: a0 a1 a2 b0 b1 b2 c0 c1; the point is
        ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k) with k = c0 x + c1 y + 1.
    """
    height, width = dims.size(images, 1), dims.size(images, 2)
    x = math.cast(array.reshape(math.range(width), [1, 1, -1]), dtypes.float32)
    y = math.cast(array.reshape(math.range(height), [1, -1, 1]), dtypes.float32)
    a = [array.reshape(matrices[:, i], [-1, 1, 1]) for i in range(8)]
    k = a[6] * x + a[7] * y + 1.0
    across, down = (a[0] * x + a[1] * y + a[2]) / k, (a[3] * x + a[4] * y + a[5]) / k
    return sample(images, down, across, interpolation, fill_mode, fill_value)


def sample(images: Any, rows: Any, columns: Any, interpolation: str, fill_mode: str,
           fill_value: float) -> Any:  # fmt: skip
    """Returns images [batch, h, w, channels] read at the points (rows, columns) [batch, h, w]."""
    height, width = dims.size(images, 1), dims.size(images, 2)
    rows, columns = _mapped(rows, height, fill_mode), _mapped(columns, width, fill_mode)
    reader = _Reader(images, height, width, fill_value)
    if interpolation == "nearest":
        return reader.read(_rounded(rows), _rounded(columns))
    top, left = math.floor(rows), math.floor(columns)
    down, right = (array.expand_dims(v, -1) for v in (rows - top, columns - left))
    down, right = math.cast(down, images.dtype), math.cast(right, images.dtype)
    upper = (1 - right) * reader.read(top, left) + right * reader.read(top, left + 1)
    lower = (1 - right) * reader.read(top + 1, left) + right * reader.read(top + 1, left + 1)
    return (1 - down) * upper + down * lower


def _rounded(x: Any) -> Any:
    """Rounds halves away from 0."""
    return math.sign(x) * math.floor(math.abs(x) + 0.5)


def _mapped(x: Any, size: Any, mode: str) -> Any:
    """Coordinates inside of [0, size), but for "constant"."""
    if mode == "constant":
        return x
    n = math.cast(size, dtypes.float32) if not isinstance(size, int) else float(size)
    if mode == "reflect":
        period = n * 2
        x = x - math.floor(x / period) * period
        x = where(math.greater_equal(x, n), period - x - 1.0, x)
    elif mode == "wrap":
        # TensorFlow's period below 0 and above differ from n; a width of 1 has one place only.
        last = n - 1 if not isinstance(size, int) or size > 1 else 1.0
        below = x + n * (math.floor(-x / last) + 1.0)
        above = x - n * math.floor(x / last)
        x = where(math.less(x, 0.0), below, where(math.greater(x, last), above, x))
    return math.minimum(math.maximum(x, 0.0), n - 1)


class _Reader:
    """Reads pixels; outside of the image there is the fill value."""

    def __init__(self, images: Any, height: Any, width: Any, fill: float):
        self.height, self.width, self.fill = height, width, fill
        channels = int(images.shape[-1])
        self.flat = array.reshape(images, [-1, channels])
        batch = math.range(dims.size(images, 0))
        area = height * width
        self.first = array.reshape(batch * area, [-1, 1, 1])

    def read(self, rows: Any, columns: Any) -> Any:
        """Returns [batch, h, w, channels] at whole rows and columns."""
        rows, columns = math.cast(rows, dtypes.int32), math.cast(columns, dtypes.int32)
        inside = _within(rows, self.height) & _within(columns, self.width)
        at = self.first + _clipped(rows, self.height) * self.width + _clipped(columns, self.width)
        pixels = gather(self.flat, at, axis=0)
        fill = convert_to_tensor(np.asarray(self.fill, pixels.dtype.numpy))
        return where(array.expand_dims(inside, -1), pixels, fill)


def _within(x: Any, size: Any) -> Any:
    return math.logical_and(math.greater_equal(x, 0), math.less(x, size))


def _clipped(x: Any, size: Any) -> Any:
    return math.minimum(math.maximum(x, 0), size - 1)


def shift(across: Any, down: Any) -> Any:
    """Returns the matrices [batch, 8] that move images right and down by pixels."""
    one, zero = across * 0 + 1, across * 0
    return stack([one, zero, -across, zero, one, -down, zero, zero], axis=1)
