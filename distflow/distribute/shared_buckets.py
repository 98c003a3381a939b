"""How buckets of gradients are added over all replicas.

A step's program computes a bucket in memory of its own the first time. With one replica on each
worker of a host it computes from then on into memory that the workers have in common: each adds
its share of all workers' buckets where they lie, and nothing is copied on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.comm import Communicator
from distflow.comm.own_memory import SharedArrays
from distflow.comm.tree import Accumulator, Tree
from distflow.distribute.reduce import ReduceOp

_MAX_REMEMBERED = 256


class SharedBuckets:
    """Memory for the buckets of a job, by name, size and dtype.

    All workers reduce the same buckets in the same order, whatever the shapes of their batches.
    So they all get to know a bucket at once, and the programs of a worker have it in common.

    Args:
      communicator: between the workers.
    """

    def __init__(self, communicator: Communicator):
        self._communicator = communicator
        self._known: dict[tuple[str, int, str], SharedArrays | None] = {}

    def provide(self, name: str, flat: np.ndarray) -> None:
        """Makes memory for a bucket that was just reduced for the first time, on all workers."""
        key = _key(name, flat)
        if key in self._known or len(self._known) >= _MAX_REMEMBERED:
            return
        arrays = None
        if self._communicator.shares_memory:
            arrays = self._communicator.allocate([flat], name=name)
        self._known[key] = arrays if arrays is not None and arrays.flats is not None else None

    def memory(self, name: str, flat: np.ndarray) -> np.ndarray | None:
        """Returns the memory in which the bucket is best computed, if there is any."""
        arrays = self._known.get(_key(name, flat))
        return None if arrays is None else arrays.result[0]

    def reduce(self, name: str, flat: np.ndarray) -> bool:
        """Replaces a bucket by the sum of all workers'; returns False if it has no memory here."""
        arrays = self._known.get(_key(name, flat))
        if arrays is None:
            return False
        (own,) = arrays.result
        if flat is not own:
            np.copyto(own, flat)
        self._communicator.all_reduce(arrays, name=name)
        if flat is not own:
            np.copyto(flat, own)
        return True


def reduce(
    strategy: Any, flats: Sequence[np.ndarray], present: Sequence[bool], op: ReduceOp, what: str
) -> None:
    """Replaces the local replicas' buckets by their reduction over all replicas.

    Args:
      strategy: whose replicas they are.
      flats: a bucket of each local replica.
      present: whether it has rows in this step; the others are left out.
      op: how they are reduced.
      what: the name of the bucket; all workers give the same.
    """
    num_replicas = strategy.num_replicas_in_sync
    plain = op is ReduceOp.SUM and strategy.sums_are_plain
    if plain and len(flats) == num_replicas and any(present):
        total = _sum_in_place(Tree(num_replicas), flats, present)
    else:
        lone = plain and num_replicas == strategy.num_workers
        if lone and present[0] and strategy.shared_buckets.reduce(what, flats[0]):
            return
        rows = [[flat] if counts else None for flat, counts in zip(flats, present)]
        (total,) = strategy.reduce_rows(rows, op, what, like=[flats[0]], out=[flats[0]])
        if lone:
            strategy.shared_buckets.provide(what, flats[0])
    for flat in flats:
        if flat is not total:
            flat[...] = total


def _sum_in_place(tree: Tree, flats: Sequence[np.ndarray], present: Sequence[bool]) -> np.ndarray:
    """Returns the sum of the replicas' arrays in the order of the tree, in one of them."""
    total = Accumulator(tree, "sum")
    for replica, (flat, counts) in enumerate(zip(flats, present)):
        total.insert((0, replica), [flat] if counts else None, owned=True)
    root = total.root()
    assert root is not None
    return root[0]


def _key(name: str, flat: np.ndarray) -> tuple[str, int, str]:
    return name, flat.size, flat.dtype.name
