"""What checkpoints need from strategies: values of each replica, and one reader for all workers.

A variable with a copy for each replica is saved as all V copies, so the same replicas on another
number of workers go on with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.checkpoint import folder, layout, saver, storages
from distflow.core.variable import VariableAggregation
from distflow.distribute.context import get_strategy
from distflow.distribute.uncaught import told_to_others
from distflow.distribute.values import SyncOnReadStorage


def _take(storage: Any) -> np.ndarray[Any, Any]:
    """Returns the copies of all replicas of the job, [V, ...]; every worker must call it."""
    strategy = storage._strategy
    copies = storage.save()
    if len(copies) == strategy.num_replicas_in_sync:
        # One worker, or an elastic job, in which each worker has all copies.
        return np.stack(copies)
    gathered = strategy.communicator.all_gather(
        {r: [copy[None]] for r, copy in zip(strategy.local_replicas, copies)},
        name=f"copies of {storage._name!r}",
    )
    return np.concatenate([part[0] for part in gathered], 0)


def _put(storage: Any, array: np.ndarray[Any, Any]) -> None:
    """Sets this worker's copies; with another V, or from one value, so that a read gives it."""
    strategy = storage._strategy
    like = storage.save()[0]
    if array.shape == like.shape:
        storage._set_all(array)
    elif len(array) == strategy.num_replicas_in_sync:
        storage.restore([np.array(array[r]) for r in strategy.local_replicas])
    elif storage._aggregation is VariableAggregation.SUM:
        storage._set_all(array.sum(0, dtype=array.dtype))
    elif storage._aggregation is VariableAggregation.MEAN:
        storage._set_all(np.asarray(array.mean(0), array.dtype))
    else:
        storage._set_all(np.array(array[0]))


storages.register(
    SyncOnReadStorage,
    storages.Access(_take, _put, lambda storage, shape: shape[1:] == storage.save()[0].shape),
)
saver.tell("replicas", lambda: get_strategy().num_replicas_in_sync)


def on_chief(strategy: Any, what: str, work: Callable[[], Any]) -> Any:
    """Returns what `work` returns on the chief, a value that JSON can hold, on every worker.

    Others wait for it, as long as a collective may make no progress.

    Raises:
      On the chief what `work` raises; on the others an AbortedError that quotes it.
    """
    with told_to_others(strategy):
        value = work() if strategy.is_chief else None
    return strategy.agree(value, what)


def catches_up(strategy: Any) -> bool:
    """Whether this worker came to an elastic job later, and runs through steps that are over."""
    return getattr(strategy, "is_catching_up", False)


def newest_reader(strategy: Any, prefixes: Sequence[str]) -> Any:
    """Returns a reader of the newest whole checkpoint that the chief has; None if there is none.

    The chief reads, the others get the values from it: they need not see its disk. A worker that
    came later gets no values (`has_values`): the job's state comes to it anyway.

    Args:
      prefixes: checkpoints from the oldest to the newest; the chief's count.
    """
    reader: layout.Reader | None = None

    def read() -> Any:
        nonlocal reader
        prefix = folder.newest_whole(prefixes)
        if prefix is None:
            return None
        reader = layout.Reader(prefix)
        return layout.manifest_to_json(reader.manifest)

    described = on_chief(strategy, "newest checkpoint", read)
    if described is None or (reader is not None and strategy.num_workers == 1):
        return reader
    manifest = layout.manifest_from_json(described)
    mine = np.zeros(manifest.num_bytes, np.uint8)
    if reader is not None:
        mine = np.frombuffer(reader.all_bytes(), np.uint8)
    blob = strategy.agree_on_initial_value(mine, "values of the checkpoint")
    if reader is not None:
        return reader
    return layout.Received(manifest, None if catches_up(strategy) else memoryview(blob))
