"""Values of several replicas: PerReplica, and where the variables of a strategy live."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.core import context
from distflow.core.variable import (
    Storage,
    VariableAggregation,
    VariableSynchronization,
    aligned_copy,
    combine,
)
from distflow.distribute.reduce import ReduceOp


class DistributedValues:
    """Base of values that differ between replicas (TF's name)."""


class PerReplica(DistributedValues):
    """One value for each replica that this worker holds, in order of replicas."""

    def __init__(self, values: Sequence[Any]):
        self.values = tuple(values)

    def __repr__(self) -> str:
        lines = (f"  {i}: {value!r}" for i, value in enumerate(self.values))
        return "PerReplica:{\n" + ",\n".join(lines) + "\n}"


nest.register(
    PerReplica, lambda value: list(value.values), lambda value, children: PerReplica(children)
)


class Leaf:
    """Hides a PerReplica from `nest`, so that it counts as one leaf."""

    def __init__(self, value: PerReplica):
        self.value = value


def as_leaves(value: Any) -> Any:
    """Returns a structure with a Leaf in the place of each PerReplica."""
    if isinstance(value, PerReplica):
        return Leaf(value)
    if not nest.is_nested(value):
        return value
    return nest.rebuild(value, [as_leaves(child) for child in nest.children(value)])


def select(structure: Any, position: int) -> Any:
    """Returns a structure with each PerReplica replaced by one replica's value."""
    if isinstance(structure, PerReplica):
        return structure.values[position]
    if not nest.is_nested(structure):
        return structure
    children = [select(child, position) for child in nest.children(structure)]
    return nest.rebuild(structure, children)


def regroup(results: Sequence[Any]) -> Any:
    """Returns one structure whose leaves are PerReplica; a single replica's result stays itself."""
    if len(results) == 1:
        return results[0]
    flat = [nest.flatten(result) for result in results]
    for result in results[1:]:
        nest.assert_same_structure(results[0], result)
    return nest.pack_sequence_as(results[0], [_regroup_leaf(column) for column in zip(*flat)])


def _regroup_leaf(column: tuple[Any, ...]) -> Any:
    first = column[0]
    if all(value is first for value in column) and not hasattr(first, "dtype"):
        return first
    return PerReplica(column)


# -- storage of variables ------------------------------------------------------------------

_AGGREGATION = {
    VariableAggregation.SUM: ReduceOp.SUM,
    VariableAggregation.MEAN: ReduceOp.MEAN,
}


# The compiler's words (`Storage.sharing`).
_SHARING = {
    VariableAggregation.NONE: "none",
    VariableAggregation.SUM: "sum",
    VariableAggregation.MEAN: "mean",
    VariableAggregation.ONLY_FIRST_REPLICA: "first",
}


class MirroredStorage(Storage):
    """One copy for all replicas of a worker; replicas that assign meet first.

    Nobody assigns before all replicas have come, so none reads a value too new or too old.
    """

    def __init__(self, array: np.ndarray[Any, Any], aggregation: VariableAggregation, name: str):
        super().__init__(array)
        self._aggregation = aggregation
        self._name = name
        self.made_under: Callable[[], Any] = lambda: None

    @property
    def reads_back(self) -> bool:  # type: ignore[override]
        """Whether a read gives what was written last: writes are not aggregated here."""
        return self.can_claim()

    def can_claim(self) -> bool:
        """Whether a compiled step may write to the value: none that replicas have to meet for."""
        replica = context.state.replica
        return replica is None or replica.num_replicas_in_sync == 1

    def sharing(self) -> str:
        """How the values that replicas assign become one."""
        return "own" if self.can_claim() else _SHARING[self._aggregation]

    def write(self, value: np.ndarray[Any, Any], mode: str) -> None:
        """Assigns; inside a replica the values of all replicas are aggregated before."""
        replica = context.state.replica
        if replica is None or replica.num_replicas_in_sync == 1:
            super().write(value, mode)
            return
        if self._aggregation is VariableAggregation.NONE:
            raise errors.invalid(
                "assign",
                f"variable {self._name!r} needs an aggregation to be assigned inside a replica",
                "aggregation=NONE",
                "Make it with tf.Variable(..., aggregation=tf.VariableAggregation.MEAN), SUM or "
                "ONLY_FIRST_REPLICA.",
            )
        what = f"assignment to {self._name!r}"
        operation = _AGGREGATION.get(self._aggregation)
        if operation is None:
            replica.meet(what, value, lambda values: self._apply(values[0], mode))
        else:
            replica.reduce_arrays(
                [value], operation, what, lambda total: self._apply(total[0], mode)
            )

    def _apply(self, value: Any, mode: str) -> None:
        self._replace(combine(self._array, value, mode))


class SyncOnReadStorage:
    """One copy a replica, brought together when read between replicas (metrics, for instance)."""

    def __init__(
        self,
        array: np.ndarray[Any, Any],
        aggregation: VariableAggregation,
        name: str,
        strategy: Any,
    ):
        self._strategy = strategy
        self._aggregation = aggregation
        self._name = name
        # The aggregate, while several variables are read together (`read_together`).
        self._together: np.ndarray[Any, Any] | None = None
        # By number of the copy: [array, its memory, address], of copies that steps write in place.
        self._claimed: dict[int, list[Any]] = {}
        self._set_all(array)

    def sharing(self) -> str:
        """In a replica that counts the copy is its own; the compiler is told nothing else."""
        return "own" if self.can_claim() else ""

    def can_claim(self) -> bool:
        """Whether a compiled step may write to the memory of the copy: a replica that counts."""
        replica = context.state.replica
        return replica is not None and not replica.is_absent

    def claim(self) -> int:
        """Returns the address of the replica's own copy; see `Storage.claim`."""
        index = context.state.replica.copy_index
        found = self._claimed.get(index)
        # References of its own: the list of copies', the entry's and the argument's; to the memory
        # the entry's, the array's and the argument's.
        if (
            found is None
            or found[0] is not self._copies[index]
            or sys.getrefcount(found[0]) > 3
            or sys.getrefcount(found[1]) > 3
        ):
            array, memory = aligned_copy(self._copies[index])
            found = [array, memory, array.__array_interface__["data"][0]]
            self._copies[index] = array
            self._claimed[index] = found
        return int(found[2])

    @property
    def memory(self) -> Any:
        """What keeps the memory of the address alive that `claim` gave."""
        return self._claimed[context.state.replica.copy_index][1]

    def read(self) -> np.ndarray[Any, Any]:
        """Returns the replica's own copy; between replicas the aggregate over all workers."""
        replica = context.state.replica
        if replica is not None:
            return self._copies[replica.copy_index]
        if self._together is not None:
            return self._together
        if self._aggregation in (VariableAggregation.NONE, VariableAggregation.ONLY_FIRST_REPLICA):
            return self._copies[0]
        operation = _AGGREGATION[self._aggregation]
        rows = [[copy] for copy in self._copies]
        return self._strategy.reduce_rows(rows, operation, f"value of {self._name!r}")[0]

    def write(self, value: np.ndarray[Any, Any], mode: str) -> None:
        """Assigns the replica's own copy; between replicas so that a read gives `value`."""
        replica = context.state.replica
        if replica is not None:
            if replica.is_absent:
                return
            copy = self._copies[replica.copy_index]
            self._copies[replica.copy_index] = combine(copy, value, mode)
        elif mode == "assign":
            self._set_all(np.array(value))
        else:
            self._set_all(combine(self.read(), value, mode))

    @property
    def copies(self) -> list[np.ndarray[Any, Any]]:
        """The copies of this worker's replicas, in their order; elements may be replaced."""
        return self._copies

    def _set_all(self, value: np.ndarray[Any, Any]) -> None:
        replicas = self._strategy.local_replicas
        if self._aggregation is VariableAggregation.SUM:
            # The first replica of all holds the value, the others what does not change a sum.
            self._copies = [value if r == 0 else np.zeros_like(value) for r in replicas]
        else:
            self._copies = [value for _ in replicas]

    def save(self) -> Any:
        """Returns what `restore` needs to undo later writes."""
        return list(self._copies)

    def restore(self, saved: Any) -> None:
        """Puts back the copies that `save` saw."""
        self._copies = list(saved)


@contextlib.contextmanager
def read_together(strategy: Any, variables: Sequence[Any]) -> Iterator[None]:
    """Aggregates all variables that are summed on read with one reduction, for the block."""
    storages = [
        v.storage
        for v in variables
        if isinstance(v.storage, SyncOnReadStorage)
        and v.storage._aggregation is VariableAggregation.SUM
    ]
    if storages:
        rows = [
            [storage._copies[i] for storage in storages]
            for i in range(len(strategy.local_replicas))
        ]
        totals = strategy.reduce_rows(rows, ReduceOp.SUM, "values of metrics")
        for storage, total in zip(storages, totals):
            storage._together = total
    try:
        yield
    finally:
        for storage in storages:
            storage._together = None


def is_mirrored(variable: Any) -> bool:
    """Whether a variable was made in a strategy's scope."""
    return isinstance(variable.storage, MirroredStorage | SyncOnReadStorage)


def strategy_of(variable: Any) -> Any:
    """Returns the strategy in whose scope a variable was made; None if there was none."""
    storage = variable.storage
    if isinstance(storage, SyncOnReadStorage):
        return storage._strategy
    return storage.made_under() if isinstance(storage, MirroredStorage) else None


def storage_for(strategy: Any, arguments: dict[str, Any]) -> Callable[[Any], Any]:
    """Returns the function that makes the storage of a variable created in a strategy's scope."""
    aggregation = arguments.get("aggregation", VariableAggregation.NONE)
    synchronization = arguments.get("synchronization", VariableSynchronization.AUTO)
    name = arguments.get("name") or "Variable"

    def make(array: np.ndarray[Any, Any]) -> Any:
        array = strategy.agree_on_initial_value(array, name)
        if synchronization is VariableSynchronization.ON_READ:
            return SyncOnReadStorage(array, aggregation, name, strategy)
        storage = MirroredStorage(array, aggregation, name)
        storage.made_under = weakref.ref(strategy)
        return storage

    return make
