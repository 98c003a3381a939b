"""InputOptions, InputReplicationMode, RunOptions: settings of strategies, with TF's names."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from distflow.base import errors


class InputReplicationMode(enum.Enum):
    """How often a data set function is called: once a worker, or once a logical replica.

    With PER_REPLICA what a replica reads is a function of its number, so the bits of training are
    the same on any number of workers; with PER_WORKER they depend on how many pipelines there are.
    """

    PER_WORKER = "PER_WORKER"
    PER_REPLICA = "PER_REPLICA"


@dataclass(frozen=True)
class InputOptions:
    """Options of distributed data sets (TF's name).

    Args:
      experimental_fetch_to_device: accepted; data are where they are computed with, in memory.
      experimental_replication_mode: an InputReplicationMode, for
        `distribute_datasets_from_function`.
      experimental_place_dataset_on_device: False; there is no other device.
      experimental_per_replica_buffer_size: accepted, at least 1: `Dataset.prefetch` reads ahead.

    Raises:
      InvalidArgumentError: (a ValueError) for another mode, a buffer below 1, or a data set on a
        device.
    """

    experimental_fetch_to_device: bool | None = None
    experimental_replication_mode: InputReplicationMode = InputReplicationMode.PER_WORKER
    experimental_place_dataset_on_device: bool = False
    experimental_per_replica_buffer_size: int = 1

    def __post_init__(self) -> None:
        mode = self.experimental_replication_mode
        if not isinstance(mode, InputReplicationMode):
            raise errors.invalid(
                "InputOptions",
                "experimental_replication_mode must be a tf.distribute.InputReplicationMode",
                repr(mode),
            )
        if self.experimental_place_dataset_on_device:
            raise errors.invalid(
                "InputOptions",
                "experimental_place_dataset_on_device=False",
                "True",
                "distflow computes on the host's CPU, where data sets are anyway.",
            )
        if not self.experimental_per_replica_buffer_size >= 1:
            raise errors.invalid(
                "InputOptions",
                "experimental_per_replica_buffer_size must be >= 1",
                repr(self.experimental_per_replica_buffer_size),
            )


@dataclass(frozen=True)
class RunOptions:
    """Options of `strategy.run` (TF's name), which are about accelerators: none changes a result.

    Args:
      experimental_enable_dynamic_batch_size: accepted; batches may have any number of rows.
      experimental_bucketizing_dynamic_shape: likewise.
      experimental_xla_options: likewise.
    """

    experimental_enable_dynamic_batch_size: bool = True
    experimental_bucketizing_dynamic_shape: bool = False
    experimental_xla_options: Any = None


def checked_input(where: str, options: Any) -> InputOptions:
    """Returns the options, or the defaults for None; raises InvalidArgumentError for others."""
    if options is None:
        return InputOptions()
    if not isinstance(options, InputOptions):
        raise errors.invalid(where, "options must be tf.distribute.InputOptions", _shown(options))
    return options


def check_per_worker(where: str, options: Any) -> None:
    """Raises InvalidArgumentError for options that do not fit one data set for all replicas."""
    mode = checked_input(where, options).experimental_replication_mode
    if mode is not InputReplicationMode.PER_WORKER:
        raise errors.invalid(
            where,
            "InputReplicationMode.PER_WORKER",
            mode.name,
            "PER_REPLICA calls a function: distribute_datasets_from_function.",
        )


def check_run(options: Any) -> None:
    """Raises InvalidArgumentError for what are no RunOptions."""
    if options is not None and not isinstance(options, RunOptions):
        raise errors.invalid(
            "strategy.run", "options must be tf.distribute.RunOptions", _shown(options)
        )


def _shown(value: Any) -> str:
    return repr(value)[:80]
