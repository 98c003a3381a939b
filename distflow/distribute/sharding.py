"""Which worker reads what: the policies of tf.data.experimental.AutoShardPolicy.

- AUTO, DATA: every worker reads the data set and keeps the rows of its replicas. Each element is
  used once an epoch, and the bits are the same on any number of workers.
- FILE: the files are divided among the V logical replicas, replica r has the files r, r + V, ...,
  so each file is read by one worker only. Each element is used once, and the bits are the same on
  any number of workers; they differ from DATA's, as other rows meet in a step.
- OFF: each worker's data set is its own. Nothing is promised: what a step sees depends on W.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from distflow.base import errors, nest
from distflow.core.tensor import EagerTensor
from distflow.data import Dataset, files, position, shuffle
from distflow.data.batching import Batch, PaddedBatch
from distflow.data.node import Node
from distflow.data.options import AutoShardPolicy
from distflow.distribute import input as inputs

_BATCHES = (Batch, PaddedBatch)


def distributed(strategy: Any, dataset: Any) -> inputs.DistributedDataset:
    """Returns a data set of global batches, cut for replicas as its options say."""
    if isinstance(dataset, Dataset):
        policy = policy_of(dataset)
        if policy is AutoShardPolicy.FILE:
            return FileDataset(strategy, dataset)
        if policy is AutoShardPolicy.OFF:
            return OwnDataset(strategy, dataset)
    return inputs.CutDataset(strategy, dataset)


def policy_of(dataset: Dataset) -> AutoShardPolicy:
    """Returns the policy that a data set's options ask for."""
    return dataset.options().experimental_distribute.auto_shard_policy


class _Streams(inputs.DistributedDataset):
    """Steps taken from streams of rows, until all workers' streams have ended."""

    def __init__(self, strategy: Any, dataset: Dataset, where: str):
        self._strategy = strategy
        self._given = dataset
        self.num_parts = len(strategy.local_replicas)
        rows = _batch_size(where, dataset.node)
        total = strategy.num_replicas_in_sync
        ranges = [inputs.row_range(rows, total, replica) for replica in range(total)]
        self._sizes = [stop - start for start, stop in ranges]
        self._set_seed(strategy.agree(random.getrandbits(63), "seed of shuffles"))

    def _set_seed(self, seed: int) -> None:
        self._seed = seed
        self._datasets = self._seeded(seed)

    def _seeded(self, seed: int) -> list[Dataset]:
        """Returns the data sets that this worker reads."""
        raise AssertionError("subclasses define _seeded")

    def part_spec(self) -> Any:
        """Returns the spec of one replica's part: any number of rows."""
        return nest.map_structure(inputs.any_rows, self._given.element_spec)

    def parts(self) -> Iterator[list[Any]]:
        """Yields the rows of this worker's replicas."""
        streams = [_Rows(iter(dataset)) for dataset in self._datasets]
        while True:
            parts = []
            for at, replica in enumerate(self._strategy.local_replicas):
                stream = streams[at % len(streams)]
                parts.append(stream.take(self._sizes[replica]))
            if not inputs.anybody_has(self._strategy, sum(part is not None for part in parts)):
                return
            like = next((part for part in parts if part is not None), self.part_spec())
            empty = nest.map_structure(inputs.no_rows, like)
            yield [empty if part is None else part for part in parts]

    def state(self) -> dict[str, Any]:
        """Returns where the random steps stand; all pipelines of a job stand alike."""
        return {"seed": self._seed, "steps": position.state(self._datasets[0].node)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Puts the random steps where they stood."""
        self._set_seed(int(state["seed"]))
        for dataset in self._datasets:
            position.set_state(dataset.node, state["steps"])


class FileDataset(_Streams):
    """FILE: one pipeline a logical replica, on files of its own.

    Raises:
      InvalidArgumentError: for a data set that reads no files, or fewer than there are replicas.
    """

    def __init__(self, strategy: Any, dataset: Dataset):
        source = files.file_names(dataset.node)
        if source is None:
            raise errors.invalid(
                "AutoShardPolicy.FILE",
                "a data set that begins with names of files: "
                "Dataset.from_tensor_slices(names).interleave(...)",
                "one that does not",
                "Choose AutoShardPolicy.DATA, which works with every data set.",
            )
        count, replicas = files.count_files(source), strategy.num_replicas_in_sync
        if count < replicas:
            raise errors.invalid(
                "AutoShardPolicy.FILE",
                f"at least as many files as logical replicas (V = {replicas})",
                f"{count} files",
                "Choose AutoShardPolicy.DATA, or write the data in more files.",
            )
        super().__init__(strategy, dataset, "AutoShardPolicy.FILE")

    def _seeded(self, seed: int) -> list[Dataset]:
        total = self._strategy.num_replicas_in_sync
        return [
            shuffle.set_missing_seeds(
                self._given.rebuild(files.part_of_files(self._given.node, total, replica)),
                # Replicas draw their own orders.
                next(shuffle.words64(seed, replica, 0)),
            )
            for replica in self._strategy.local_replicas
        ]


class OwnDataset(_Streams):
    """OFF: the data set of each worker is its own; its rows go to its replicas in turn."""

    def __init__(self, strategy: Any, dataset: Dataset):
        super().__init__(strategy, dataset, "AutoShardPolicy.OFF")

    def _seeded(self, seed: int) -> list[Dataset]:
        own = next(shuffle.words64(seed, self._strategy.worker_rank, 0))
        return [shuffle.set_missing_seeds(self._given, own)]


class _Rows:
    """The rows of a stream of batches, in pieces of any size."""

    def __init__(self, batches: Iterator[Any]):
        self._batches = batches
        self._rest: Any = None

    def take(self, count: int) -> Any:
        """Returns the next `count` rows, fewer at the end; None if there are none."""
        pieces: list[Any] = []
        while count:
            if self._rest is None:
                self._rest = next(self._batches, None)
                if self._rest is None:
                    break
            rows = inputs.count_rows(self._rest)
            pieces.append(_slice(self._rest, 0, min(count, rows)))
            self._rest = _slice(self._rest, count, rows) if rows > count else None
            count -= min(count, rows)
        if len(pieces) < 2:
            return pieces[0] if pieces else None
        columns = zip(*(nest.flatten(piece) for piece in pieces))
        return nest.pack_sequence_as(pieces[0], [_joined(column) for column in columns])


def _slice(element: Any, start: int, stop: int) -> Any:
    return nest.map_structure(
        lambda leaf: EagerTensor(leaf.array[start:stop]) if _is_rows(leaf) else leaf, element
    )


def _is_rows(leaf: Any) -> bool:
    return isinstance(leaf, EagerTensor)


def _joined(column: tuple[Any, ...]) -> Any:
    if not _is_rows(column[0]):
        return column[0]
    widths = {leaf.shape[1:] for leaf in column}
    if len(widths) > 1:
        raise errors.invalid(
            "auto_shard_policy", "batches whose rows have one shape",
            " and ".join(str(list(w)) for w in sorted(widths)),
            "Pad all batches to one length, or choose AutoShardPolicy.DATA.",
        )  # fmt: skip
    return EagerTensor(np.concatenate([leaf.array for leaf in column], 0))


def _batch_size(where: str, node: Node) -> int:
    """Returns the size of the global batch: that of the last step that makes batches."""
    while not isinstance(node, _BATCHES):
        below = node.sources()
        if len(below) != 1:
            raise errors.invalid(
                where, "a data set of global batches", "one that is not batched",
                "Batch it: dataset.batch(global_batch_size).",
            )  # fmt: skip
        (node,) = below
    return node.size
