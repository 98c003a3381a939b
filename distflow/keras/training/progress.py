"""Progress: how far a run of fit is, which a backup keeps and another process goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from distflow.keras.training.loop import Batch, Epoch


class Progress:
    """The position of a run of fit: a step's data follows from it, whatever the workers.

    Attributes:
      data: the batches.
      epoch: the epoch under way, or the next one.
      step: steps of it that are done.
      callbacks: those that are called, in order.
    """

    def __init__(self, data: Epoch, epoch: int, callbacks: Sequence[Any] = ()):
        self.data = data
        self.callbacks = list(callbacks)
        self.epoch = epoch
        self.step = 0

    def state(self) -> dict[str, Any]:
        """Returns the position in a form that JSON can hold."""
        return {"epoch": self.epoch, "step": self.step, "data": self.data.state()}

    def resume(self, state: dict[str, Any]) -> Batch | None:
        """Goes to a position before the first step is taken.

        Returns:
          The last batch before it in the pass, from which the model can be built; None at a start.
        """
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        return self.data.resume(state["data"])

    def end_epoch(self) -> None:
        """Goes to the start of the next epoch."""
        self.epoch, self.step = self.epoch + 1, 0
