"""Watching a quantity of the logs: its value, and which of two values is the better one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from distflow.base import errors, log

Better = Callable[[float, float, float], bool]

# What names of metrics contain that grow when a model gets better, for metrics that do not say.
_GROWING = ("acc", "auc", "precision", "recall", "f1", "iou", "cosine", "r2", "fmeasure")
# What metrics say, and the mode that it means.
_MODES: dict[str | None, str] = {"up": "max", "down": "min"}


def value(who: str, name: str, logs: Any) -> float | None:
    """Returns a monitored quantity; warns and returns None if the logs do not have it."""
    found = (logs or {}).get(name)
    if found is None:
        log.get_logger().warning(
            "%s: %r is not among the logs (%s).", who, name, ", ".join(logs or {}) or "none"
        )
    return found


def direction(who: str, name: str, mode: str, model: Any) -> Better:
    """Returns better(new, old, delta) for a mode.

    "auto" asks the model's metric of that name, then goes by the name: losses fall, accuracies
    grow.

    Raises:
      InvalidArgumentError: for another mode, or if "auto" finds no answer for a given model.
    """
    if mode not in ("auto", "min", "max"):
        raise errors.invalid(who, "mode must be 'auto', 'min' or 'max'", repr(mode))
    if mode == "auto":
        mode = _by_metric(name, model) or _by_name(who, name, model)
    if mode == "max":
        return lambda new, old, delta: new - delta > old
    return lambda new, old, delta: new + delta < old


def _by_metric(name: str, model: Any) -> str | None:
    plain = name.removeprefix("val_")
    for metric in getattr(model, "metrics", ()):
        for one in (metric, *getattr(metric, "metrics", ())):
            if one.name == plain:
                return _MODES.get(getattr(one, "_direction", None))
    return None


def _by_name(who: str, name: str, model: Any) -> str:
    if any(word in name.lower() for word in _GROWING):
        return "max"
    if model is None or name.lower().endswith("loss"):
        return "min"
    raise errors.invalid(
        who, f"whether {name!r} is better large or small", "mode='auto'",
        "Pass mode='max' or mode='min'.",
    )  # fmt: skip


def say(text: str) -> None:
    """Writes a line for the person who watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
