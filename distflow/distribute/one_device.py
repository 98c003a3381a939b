"""The default strategy: one replica, no collectives, no threads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from distflow.comm import Communicator
from distflow.distribute import context, values
from distflow.distribute.older_names import OlderNames
from distflow.distribute.reduce import as_reduce_op
from distflow.distribute.replica import DefaultReplicaContext
from distflow.distribute.strategy import Strategy


class OneDeviceStrategy(Strategy):
    """Everything on one replica of this process (TF's name).

    Args:
      device: accepted as in TF; all computation runs on the host's CPU.
    """

    def __init__(self, device: str = "/cpu:0"):
        super().__init__(Communicator.local(1))
        self.device = device


class DefaultStrategy(OlderNames):
    """What `get_strategy()` returns outside of any scope: plain execution."""

    num_replicas_in_sync = 1
    num_workers = 1
    has_lone_replica = True
    worker_rank = 0
    local_replicas = (0,)
    is_chief = True
    cluster_resolver = None

    def __init__(self) -> None:
        self.default_replica = DefaultReplicaContext(self)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Changes nothing."""
        yield

    def run(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None,
        options: Any = None,
    ) -> Any:  # fmt: skip
        """Returns fn(*args, **kwargs)."""
        return fn(*args, **(kwargs or {}))

    def reduce(self, reduce_op: Any, value: Any, axis: int | None = None) -> Any:
        """Returns the value, reduced over an axis if one is given."""
        operation = as_reduce_op(reduce_op)
        if axis is None:
            return value
        with _single() as strategy:
            return strategy.reduce(operation, value, axis)

    def gather(self, value: Any, axis: int) -> Any:
        """Returns the value."""
        return value

    def experimental_local_results(self, value: Any) -> tuple[Any, ...]:
        """Returns the value in a tuple of one."""
        return value.values if isinstance(value, values.PerReplica) else (value,)

    def experimental_distribute_dataset(self, dataset: Any, options: Any = None) -> Any:
        """Returns the data set itself."""
        return dataset

    def distribute_datasets_from_function(
        self, dataset_fn: Callable[[Any], Any], options: Any = None
    ) -> Any:
        """Returns the data set that the function makes for a single pipeline."""
        with _single() as strategy:
            return strategy.distribute_datasets_from_function(dataset_fn, options)

    def experimental_distribute_values_from_function(self, value_fn: Callable[[Any], Any]) -> Any:
        """Returns the value that the function makes for replica 0."""
        with _single() as strategy:
            return strategy.experimental_distribute_values_from_function(value_fn)

    def agree(self, value: Any, what: str) -> Any:
        """Returns the value: there is nobody to agree with."""
        return value

    def __repr__(self) -> str:
        return "<default strategy: one replica>"


@contextlib.contextmanager
def _single() -> Iterator[Strategy]:
    yield OneDeviceStrategy()


context.set_default_strategy(DefaultStrategy())
