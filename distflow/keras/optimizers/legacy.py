"""Public names of `keras.optimizers.legacy`, which is gone in Keras 3: making one says so."""

from __future__ import annotations

from typing import Any

__all__ = ["Adagrad", "Adam", "Ftrl", "Optimizer", "RMSprop", "SGD"]


class _Gone:
    """An optimizer of Keras 2's older API."""

    def __init__(self, *args: Any, **kwargs: Any):
        name = type(self).__name__
        now = f"keras.optimizers.{name}"
        raise ImportError(
            f"`keras.optimizers.legacy.{name}` is not supported in Keras 3. Use `{now}`, which "
            "computes the same updates; `decay=` became a schedule in keras.optimizers.schedules."
        )


class Adagrad(_Gone):
    """Raises ImportError: use `keras.optimizers.Adagrad`."""


class Adam(_Gone):
    """Raises ImportError: use `keras.optimizers.Adam`."""


class Ftrl(_Gone):
    """Raises ImportError: use `keras.optimizers.Ftrl`."""


class Optimizer(_Gone):
    """Raises ImportError: use `keras.optimizers.Optimizer`."""


class RMSprop(_Gone):
    """Raises ImportError: use `keras.optimizers.RMSprop`."""


class SGD(_Gone):
    """Raises ImportError: use `keras.optimizers.SGD`."""
