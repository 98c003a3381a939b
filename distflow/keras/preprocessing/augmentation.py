"""Changes of single pictures as TF 2 had them: affine maps, brightness and channels."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from distflow.base import errors


def apply_affine_transform(
    x: Any, theta: float = 0, tx: float = 0, ty: float = 0, shear: float = 0, zx: float = 1,
    zy: float = 1, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
    fill_mode: str = "nearest", cval: float = 0.0, order: int = 1,
) -> Any:  # fmt: skip
    """Returns a picture turned, moved, sheared and zoomed about its middle.

    Args:
      x: array of three axes: rows, columns, and channels first or last.
      theta, shear: degrees.
      tx, ty: pixels along the first and the second coordinate of the map.
      zx, zy: factors; 2 shows twice as much, half as large.
      fill_mode: "constant" (cval), "nearest", "reflect" or "wrap" for what comes from outside.
      order: of the spline between pixels, 0 to 5.

    Raises:
      ValueError: for other axes.
      MissingExtraError: without SciPy.
    """
    x = np.asarray(x)
    axes = (row_axis, col_axis, channel_axis)
    if len(set(axes)) != 3:
        raise ValueError("'row_axis', 'col_axis', and 'channel_axis' must be distinct")
    if set(axes) != {0, 1, 2}:
        raise ValueError(f"Invalid axis' indices: {set(axes) - {0, 1, 2}}")
    if x.ndim != 3:
        raise ValueError("Input arrays must be multi-channel 2D images.")
    if channel_axis == 1:
        raise ValueError("Channels are allowed and the first and last dimensions.")
    matrix, offset = _map(theta, tx, ty, shear, zx, zy)
    if matrix is None:
        return x
    middle = np.array([x.shape[row_axis], x.shape[col_axis]]) / 2 - 0.5
    offset = matrix @ -middle + offset + middle
    if col_axis > row_axis:
        # As in Keras 3: the map is one of (x, y), of which rows are the second.
        matrix, offset = matrix[::-1, ::-1], offset[::-1]
    sampled = [
        _scipy().affine_transform(channel, matrix, offset, order=order, mode=fill_mode, cval=cval)
        for channel in np.moveaxis(x, channel_axis, 0)
    ]
    return np.moveaxis(np.stack(sampled), 0, channel_axis)


def _map(theta: float, tx: float, ty: float, shear: float, zx: float,
         zy: float) -> tuple[Any, Any]:  # fmt: skip
    """Returns where a pixel (row, column) comes from, as a matrix and an offset; None if there."""
    if theta == 0 and tx == 0 and ty == 0 and shear == 0 and zx == 1 and zy == 1:
        return None, None
    turn, slant = np.deg2rad(theta), np.deg2rad(shear)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = rotation @ np.array([tx, ty])
    sheared = np.array([[1, -np.sin(slant)], [0, np.cos(slant)]])
    return rotation @ sheared @ np.diag([zx, zy]).astype(float), offset


def _scipy() -> Any:
    try:
        return importlib.import_module("scipy.ndimage")
    except ImportError as error:
        raise errors.missing_extra("scipy", "data", "Turning and zooming pictures") from error


def random_rotation(
    x: Any, rg: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
    fill_mode: str = "nearest", cval: float = 0.0, interpolation_order: int = 1,
) -> Any:  # fmt: skip
    """Returns a picture turned by a random angle within `rg` degrees."""
    theta = np.random.uniform(-rg, rg)
    return apply_affine_transform(
        x, theta=theta, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
        fill_mode=fill_mode, cval=cval, order=interpolation_order,
    )  # fmt: skip


def random_shift(
    x: Any, wrg: float, hrg: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
    fill_mode: str = "nearest", cval: float = 0.0, interpolation_order: int = 1,
) -> Any:  # fmt: skip
    """Returns a picture moved by random parts, within wrg of its width and hrg of its height."""
    tx = np.random.uniform(-hrg, hrg) * x.shape[row_axis]
    ty = np.random.uniform(-wrg, wrg) * x.shape[col_axis]
    return apply_affine_transform(
        x, tx=tx, ty=ty, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
        fill_mode=fill_mode, cval=cval, order=interpolation_order,
    )  # fmt: skip


def random_shear(
    x: Any, intensity: float, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
    fill_mode: str = "nearest", cval: float = 0.0, interpolation_order: int = 1,
) -> Any:  # fmt: skip
    """Returns a picture sheared by a random angle within `intensity` degrees."""
    shear = np.random.uniform(-intensity, intensity)
    return apply_affine_transform(
        x, shear=shear, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
        fill_mode=fill_mode, cval=cval, order=interpolation_order,
    )  # fmt: skip


def random_zoom(
    x: Any, zoom_range: Any, row_axis: int = 1, col_axis: int = 2, channel_axis: int = 0,
    fill_mode: str = "nearest", cval: float = 0.0, interpolation_order: int = 1,
) -> Any:  # fmt: skip
    """Returns a picture zoomed by two random factors in [low, high].

    Raises:
      ValueError: unless the range is two numbers.
    """
    if len(zoom_range) != 2:
        raise ValueError(
            f"`zoom_range` should be a tuple or list of two floats. Received: {zoom_range}"
        )
    low, high = zoom_range
    zx, zy = (1.0, 1.0) if low == high == 1 else np.random.uniform(low, high, 2)
    return apply_affine_transform(
        x, zx=zx, zy=zy, row_axis=row_axis, col_axis=col_axis, channel_axis=channel_axis,
        fill_mode=fill_mode, cval=cval, order=interpolation_order,
    )  # fmt: skip


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
