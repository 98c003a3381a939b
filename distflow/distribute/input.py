"""Data sets for replicas: how a global batch is cut, and which rows a worker keeps.

Sizes depend on the number of rows and on V alone, never on the number of workers. Replicas with
fewer rows than others are the last ones; without any they are absent from the step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from distflow.base import errors, nest, shapes
from distflow.core.tensor import EagerTensor, Tensor
from distflow.data import shuffle
from distflow.distribute import values


@dataclass(frozen=True)
class InputContext:
    """What a data set function may know: one input pipeline a worker (TF's InputContext)."""

    num_input_pipelines: int
    input_pipeline_id: int
    num_replicas_in_sync: int

    def get_per_replica_batch_size(self, global_batch_size: int) -> int:
        """Returns the batch of one replica.

        Raises:
          InvalidArgumentError: if the replicas do not divide the global batch.
        """
        if global_batch_size % self.num_replicas_in_sync:
            raise errors.invalid(
                "InputContext",
                f"the global batch must be a multiple of {self.num_replicas_in_sync} replicas",
                str(global_batch_size),
            )
        return global_batch_size // self.num_replicas_in_sync


@dataclass(frozen=True)
class ValueContext:
    """Which replica a value is made for (TF's ValueContext)."""

    replica_id_in_sync_group: int
    num_replicas_in_sync: int


def row_range(num_rows: int, num_replicas: int, replica: int) -> tuple[int, int]:
    """Returns [start, stop) of one replica's rows: sizes differ by one at most, larger first."""
    size, extra = divmod(num_rows, num_replicas)
    start = replica * size + min(replica, extra)
    return start, start + size + (replica < extra)


def count_rows(element: Any) -> int:
    """Returns the rows of a batch: the common first dimension of all its tensors."""
    leaves = [leaf for leaf in nest.flatten(element) if isinstance(leaf, Tensor)]
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    if len(sizes) != 1 or None in sizes:
        raise errors.invalid(
            "distributed data set",
            "all tensors of a batch need one common first dimension",
            ", ".join(shapes.text(leaf.shape) for leaf in leaves),
            "Batch the data set: dataset.batch(global_batch_size).",
        )
    return int(sizes.pop())


def cut(element: Any, num_replicas: int, replica: int) -> Any:
    """Returns one replica's rows of a batch."""
    start, stop = row_range(count_rows(element), num_replicas, replica)
    return nest.map_structure(lambda leaf: EagerTensor(leaf.array[start:stop]), element)


def has_no_rows(call: Any) -> bool:
    """Whether a replica's arguments hold batches, all of them empty."""
    batches = [leaf for leaf in nest.flatten(call) if isinstance(leaf, Tensor) and leaf.ndim > 0]
    return bool(batches) and all(leaf.shape[0] == 0 for leaf in batches)


class DistributedDataset:
    """Global batches, each cut into the replicas of this worker."""

    def __init__(self, strategy: Any, dataset: Any):
        seed = strategy.agree(random.getrandbits(63), "seed of shuffles")
        self._dataset = shuffle.set_missing_seeds(dataset, seed)
        self._strategy = strategy

    @property
    def element_spec(self) -> Any:
        """The spec of one replica's part."""
        return self._dataset.element_spec

    def __iter__(self) -> Iterator[Any]:
        strategy = self._strategy
        for element in self._dataset:
            yield values.regroup(
                [
                    cut(element, strategy.num_replicas_in_sync, replica)
                    for replica in strategy.local_replicas
                ]
            )

    def __len__(self) -> int:
        return len(self._dataset)


class PerWorkerDataset:
    """One pipeline a worker, whose elements are batches of single replicas."""

    def __init__(self, strategy: Any, dataset_fn: Callable[[Any], Any]):
        self._strategy = strategy
        self._dataset = dataset_fn(
            InputContext(
                num_input_pipelines=strategy.num_workers,
                input_pipeline_id=strategy.worker_rank,
                num_replicas_in_sync=strategy.num_replicas_in_sync,
            )
        )

    @property
    def element_spec(self) -> Any:
        """The spec of one replica's batch."""
        return self._dataset.element_spec

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self._dataset)
        count = len(self._strategy.local_replicas)
        while True:
            batch = [element for _, element in zip(range(count), iterator)]
            if len(batch) < count:
                return
            yield values.regroup(batch)
