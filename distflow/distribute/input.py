"""Data sets for replicas: how a global batch is cut, and which rows a worker keeps.

Sizes depend on the number of rows and on V alone, never on the number of workers. Replicas with
fewer rows than others are the last ones; without any they are absent from the step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from distflow.base import errors, nest, shapes
from distflow.base.specs import TensorSpec
from distflow.core import context
from distflow.core.tensor import EagerTensor, Tensor
from distflow.data import position, shuffle
from distflow.data.optional import Optional, next_of
from distflow.distribute import values
from distflow.distribute.reduce import ReduceOp
from distflow.ops.prims import host


@dataclass(frozen=True)
class InputContext:
    """What a data set function may know: one input pipeline a worker (TF's InputContext)."""

    num_input_pipelines: int = 1
    input_pipeline_id: int = 0
    num_replicas_in_sync: int = 1

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

    replica_id_in_sync_group: int = 0
    num_replicas_in_sync: int = 1


def row_range(num_rows: int, num_replicas: int, replica: int) -> tuple[int, int]:
    """Returns [start, stop) of one replica's rows: sizes differ by one at most, larger first."""
    size, extra = divmod(num_rows, num_replicas)
    start = replica * size + min(replica, extra)
    return start, start + size + (replica < extra)


def count_rows(element: Any) -> int:
    """Returns the rows of a batch: the common first dimension of all its tensors."""
    leaves = [leaf for leaf in nest.flatten(element) if isinstance(leaf, Tensor)]
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    size = sizes.pop() if len(sizes) == 1 else None
    if size is None:
        raise errors.invalid(
            "distributed data set",
            "all tensors of a batch need one common first dimension",
            ", ".join(shapes.text(leaf.shape) for leaf in leaves),
            "Batch the data set: dataset.batch(global_batch_size).",
        )
    return size


def cut(element: Any, num_replicas: int, replica: int) -> Any:
    """Returns one replica's rows of a batch."""
    start, stop = row_range(count_rows(element), num_replicas, replica)
    return nest.map_structure(lambda leaf: EagerTensor(leaf.array[start:stop]), element)


def has_no_rows(call: Any) -> bool:
    """Whether a replica's arguments hold batches, all of them empty."""
    batches = [leaf for leaf in nest.flatten(call) if isinstance(leaf, Tensor) and leaf.ndim > 0]
    return bool(batches) and all(leaf.shape[0] == 0 for leaf in batches)


class DistributedDataset:
    """A data set of which each step gives one part to each replica of this worker.

    All workers iterate over it together: each step is a step of the whole job.

    Attributes:
      num_parts: number of replicas of this worker.
    """

    num_parts: int

    @property
    def element_spec(self) -> Any:
        """The specs of the parts: like an element, PerReplica with several replicas."""
        return values.regroup([self.part_spec()] * self.num_parts)

    def part_spec(self) -> Any:
        """Returns the spec of one replica's part."""
        raise AssertionError("subclasses define part_spec")

    def parts(self) -> Iterator[list[Any]]:
        """Yields, for each step, the parts of this worker's replicas."""
        raise AssertionError("subclasses define parts")

    def reduce(self, initial_state: Any, reduce_func: Callable[[Any, Any], Any]) -> Any:
        """Returns the last of reduce_func(state, element) over all elements, one after another."""
        state = initial_state
        for element in self:
            state = reduce_func(state, element)
        return state

    def __iter__(self) -> DistributedIterator:
        return DistributedIterator(self)


class DistributedIterator:
    """What `iter(distributed_dataset)` returns; a traced function may call `next` on it.

    In a function each execution takes the next element, and its end is an OutOfRangeError.
    """

    def __init__(self, dataset: DistributedDataset):
        self._dataset = dataset
        self._begin()

    def _begin(self) -> None:
        self._before: Any = None
        self._taken = 0
        self._parts = self._dataset.parts()

    def _next_parts(self) -> list[Any]:
        if self._before is None:
            self._before = self._state_of_dataset()
        parts = next(self._parts)
        self._taken += 1
        return parts

    def _state_of_dataset(self) -> Any:
        return self._dataset.state() if hasattr(self._dataset, "state") else {}

    def _checkpoint_state(self) -> dict[str, Any]:
        """The position, for `tf.train.Checkpoint(iterator=...)`."""
        before = self._state_of_dataset() if self._before is None else self._before
        return {"before": before, "taken": self._taken}

    def _restore_checkpoint_state(self, state: dict[str, Any]) -> None:
        if state["before"]:
            self._dataset.set_state(state["before"])  # type: ignore[attr-defined]
        self._begin()
        while self._taken < state["taken"]:
            self._next_parts()

    @property
    def element_spec(self) -> Any:
        """The specs of the parts of an element."""
        return self._dataset.element_spec

    def __iter__(self) -> DistributedIterator:
        return self

    def __next__(self) -> Any:
        if context.executing_eagerly():
            return values.regroup(self._next_parts())
        return self._traced_next()

    def get_next(self) -> Any:
        """Returns the next element; at the end it raises OutOfRangeError."""
        try:
            return next(self)
        except StopIteration as end:
            raise errors.OutOfRangeError("DistributedIterator: end of sequence.") from end

    def get_next_as_optional(self) -> Optional:
        """Returns the next element as an Optional, which at the end has no value."""
        spec = self.element_spec
        if context.executing_eagerly():
            return next_of(lambda: values.regroup(self._next_parts()), spec)

        def fetch() -> tuple[Any, ...]:
            try:
                return True, *self._next_arrays()
            except StopIteration:
                return False, *(no_rows(leaf).array for leaf in nest.flatten(spec))

        flag, *found = self._host_call(fetch, [TensorSpec((), "bool"), *nest.flatten(spec)])
        return Optional(nest.pack_sequence_as(spec, found), flag, spec)

    def _traced_next(self) -> Any:
        spec = self.element_spec

        def fetch() -> tuple[Any, ...]:
            try:
                return self._next_arrays()
            except StopIteration:
                raise errors.OutOfRangeError("DistributedIterator: end of sequence.") from None

        return nest.pack_sequence_as(spec, self._host_call(fetch, nest.flatten(spec)))

    def _next_arrays(self) -> tuple[Any, ...]:
        return tuple(leaf.array for leaf in nest.flatten(values.regroup(self._next_parts())))

    @staticmethod
    def _host_call(fetch: Callable[[], Any], leaves: list[Any]) -> Any:
        return host.host_call(
            fn=fetch,
            dtypes=tuple(leaf.dtype for leaf in leaves),
            shapes=tuple(tuple(leaf.shape) for leaf in leaves),
            gradient=None,
        )


class CutDataset(DistributedDataset):
    """Global batches, each cut into replicas; every worker reads all of the data set."""

    def __init__(self, strategy: Any, dataset: Any):
        self._strategy = strategy
        self._given = dataset
        self.num_parts = len(strategy.local_replicas)
        self._set_seed(strategy.agree(random.getrandbits(63), "seed of shuffles"))

    def _set_seed(self, seed: int) -> None:
        self._seed = seed
        self._dataset = shuffle.set_missing_seeds(self._given, seed)

    def part_spec(self) -> Any:
        """Returns the spec of one replica's part: any number of rows."""
        return nest.map_structure(any_rows, self._dataset.element_spec)

    def parts(self) -> Iterator[list[Any]]:
        """Yields the rows of this worker's replicas."""
        strategy = self._strategy
        for element in self._dataset:
            yield [
                cut(element, strategy.num_replicas_in_sync, replica)
                for replica in strategy.local_replicas
            ]

    def __len__(self) -> int:
        return len(self._dataset)

    def state(self) -> dict[str, Any]:
        """Returns where the random steps of the pipeline stand."""
        return {"seed": self._seed, "steps": position.state(self._dataset.node)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Puts the random steps where they stood."""
        self._set_seed(int(state["seed"]))
        position.set_state(self._dataset.node, state["steps"])


def anybody_has(strategy: Any, count: int) -> bool:
    """Whether a worker has elements left: pipelines may be of different lengths."""
    if strategy.num_workers == 1:
        return count > 0
    rows = [[np.asarray(count, np.int64)]] * len(strategy.local_replicas)
    return bool(strategy.reduce_rows(rows, ReduceOp.MAX, "elements left")[0])


def any_rows(spec: Any) -> TensorSpec:
    """Returns the spec of a batch of any number of rows."""
    return TensorSpec((None, *spec.shape[1:]) if len(spec.shape) else (), spec.dtype)


def no_rows(leaf: Any) -> EagerTensor:
    """Returns a batch of no rows like a batch, or of a spec."""
    shape = [0 if dimension is None else dimension for dimension in leaf.shape]
    return EagerTensor(np.zeros([0, *shape[1:]] if shape else (), leaf.dtype.numpy))
