"""What is done around each step of a program: its number, its time, its event in the timeline."""

from __future__ import annotations

import threading

from distflow.base.place import here
from distflow.telemetry import metrics, timeline

TRAIN = "train_step"


class _Depth(threading.local):
    value = 0


_depth = _Depth()


class Step:
    """A step of a model or of `strategy.run`; one in another one is part of that.

    Args:
      name: what is shown; only those of training (TRAIN, or of a strategy) are counted.
    """

    __slots__ = ("_name", "_start")

    def __init__(self, name: str = TRAIN):
        self._name = name
        self._start = 0

    def __enter__(self) -> None:
        _depth.value += 1
        self._start = timeline.now()

    def __exit__(self, kind: object, *rest: object) -> None:
        _depth.value -= 1
        if _depth.value:
            return
        counts = kind is None and self._name == TRAIN
        if counts:
            here.step += 1
            metrics.steps.value += 1
            metrics.step_seconds.observe((timeline.now() - self._start) / 1e9)
        if timeline.active is not None:
            name = f"step {here.step}" if counts else self._name
            timeline.active.add(name, "step", self._start)
