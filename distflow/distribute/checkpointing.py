"""What checkpoints need from strategies: values of each replica, and one reader for all workers.

A variable with a copy for each replica is saved as all V copies, so the same replicas on another
number of workers go on with the same bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.checkpoint import folder, layout, saver, storages
from distflow.core.variable import VariableAggregation
from distflow.distribute.context import get_strategy
from distflow.distribute.values import SyncOnReadStorage


def _take(storage: Any) -> np.ndarray[Any, Any]:
    """Returns the copies of all replicas of the job, [V, ...]; every worker must call it."""
    strategy = storage._strategy
    rows = {r: [copy] for r, copy in zip(strategy.local_replicas, storage.save())}
    if strategy.num_workers == 1:
        return np.stack([row[0] for row in rows.values()])
    gathered = strategy.communicator.all_gather(
        {r: [row[0][None]] for r, row in rows.items()}, name=f"copies of {storage._name!r}"
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


@contextlib.contextmanager
def told_to_others(strategy: Any) -> Iterator[None]:
    """Ends the waiting of other workers when the block fails: they raise an error that quotes it.

    For what one worker does while the others go on to their next collective.
    """
    try:
        yield
    except BaseException as error:
        if strategy.num_workers > 1:
            strategy.communicator.abort(error)
        raise


def newest_reader(strategy: Any, prefixes: Sequence[str]) -> Any:
    """Returns a reader of the newest whole checkpoint that the chief has; None if there is none.

    The chief reads, the others get the values from it: they need not see its disk.

    Args:
      prefixes: checkpoints from the oldest to the newest; the chief's count.
    """
    reader: Any = None

    def read() -> Any:
        nonlocal reader
        prefix = folder.newest_whole(prefixes)
        if prefix is None:
            return None
        reader = layout.Reader(prefix)
        return layout.manifest_to_json(reader.manifest)

    described = on_chief(strategy, "newest checkpoint", read)
    if described is None or strategy.num_workers == 1:
        return reader
    mine = None if reader is None else [np.frombuffer(reader.all_bytes(), np.uint8)]
    (blob,) = strategy.communicator.broadcast(mine, 0, name="values of the checkpoint")
    if reader is not None:
        return reader
    manifest = layout.manifest_from_json(described)
    if blob.size != manifest.num_bytes:
        raise errors.DataLossError(
            f"restore: expected {manifest.num_bytes} bytes from the chief; received {blob.size}."
        )
    return layout.Received(manifest, memoryview(blob))
