"""SwapEMAWeights: evaluation with the optimizer's moving averages in place of the weights."""

from __future__ import annotations

from typing import Any

from distflow.keras.callbacks.base import Callback


class SwapEMAWeights(Callback):
    """Puts the moving averages into the model for evaluation and prediction.

    The optimizer must have been made with use_ema=True.

    Args:
      swap_on_epoch: whether they are also there at the end of each epoch, so that a
        ModelCheckpoint after this callback saves them.
    """

    needs_batches = False

    def __init__(self, swap_on_epoch: bool = False):
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._swapped = False

    def _averaging(self) -> list[Any]:
        """Returns the optimizers that keep averages.

        Raises:
          ValueError: if none does.
        """
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        found = [o for o in getattr(optimizer, "optimizers", [optimizer]) if o.use_ema]
        if not found:
            raise ValueError(
                "SwapEMAWeights must be used when `use_ema=True` is set on the optimizer; "
                f"received {type(optimizer).__name__} with use_ema=False."
            )
        return found

    def _swap(self, wanted: bool) -> None:
        if self._swapped == wanted:
            return
        with self.model.distribute_strategy.scope():
            for weight, average in (p for o in self._averaging() for p in o.averages()):
                value = weight.numpy()
                weight.assign(average.numpy())
                average.assign(value)
        self._swapped = wanted

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Puts the weights back for training."""
        if self.swap_on_epoch:
            self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Puts the averages in, for callbacks that save."""
        if not self.swap_on_epoch:
            return
        self._swap(True)
        if epoch == self.params["epochs"] - 1:
            # The end of fit copies averages to weights, which are exchanged now.
            for weight, average in (p for o in self._averaging() for p in o.averages()):
                average.assign(weight.numpy())

    def on_test_begin(self, logs: Any = None) -> None:
        """Puts the averages in."""
        self._swap(True)

    def on_test_end(self, logs: Any = None) -> None:
        """Puts the weights back."""
        self._swap(False)

    def on_predict_begin(self, logs: Any = None) -> None:
        """Puts the averages in."""
        self._swap(True)

    def on_predict_end(self, logs: Any = None) -> None:
        """Puts the weights back."""
        self._swap(False)
