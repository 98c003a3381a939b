"""Digests of the weights every few steps: all workers must agree, and two runs can be compared.

DISTFLOW_DIGEST_EVERY=k takes them after every k-th step; DISTFLOW_DIGEST_DIR also has each worker
write them to `digests-rank-<r>.jsonl` there, which `distflow verify` compares. The first line
describes the run; each further one is a step: a digest of each mirrored variable after it, and one
of what each replica gave to the sums in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np

from distflow.base import errors, flags
from distflow.core.variable import Variable
from distflow.distribute.reduce import ReduceOp
from distflow.distribute.values import MirroredStorage

FORMAT = "distflow digests 1"
_BYTES = 16


class Digests:
    """The digests of one strategy's variables.

    Args:
      strategy: whose variables are tracked.
      every: steps between two digests.
      folder: where they are written; None only compares workers.
    """

    def __init__(self, strategy: Any, every: int, folder: str | None = None):
        self._strategy = strategy
        self._every = every
        self._folder = folder
        self._file: IO[str] | None = None
        self._variables: list[weakref.ref[Variable]] = []
        self._described = 0
        self._runs = 0
        self._last = 0
        # What each local replica gives to sums, while a step runs whose digest is due.
        self._given: list[Any] = []
        self._has_given = False

    def track(self, variable: Variable) -> None:
        """Adds a new variable of the strategy."""
        if isinstance(variable.storage, MirroredStorage):
            self._variables.append(weakref.ref(variable))

    def begin_run(self, num_replicas: int) -> None:
        """Called before the replicas run."""
        due = (self._step() + 1) % self._every == 0
        self._has_given = False
        self._given = [hashlib.blake2b(digest_size=_BYTES) for _ in range(num_replicas * due)]

    def give(self, rows: Sequence[Sequence[Any] | None]) -> None:
        """Called with the arrays of each local replica before they are reduced."""
        for digest, arrays in zip(self._given, rows):
            for array in arrays or ():
                _update(digest, array)
                self._has_given = True

    def end_run(self, replicas: Sequence[int]) -> None:
        """Called when all replicas have run: compares and writes, if a new step is due.

        Raises:
          NumericMismatchError: if another worker holds other values, on all workers.
        """
        given = self._given if self._has_given else []
        self._given, self._has_given = [], False
        self._runs += 1
        step = self._step()
        if step == self._last or step % self._every:
            return
        self._last = step
        living = list(self._living())
        table = np.stack([_digest(variable.storage.read()) for _, variable in living])
        self._write(step, living, table, dict(zip(replicas, given)))
        self._compare(step, living, table)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _living(self) -> Iterator[tuple[int, Variable]]:
        for index, reference in enumerate(self._variables):
            variable = reference()
            if variable is not None:
                yield index, variable

    def _step(self) -> int:
        """The count of an optimizer, which goes on in a resumed run; else that of runs."""
        counts = [
            int(variable.storage.read())
            for _, variable in self._living()
            if variable.name.endswith("/iteration:0")
        ]
        return max(counts, default=self._runs)

    def _compare(self, step: int, living: Sequence[Any], table: np.ndarray[Any, Any]) -> None:
        strategy = self._strategy
        if strategy.num_workers == 1:
            return
        all_of_it = hashlib.blake2b(table.tobytes(), digest_size=_BYTES).digest()
        mine = np.frombuffer(all_of_it, np.uint8).astype(np.int32)
        rows = [[np.concatenate([mine, -mine])]] * len(strategy.replicas_here())
        (most,) = strategy.reduce_rows(rows, ReduceOp.MAX, f"digest of step {step}")
        if np.array_equal(most[:_BYTES], -most[_BYTES:]):
            return
        raise errors.NumericMismatchError(self._difference(step, living, table))

    def _difference(self, step: int, living: Sequence[Any], table: np.ndarray[Any, Any]) -> str:
        """Says where workers differ; every worker must call it."""
        strategy = self._strategy
        here = len(strategy.replicas_here())
        tables = strategy.gather_rows([table[None]] * here, 0)
        at = next(i for i in range(len(living)) if len({t[i].tobytes() for t in tables}) > 1)
        owners = strategy.communicator.placement.owners
        values: dict[str, list[int]] = {}
        for replica, digest in enumerate(tables[:, at]):
            ranks = values.setdefault(digest.tobytes().hex(), [])
            if owners[replica] not in ranks:
                ranks.append(owners[replica])
        said = "; ".join(f"rank {_join(ranks)}: {value[:12]}" for value, ranks in values.items())
        index, variable = living[at]
        return (
            f"digest of step {step}: expected equal weights on all workers; received other bits of "
            f"variable {index} ({variable.name}) on {said}.\n"
            "Are all workers of one version, on CPUs of one kind? `distflow doctor` shows both."
        )

    def _write(self, step: int, living: Any, table: Any, given: dict[int, Any]) -> None:
        if self._folder is None:
            return
        strategy = self._strategy
        if self._file is None:
            os.makedirs(self._folder, exist_ok=True)
            path = os.path.join(self._folder, f"digests-rank-{strategy.worker_rank}.jsonl")
            self._file = open(path, "a", encoding="utf-8")
            weakref.finalize(self, self._file.close)
        if self._described != len(living):
            self._described = len(living)
            self._line(
                format=FORMAT,
                rank=strategy.worker_rank,
                workers=strategy.num_workers,
                replicas=strategy.num_replicas_in_sync,
                every=self._every,
                variables=[variable.name for _, variable in living],
            )
        self._line(
            step=step,
            variables=[row.tobytes().hex() for row in table],
            replicas={str(replica): digest.hexdigest() for replica, digest in given.items()},
        )

    def _line(self, **content: Any) -> None:
        assert self._file is not None
        self._file.write(json.dumps(content) + "\n")
        # A worker that is killed leaves all steps before.
        self._file.flush()


def for_strategy(strategy: Any) -> Digests | None:
    """Returns what the flags ask for; None if they ask for nothing."""
    every, folder = flags.get("DISTFLOW_DIGEST_EVERY"), flags.get("DISTFLOW_DIGEST_DIR")
    if every is None and folder is None:
        return None
    return Digests(strategy, every or 1, folder)


def _digest(array: Any) -> np.ndarray[Any, Any]:
    digest = hashlib.blake2b(digest_size=_BYTES)
    _update(digest, array)
    return np.frombuffer(digest.digest(), np.uint8)


def _update(digest: Any, array: Any) -> None:
    array = np.ascontiguousarray(array)
    digest.update(f"{array.dtype.name}{array.shape}".encode())
    digest.update(array.reshape(-1).view(np.uint8).data)


def _join(ranks: Sequence[int]) -> str:
    return " and ".join(map(str, ranks))
