"""Images in another size: each output pixel is a weighted mean of input pixels near it.

Rows and columns are weighted one after the other, as two matrix products. The weights are those
of TensorFlow 2's `resize`: pixels have their centres at half numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.core.convert import convert_to_tensor
from distflow.keras.layers.preprocessing.data_layer import on_host
from distflow.ops import array, math
from distflow.ops.indexing import gather
from distflow.ops.matmul import tensordot


def _cubic(x: Any) -> Any:
    """Keys 1981, with a = -0.5."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _lanczos(radius: int) -> Callable[[Any], Any]:
    return lambda x: np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0)


# Interpolation -> radius of the kernel, and the kernel as a function of the distance.
KERNELS: dict[str, tuple[int, Callable[[Any], Any]]] = {
    "bilinear": (1, lambda x: np.maximum(0, 1 - x)),
    "bicubic": (2, _cubic),
    "lanczos3": (3, _lanczos(3)),
    "lanczos5": (5, _lanczos(5)),
}
INTERPOLATIONS = ("nearest", *KERNELS)


def check_interpolation(where: str, name: Any, allowed: tuple[str, ...] = INTERPOLATIONS) -> str:
    """Returns an interpolation in lower case; raises InvalidArgumentError for another one."""
    if not isinstance(name, str) or name.lower() not in allowed:
        raise errors.invalid(where, f"`interpolation` among {allowed}", f"interpolation={name!r}")
    return name.lower()


def resize(images: Any, height: int, width: int, interpolation: str = "bilinear",
           antialias: bool = False) -> Any:  # fmt: skip
    """Returns [batch, height, width, channels] of the images' dtype.

    Args:
      images: [batch, rows, columns, channels]; sizes that a trace does not know are resized on
        the host.
      antialias: widen the kernel when the image shrinks.
    """
    if None in images.shape[1:3]:
        shape = (images.shape[0], height, width, images.shape[3])

        def run(x: Any) -> Any:
            return resize(convert_to_tensor(x), height, width, interpolation, antialias).array

        return on_host(run, [images], images.dtype, shape)
    if interpolation == "nearest":
        for axis, count in ((1, height), (2, width)):
            images = gather(images, nearest(int(images.shape[axis]), count), axis=axis)
        return images
    x = images if images.dtype.is_floating else math.cast(images, dtypes.float32)
    wide = math.cast(x, dtypes.float32) if x.dtype.size == 2 else x
    for axis, count in ((1, height), (2, width)):
        weights = matrix(int(images.shape[axis]), count, interpolation, antialias)
        weights = convert_to_tensor(weights.astype(wide.dtype.numpy))
        order = [0, 1, 2]
        order.insert(axis, 3)
        wide = array.transpose(tensordot(wide, weights, [[axis], [1]]), order)
    wide = wide if images.dtype.is_floating else math.round(wide)
    return math.saturate_cast(wide, images.dtype)


def nearest(size: int, count: int) -> Any:
    """Returns the input position of each output pixel."""
    positions = np.floor((np.arange(count, dtype=np.float32) + 0.5) * np.float32(size / count))
    return np.minimum(positions.astype(np.int32), size - 1)


def matrix(size: int, count: int, interpolation: str, antialias: bool) -> Any:
    """Returns the weights [count, size] of the input pixels for each output pixel."""
    radius, kernel = KERNELS[interpolation]
    scale = size / count
    stretch = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(count) + 0.5) * scale
    distances = np.abs(np.arange(size)[None, :] + 0.5 - centres[:, None]) / stretch
    if interpolation == "bilinear" and not antialias:
        # Beyond the first and last centres the border pixel goes on.
        distances = np.abs(
            np.arange(size)[None, :] + 0.5 - np.clip(centres, 0.5, size - 0.5)[:, None]
        )
    weights = np.where(distances < radius, kernel(distances), 0.0)
    return weights / weights.sum(1, keepdims=True)
