"""Keras's settings of the process: default float dtype, epsilon, image layout."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors

_settings: dict[str, Any] = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
}


def floatx() -> str:
    """Returns the name of the default float dtype."""
    return _settings["floatx"]


def set_floatx(value: Any) -> None:
    """Sets the default float dtype: "float16", "bfloat16", "float32" or "float64"."""
    dtype = dtypes.as_dtype(value)
    if not dtype.is_floating:
        raise errors.invalid("set_floatx", "a floating dtype", dtype.name)
    _settings["floatx"] = dtype.name


def epsilon() -> float:
    """Returns the small number that keeps divisions and logarithms finite."""
    return _settings["epsilon"]


def set_epsilon(value: float) -> None:
    """Sets the small number that keeps divisions and logarithms finite."""
    _settings["epsilon"] = float(value)


def image_data_format() -> str:
    """Returns "channels_last" or "channels_first"."""
    return _settings["image_data_format"]


def set_image_data_format(data_format: str) -> None:
    """Sets where images have their channels."""
    _settings["image_data_format"] = standardize_data_format(data_format)


def standardize_data_format(data_format: str | None) -> str:
    """Returns a valid data format; None means the process's default."""
    if data_format is None:
        return image_data_format()
    value = str(data_format).lower()
    if value not in ("channels_first", "channels_last"):
        raise errors.invalid(
            "data_format", "one of 'channels_last', 'channels_first'", repr(data_format)
        )
    return value
