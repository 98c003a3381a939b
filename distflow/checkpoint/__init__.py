"""Checkpoints: the state of objects on disk, checked, atomic, and not bound to a cluster's size."""

from distflow.checkpoint.folder import (
    CheckpointState,
    checkpoints_iterator,
    get_checkpoint_state,
    latest_checkpoint,
)
from distflow.checkpoint.manager import CheckpointManager
from distflow.checkpoint.options import CheckpointOptions
from distflow.checkpoint.reader import (
    CheckpointReader,
    list_variables,
    load_checkpoint,
    load_variable,
)
from distflow.checkpoint.saver import Checkpoint

__all__ = [
    "Checkpoint",
    "CheckpointManager",
    "CheckpointOptions",
    "CheckpointReader",
    "CheckpointState",
    "checkpoints_iterator",
    "get_checkpoint_state",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
]
