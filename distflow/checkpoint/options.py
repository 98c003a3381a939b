"""CheckpointOptions: how a checkpoint is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distflow.base import errors


@dataclass(frozen=True)
class CheckpointOptions:
    """Options of saving and restoring (TF's `tf.train.CheckpointOptions`).

    Args:
      experimental_io_device: the host's CPU, or None: other devices have no files.
      experimental_enable_async_checkpoint, enable_async: whether the values are copied and then
        written in a thread. An error comes at the next save, restore or `sync`.
      experimental_write_callbacks: functions called with the path when it is written, or with
        nothing if they take no argument.
      experimental_skip_slot_variables, experimental_sharding_callback: not there yet.

    Raises:
      InvalidArgumentError: for another device.
      UnimplementedError: for what is not there yet.
    """

    experimental_io_device: str | None = None
    experimental_enable_async_checkpoint: bool = False
    experimental_write_callbacks: Sequence[Callable[..., Any]] | None = None
    enable_async: bool = False
    experimental_skip_slot_variables: bool = False
    experimental_sharding_callback: Any = None

    def __post_init__(self) -> None:
        device = self.experimental_io_device
        if device is not None and "cpu" not in device.lower() and "localhost" not in device:
            raise errors.invalid(
                "CheckpointOptions", "experimental_io_device must be the host's CPU", repr(device)
            )
        for name in ("experimental_skip_slot_variables", "experimental_sharding_callback"):
            if getattr(self, name):
                raise errors.UnimplementedError(f"CheckpointOptions: {name} is not there yet.")

    @property
    def is_async(self) -> bool:
        """Whether a thread writes."""
        return self.enable_async or self.experimental_enable_async_checkpoint


def checked(options: Any) -> CheckpointOptions:
    """Returns the options, or the defaults for None."""
    if options is None:
        return CheckpointOptions()
    if not isinstance(options, CheckpointOptions):
        raise errors.invalid(
            "Checkpoint", "options must be tf.train.CheckpointOptions", repr(options)[:80]
        )
    return options
