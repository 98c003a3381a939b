"""No loss, metric, optimizer or schedule is without samples."""

import inspect

import pytest

from distflow import keras
from tests.keras import pieces

# Bases, and what has tests of its own (test_wrapping, test_reduction_metrics).
OTHER = {
    "Loss", "LossFunctionWrapper", "Mean", "MeanMetricWrapper", "Metric", "Sum", "Optimizer",
    "LossScaleOptimizer", "MultiOptimizer", "LearningRateSchedule", "_Configured",
}  # fmt: skip
ROOMS = {
    "losses": (pieces.LOSSES, keras.losses, keras.losses.Loss),
    "metrics": (pieces.METRICS, keras.metrics, keras.metrics.Metric),
    "optimizers": (pieces.OPTIMIZERS, keras.optimizers, keras.optimizers.Optimizer),
    "schedules": (
        pieces.SCHEDULES,
        keras.optimizers.schedules,
        keras.optimizers.schedules.LearningRateSchedule,
    ),
}


@pytest.mark.parametrize("room", ROOMS)
def test_every_class_has_samples(room):
    samples, module, base = ROOMS[room]
    kinds = {
        c.__name__ for c in vars(module).values() if inspect.isclass(c) and issubclass(c, base)
    }
    assert kinds - OTHER == {s.name for s in samples}
