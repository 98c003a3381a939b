"""Watching a quantity of the logs: its value, and which of two values is the better one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from distflow.base import errors, log

Better = Callable[[float, float, float], bool]

# Names that grow when a model gets better; others shrink.
_GROWING = ("acc", "auc", "precision", "recall", "f1", "iou", "cosine", "r2", "fmeasure")


def value(who: str, name: str, logs: Any) -> float | None:
    """Returns a monitored quantity; warns and returns None if the logs do not have it."""
    found = (logs or {}).get(name)
    if found is None:
        log.get_logger().warning(
            "%s: %r is not among the logs (%s).", who, name, ", ".join(logs or {}) or "none"
        )
    return found


def direction(who: str, name: str, mode: str, model: Any) -> Better:
    """Returns better(new, old, delta) for a mode; "auto" decides by the metric's name."""
    if mode not in ("auto", "min", "max"):
        raise errors.invalid(who, "mode must be 'auto', 'min' or 'max'", repr(mode))
    if mode == "auto":
        mode = "max" if any(word in name.lower() for word in _GROWING) else "min"
    if mode == "max":
        return lambda new, old, delta: new - delta > old
    return lambda new, old, delta: new + delta < old


def say(text: str) -> None:
    """Writes a line for the person who watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
