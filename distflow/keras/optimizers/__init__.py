"""Optimizers and learning-rate schedules under Keras's names."""

from __future__ import annotations

from typing import Any

from distflow.keras import by_name, serialization
from distflow.keras.optimizers import legacy, schedules
from distflow.keras.optimizers.adafactor import Adafactor
from distflow.keras.optimizers.adam import (
    Adam,
    Adamax,
    AdamW,
    Lamb,
    Nadam,
    ScheduleFreeAdamW,
)
from distflow.keras.optimizers.adaptive import Adadelta, Adagrad, Ftrl, RMSprop
from distflow.keras.optimizers.base import Optimizer
from distflow.keras.optimizers.loss_scale import LossScaleOptimizer
from distflow.keras.optimizers.multi import MultiOptimizer, OptimizerMap
from distflow.keras.optimizers.muon import Muon
from distflow.keras.optimizers.sgd import SGD, Lion

_CLASSES = (
    SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, Nadam, Ftrl, Lion, Lamb, Adafactor, Muon,
    ScheduleFreeAdamW, LossScaleOptimizer, MultiOptimizer,
)  # fmt: skip
# Keras writes these names in lower case, without underscores.
NAMES = {cls.__name__: cls for cls in _CLASSES} | {c.__name__.lower(): c for c in _CLASSES}
deserialize = by_name.deserializer("optimizer", NAMES)


def get(identifier: Any) -> Any:
    """Returns the optimizer that a name, class, config or object stands for."""
    if isinstance(identifier, str) and identifier.lower() in NAMES:
        identifier = identifier.lower()
    found = by_name.resolve("optimizer", identifier, NAMES)
    if found is not None and not isinstance(found, Optimizer) and not hasattr(found, "apply"):
        raise by_name.unknown("optimizer", identifier, NAMES)
    return found


def serialize(optimizer: Optimizer) -> Any:
    """Returns the config from which `deserialize` makes an equal optimizer."""
    return serialization.serialize_keras_object(optimizer)


__all__ = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "OptimizerMap",
    "RMSprop",
    "SGD",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "legacy",
    "schedules",
    "serialize",
]
