"""Data sets that a function makes: one pipeline a worker, or one a logical replica.

Their elements are batches of single replicas. A step needs one element anywhere in the job;
replicas without one get batches of no rows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from distflow.base import nest
from distflow.data import position, shuffle
from distflow.distribute import input as inputs
from distflow.distribute.input_options import InputReplicationMode, checked_input


def from_function(
    strategy: Any, dataset_fn: Callable[[Any], Any], options: Any
) -> inputs.DistributedDataset:
    """Returns the data set of a function; its options say how often that is called."""
    checked = checked_input("distribute_datasets_from_function", options)
    if checked.experimental_replication_mode is InputReplicationMode.PER_REPLICA:
        return PerReplicaDataset(strategy, dataset_fn)
    return PerWorkerDataset(strategy, dataset_fn)


class PerWorkerDataset(inputs.DistributedDataset):
    """One pipeline a worker, whose elements are batches of single replicas.

    A step needs one element anywhere in the job; replicas without one get batches of no rows.
    """

    def __init__(self, strategy: Any, dataset_fn: Callable[[Any], Any]):
        self._strategy = strategy
        self.num_parts = len(strategy.local_replicas)
        self._dataset = dataset_fn(
            inputs.InputContext(
                num_input_pipelines=strategy.num_workers,
                input_pipeline_id=strategy.worker_rank,
                num_replicas_in_sync=strategy.num_replicas_in_sync,
            )
        )

    def part_spec(self) -> Any:
        """Returns the spec of one replica's batch; absent ones have no rows."""
        return nest.map_structure(inputs.any_rows, self._dataset.element_spec)

    def parts(self) -> Iterator[list[Any]]:
        """Yields the next elements of this worker's pipeline, one for each replica."""
        iterator = iter(self._dataset)
        while True:
            parts = [element for _, element in zip(range(self.num_parts), iterator)]
            if not inputs.anybody_has(self._strategy, len(parts)):
                return
            like = parts[-1] if parts else self.part_spec()
            missing = self.num_parts - len(parts)
            yield parts + [nest.map_structure(inputs.no_rows, like)] * missing


class PerReplicaDataset(inputs.DistributedDataset):
    """One pipeline a logical replica, whose elements are batches of that replica.

    What a replica reads depends on its number alone, not on the number of workers. A step needs one
    element anywhere in the job; replicas whose pipeline has ended get batches of no rows.
    """

    def __init__(self, strategy: Any, dataset_fn: Callable[[Any], Any]):
        self._strategy = strategy
        self.num_parts = len(strategy.local_replicas)
        total = strategy.num_replicas_in_sync
        self._given = [
            dataset_fn(inputs.InputContext(total, replica, total))
            for replica in strategy.local_replicas
        ]
        self._set_seed(strategy.agree(random.getrandbits(63), "seed of shuffles"))

    def _set_seed(self, seed: int) -> None:
        self._seed = seed
        # Replicas draw their own orders, where the function gives no seed.
        self._datasets = [
            shuffle.set_missing_seeds(dataset, next(shuffle.words64(seed, replica, 0)))
            for replica, dataset in zip(self._strategy.local_replicas, self._given)
        ]

    def part_spec(self) -> Any:
        """Returns the spec of one replica's batch; absent ones have no rows."""
        return nest.map_structure(inputs.any_rows, self._datasets[0].element_spec)

    def parts(self) -> Iterator[list[Any]]:
        """Yields the next element of each local replica's pipeline."""
        iterators = [iter(dataset) for dataset in self._datasets]
        while True:
            parts = [next(iterator, None) for iterator in iterators]
            if not inputs.anybody_has(self._strategy, sum(part is not None for part in parts)):
                return
            like = next((part for part in parts if part is not None), self.part_spec())
            empty = nest.map_structure(inputs.no_rows, like)
            yield [empty if part is None else part for part in parts]

    def state(self) -> dict[str, Any]:
        """Returns where the random steps stand; the pipelines of all replicas stand alike."""
        return {"seed": self._seed, "steps": position.state(self._datasets[0].node)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Puts the random steps where they stood."""
        self._set_seed(int(state["seed"]))
        for dataset in self._datasets:
            position.set_state(dataset.node, state["steps"])
