"""The settings that all optimizers share: their defaults and what is allowed."""

from __future__ import annotations

from typing import Any

from distflow.base import errors
from distflow.keras.optimizers.clipping import check_clipping

DEFAULTS: dict[str, Any] = {
    "weight_decay": None,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}


def check(where: str, settings: dict[str, Any]) -> None:
    """Raises InvalidArgumentError for settings that exclude each other or are out of range."""
    check_clipping(where, *(settings[n] for n in ("clipnorm", "clipvalue", "global_clipnorm")))
    if settings["use_ema"]:
        _check_averages(where, settings["ema_momentum"], settings["ema_overwrite_frequency"])
    steps = settings["gradient_accumulation_steps"]
    if steps is not None and not steps >= 2:
        raise errors.invalid(
            where, "gradient_accumulation_steps must be an int >= 2 or None", str(steps)
        )


def _check_averages(where: str, momentum: float, frequency: Any) -> None:
    if not 0 <= momentum <= 1:
        raise errors.invalid(where, "ema_momentum must be in [0, 1]", str(momentum))
    if frequency and (not isinstance(frequency, int) or frequency < 1):
        raise errors.invalid(
            where, "ema_overwrite_frequency must be an int >= 1 or None", str(frequency)
        )
