"""Keras's settings of the process: default float dtype, epsilon, image layout."""

from __future__ import annotations

from typing import Any

from distflow.base import dtypes, errors

_settings: dict[str, Any] = {
    "flash_attention": None,
    "interactive_logging": True,
    "max_epochs": None,
    "max_steps_per_epoch": None,
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


def standardize_dtype(dtype: Any) -> str:
    """Returns the name of a dtype; None means floatx.

    Raises:
      ValueError: if it is no dtype.
    """
    if dtype is None:
        return floatx()
    try:
        return dtypes.as_dtype(dtype).name
    except (TypeError, ValueError) as error:
        raise ValueError(f"Invalid dtype: {dtype}") from error


def enable_interactive_logging() -> None:
    """Lets `verbose="auto"` show bars on the terminal (the default)."""
    _settings["interactive_logging"] = True


def disable_interactive_logging() -> None:
    """Lets `verbose="auto"` write one line an epoch."""
    _settings["interactive_logging"] = False


def is_interactive_logging_enabled() -> bool:
    """Whether `verbose="auto"` shows bars."""
    return _settings["interactive_logging"]


def enable_flash_attention() -> None:
    """Lets attention compute long sequences in blocks of queries (the default)."""
    _settings["flash_attention"] = None


def disable_flash_attention() -> None:
    """Lets attention compute all scores at once, but where a layer says `flash_attention=True`."""
    _settings["flash_attention"] = False


def is_flash_attention_enabled() -> bool | None:
    """Returns False after `disable_flash_attention`; else None: where sequences are long."""
    return _settings["flash_attention"]


def _limit(name: str, value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise errors.invalid(f"set_{name}", "an int >= 1 or None", repr(value))
    return value


def max_epochs() -> int | None:
    """Returns the number of epochs that `fit` runs at most; None: as many as it is told."""
    return _settings["max_epochs"]


def set_max_epochs(value: int | None) -> None:
    """Limits the epochs of each `fit`, for trying programs out."""
    _settings["max_epochs"] = _limit("max_epochs", value)


def max_steps_per_epoch() -> int | None:
    """Returns the number of steps of an epoch, of evaluate and of predict at most."""
    return _settings["max_steps_per_epoch"]


def set_max_steps_per_epoch(value: int | None) -> None:
    """Limits the steps of each epoch, of evaluate and of predict, for trying programs out."""
    _settings["max_steps_per_epoch"] = _limit("max_steps_per_epoch", value)
