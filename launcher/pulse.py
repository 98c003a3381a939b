"""How far one worker is, from what it says a few times a second."""

from __future__ import annotations

from collections import deque
from typing import Any

SPAN_SECONDS = 5.0  # rates are those of the last seconds


class Pulse:
    """The last message of a worker, and its rates over the last seconds.

    Attributes:
      heard_at: when it came, in seconds of the launcher's clock.
      step: training steps done.
      moved_at: when the step was first seen.
      usual_step_seconds: what a step has lately taken, 0 before that is known.
      loss: of its own replicas, None if it has told none.
      generation: of an elastic job.
    """

    def __init__(self, message: dict[str, Any], now: float):
        self._past: deque[tuple[float, int, float]] = deque()
        self.step, self.moved_at = -1, now
        self.usual_step_seconds = 0.0
        self.loss: float | None = None
        self.update(message, now)

    def update(self, message: dict[str, Any], now: float) -> None:
        """Takes a newer message."""
        self.heard_at = now
        step, loss = message.get("step"), message.get("loss")
        if isinstance(step, int) and step != self.step:
            if 0 < self.step < step:
                lately = (now - self.moved_at) / (step - self.step)
                weight = 0.2 if self.usual_step_seconds else 1.0
                self.usual_step_seconds += weight * (lately - self.usual_step_seconds)
            self.step, self.moved_at = step, now
        if isinstance(loss, int | float):
            self.loss = float(loss)
        exposed = message.get("exposed")
        generation = message.get("generation")
        self.generation = generation if isinstance(generation, int) else 0
        seconds = float(exposed) if isinstance(exposed, int | float) else 0.0
        self._past.append((now, max(self.step, 0), seconds))
        while len(self._past) > 2 and self._past[1][0] < now - SPAN_SECONDS:
            self._past.popleft()

    @property
    def steps_per_second(self) -> float | None:
        """The rate of its steps; None before two messages."""
        (then, step, _), (now, newer, _) = self._past[0], self._past[-1]
        return (newer - step) / (now - then) if now > then else None

    @property
    def exposed_share(self) -> float | None:
        """The share of its time in which it could only wait for the others' gradients."""
        (then, _, seconds), (now, _, more) = self._past[0], self._past[-1]
        return min(max((more - seconds) / (now - then), 0.0), 1.0) if now > then else None
