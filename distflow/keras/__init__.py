"""Keras 3's API on distflow's tensors. Its rooms load on first use, so importing this is quick."""

from __future__ import annotations

import importlib
from typing import Any

from distflow.base.missing import NotThereYetError

_ROOMS = (
    "activations", "applications", "callbacks", "constraints", "datasets", "initializers",
    "layers", "losses", "metrics", "models", "optimizers", "random", "regularizers", "saving",
    "utils", "backend", "mixed_precision", "config", "ops", "tree", "dtype_policies",
    "preprocessing", "quantizers", "distillation", "distribution", "wrappers",
)  # fmt: skip
# Public name -> the file that has it.
_NAMES = {
    "DTypePolicy": "dtype_policy",
    "FloatDTypePolicy": "dtype_policies",
    "Function": "engine.keras_function",
    "Initializer": "initializers",
    "Input": "engine.input_layer",
    "InputSpec": "engine.input_spec",
    "KerasTensor": "engine.keras_tensor",
    "Layer": "engine.layer",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models",
    "Operation": "engine.operation",
    "Optimizer": "optimizers",
    "Quantizer": "quantizers",
    "Regularizer": "regularizers",
    "Sequential": "models",
    "Variable": "engine.keras_variable",
    "device": "engine.keras_variable",
    "name_scope": "engine.keras_variable",
    "remat": "engine.keras_variable",
    "version": "engine.keras_variable",
}
# Names of Keras that this version lacks: asking for one says so.
_NOT_THERE = frozenset({
    "RematScope", "StatelessScope", "SymbolicScope",
    "estimator", "experimental", "export", "legacy",
    "visualization",
})  # fmt: skip
__all__ = [*_ROOMS, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name in _NOT_THERE:
        raise NotThereYetError(f"keras.{name} is part of Keras's API, but not there yet.")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
