"""Callbacks: what happens around epochs and batches."""

from distflow.keras import not_there
from distflow.keras.callbacks.base import Callback, CallbackList, History
from distflow.keras.callbacks.checkpoint import CSVLogger, ModelCheckpoint
from distflow.keras.callbacks.control import (
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from distflow.keras.callbacks.progress import ProgbarLogger

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]

__getattr__ = not_there.lookup("callbacks")
