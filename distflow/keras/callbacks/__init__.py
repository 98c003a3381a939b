"""Callbacks: what happens around epochs and batches."""

from distflow.keras import not_there
from distflow.keras.callbacks.averages import SwapEMAWeights
from distflow.keras.callbacks.backup import BackupAndRestore
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
from distflow.keras.callbacks.remote import RemoteMonitor
from distflow.keras.callbacks.tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
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
    "RemoteMonitor",
    "SwapEMAWeights",
    "TensorBoard",
    "TerminateOnNaN",
]

__getattr__ = not_there.lookup("callbacks")
