"""train_step, test_step, predict_step: one batch of one replica.

Override `train_step(self, data)` in a Model to change what `fit` does; the loops of `loop.py`
compile whatever these methods do and run it once a replica.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.autodiff import GradientTape
from distflow.base import errors, nest
from distflow.core import context
from distflow.keras.training.adapters import unpack
from distflow.ops import array, math
from distflow.ops.prims import host


class Steps:
    """The steps of a Model, in terms of `compute_loss` and `compute_metrics`."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Updates the weights with one batch; returns the loss and metrics so far.

        Args:
          data: x, (x, y) or (x, y, sample_weight).
        """
        model: Any = self
        x, y, sample_weight = unpack(data)
        with GradientTape() as tape:
            y_pred = _call(model, x, training=True)
            loss = model.compute_loss(
                x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
            )
            scaled = model.optimizer.scale_loss(loss)
        model.track_loss(loss, x)
        variables = model.trainable_variables
        if variables:
            gradients = tape.gradient(scaled, variables)
            if model.check_numerics:
                loss = refuse_nan(loss)
            model.optimizer.apply_gradients(zip(gradients, variables))
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Evaluates one batch; returns the loss and metrics so far."""
        model: Any = self
        x, y, sample_weight = unpack(data)
        y_pred = _call(model, x, training=False)
        loss = model.compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False
        )
        model.track_loss(loss, x)
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data: Any) -> Any:
        """Returns the model's outputs for one batch."""
        x, _, _ = unpack(data)
        return _call(self, x, training=False)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
        training: bool = True,
    ) -> Any:  # fmt: skip
        """Returns the compiled losses plus the layers' own, a scalar tensor.

        Under a strategy it is this replica's share of the global batch's loss, so that the sum
        over replicas is the loss of the batch whatever their sizes.
        """
        model: Any = self
        share = loss_share()
        total = None
        if model.compile_loss is not None:
            total = model.compile_loss(y, y_pred, sample_weight)
            if share is not None and model.compile_loss.divides_by_rows:
                total = total * math.cast(share, total.dtype)
        for extra in model.losses:
            extra = array.reshape(extra, ())
            if share is not None:
                extra = extra * math.cast(share, extra.dtype)
            total = extra if total is None else total + math.cast(extra, total.dtype)
        if total is None:
            raise errors.invalid(
                "fit", "a loss: give compile(loss=...), or call add_loss in a layer", "none"
            )
        return total

    def track_loss(self, loss: Any, x: Any) -> None:
        """Adds a batch's loss to the running mean that the logs show."""
        model: Any = self
        share = loss_share()
        if share is not None:
            loss = loss / math.cast(share, loss.dtype)
        first = nest.flatten(x)[0]
        rows = math.cast(array.shape(first)[0], "float32")
        model.loss_tracker.update_state(loss, sample_weight=rows)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Updates the compiled metrics; returns all results by name."""
        model: Any = self
        if model.compile_metrics is not None and y is not None:
            model.compile_metrics.update_state(y, y_pred, sample_weight)
        return model.get_metrics_result()


def _call(model: Any, x: Any, training: bool) -> Any:
    if model.call_has_training_argument:
        return model(x, training=training)
    return model(x)


def loss_share() -> Any:
    """Returns this replica's rows divided by the global batch's, or None outside of `fit`."""
    return getattr(context.state.replica, "loss_share", None)


def refuse_nan(loss: Any) -> Any:
    """Returns the loss; raises InvalidArgumentError when the step runs if it is not finite.

    It stands before the weights are changed, so a failed step leaves them as they were.
    """
    (checked,) = host.host_call(
        loss, fn=_check_finite, dtypes=(loss.dtype,), shapes=((),), gradient=None
    )
    return checked


def _check_finite(loss: Any) -> Any:
    replica = context.state.replica
    if not np.isfinite(loss) and not (replica is not None and replica.is_absent):
        raise errors.InvalidArgumentError(
            f"fit: the loss must be a finite number; received {float(loss)}. The weights are as "
            "before this step.\nLook for NaN in the data, lower the learning rate, or set "
            "clipnorm; callbacks=[keras.callbacks.TerminateOnNaN()] stops without an error."
        )
    return loss


# Compiled steps need not keep the order of this and of what happens to variables.
_check_finite.leaves_variables = True  # type: ignore[attr-defined]
