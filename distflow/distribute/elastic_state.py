"""The state of a job in one process: its variables and how far its random numbers have gone.

Variables are known by the order in which they were made, which is equal on all workers. Small ones
and those that differ between replicas go into the record of every step; all of them go to a
newcomer, with a digest.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.core.variable import OwnStorage, Variable
from distflow.distribute.values import SyncOnReadStorage
from distflow.random import global_state

# Mirrored variables up to this size are in the record of each step: counts, rates, seeds.
SMALL_ELEMENTS = 8


class State:
    """The variables made since it was, and the sequences of random numbers."""

    def __init__(self) -> None:
        self._variables: list[weakref.ref[Variable]] = []
        self._recorded: dict[int, list[bytes]] = {}

    def track(self, variable: Variable) -> None:
        """Adds a variable, once."""
        if not self._variables or self._variables[-1]() is not variable:
            self._variables.append(weakref.ref(variable))

    def creator(self, next_creator: Callable[..., Any], **arguments: Any) -> Any:
        """Tracks what it makes (a variable creator)."""
        variable = next_creator(**arguments)
        self.track(variable)
        return variable

    def _living(self) -> list[tuple[int, Variable]]:
        pairs = ((index, reference()) for index, reference in enumerate(self._variables))
        return [(index, variable) for index, variable in pairs if variable is not None]

    # -- a step that fails leaves no trace -------------------------------------------------

    def save(self) -> Any:
        """Returns what `restore` needs to undo a step. Values are held, so they are not copied."""
        storages = [variable.storage for _, variable in self._living()]
        return [(s, s.save()) for s in storages], global_state.counts()

    def restore(self, saved: Any) -> None:
        """Puts everything back as `save` saw it."""
        storages, counts = saved
        for storage, value in storages:
            storage.restore(value)
        global_state.set_counts(counts)

    # -- copies that differ between replicas -----------------------------------------------

    def copies(self, replicas: Sequence[int]) -> tuple[list[int], list[np.ndarray[Any, Any]]]:
        """Returns (indices, arrays): for each variable that differs, the copies of `replicas`."""
        indices, arrays = [], []
        for index, variable in self._living():
            if isinstance(variable.storage, SyncOnReadStorage):
                indices.append(index)
                arrays += [variable.storage.copies[replica] for replica in replicas]
        return indices, arrays

    def set_copies(
        self,
        indices: Sequence[int],
        replicas: Sequence[int],
        arrays: Sequence[np.ndarray[Any, Any]],
    ) -> None:
        """Sets the copies of other workers' replicas, as their `copies` gave them."""
        position = 0
        for index in indices:
            variable = self._variables[index]() if index < len(self._variables) else None
            for replica in replicas:
                if variable is not None:
                    variable.storage.copies[replica] = arrays[position]
                position += 1

    # -- the record of a step --------------------------------------------------------------

    def small_changes(self) -> tuple[list[list[int]], list[np.ndarray[Any, Any]]]:
        """Returns ([index, number of arrays] of each, arrays) of what changed since the last call.

        Of small variables, and of those that differ between replicas.
        """
        found: list[list[int]] = []
        arrays: list[np.ndarray[Any, Any]] = []
        for index, variable in self._living():
            values = _small_values(variable)
            if values is None:
                continue
            now = [value.tobytes() for value in values]
            if self._recorded.get(index) != now:
                self._recorded[index] = now
                found.append([index, len(values)])
                arrays += values
        return found, arrays

    def apply_changes(
        self, changes: Sequence[Sequence[int]], arrays: Sequence[np.ndarray[Any, Any]]
    ) -> None:
        """Sets what another worker's `small_changes` gave."""
        start = 0
        for index, count in changes:
            self._set(index, arrays[start : start + count])
            start += count

    def mirrored_digests(self) -> list[tuple[str, str]]:
        """Returns (name, digest) of each variable that is equal on all workers and replicas."""
        return [
            (variable.name, digest(_values(variable)))
            for _, variable in self._living()
            if not isinstance(variable.storage, SyncOnReadStorage | OwnStorage)
        ]

    # -- all of it, for a newcomer ---------------------------------------------------------

    def all_values(self) -> tuple[Any, list[np.ndarray[Any, Any]]]:
        """Returns (description, arrays) of everything; the arrays must not be written to."""
        found, arrays = [], []
        for index, variable in self._living():
            values = _values(variable)
            found.append([index, len(values), variable.name])
            arrays += values
        head = {"variables": found, "counts": global_state.counts(), "digest": digest(arrays)}
        return head, arrays

    def set_all_values(
        self, head: Any, arrays: Sequence[np.ndarray[Any, Any]], *, partly: bool = False
    ) -> None:
        """Sets everything to what another worker's `all_values` gave.

        Args:
          head, arrays: of `all_values`.
          partly: leave out variables that this worker has not made yet.

        Raises:
          DataLossError: if the arrays are not those that were sent.
          CollectiveMismatchError: if this worker has made other variables.
        """
        if digest(arrays) != head["digest"]:
            raise errors.DataLossError("elastic job: the state that came has another digest.")
        start = 0
        for index, count, name in head["variables"]:
            if index >= len(self._variables) and not partly:
                raise errors.CollectiveMismatchError(
                    f"elastic job: the others have variable {index} ({name}); this worker has "
                    f"made {len(self._variables)}.\nDo all workers run the same program?"
                )
            self._set(index, arrays[start : start + count])
            start += count
        self._recorded = {}
        self.small_changes()
        global_state.set_counts(global_state.Counts(*head["counts"]))

    def _set(self, index: int, values: Sequence[np.ndarray[Any, Any]]) -> None:
        variable = self._variables[index]() if index < len(self._variables) else None
        if variable is None:
            return
        mine = _values(variable)
        if [(v.shape, v.dtype) for v in mine] != [(v.shape, v.dtype) for v in values]:
            described = ", ".join(f"{v.dtype}{list(v.shape)}" for v in values)
            raise errors.CollectiveMismatchError(
                f"elastic job: variable {index} ({variable.name}) is {described} on other workers; "
                "this worker has made another one.\nDo all workers run the same program?"
            )
        if isinstance(variable.storage, SyncOnReadStorage):
            variable.storage.copies[:] = values
        else:
            variable.storage.restore(values[0])


def digest(arrays: Sequence[np.ndarray[Any, Any]]) -> str:
    """Returns a digest of the bytes of arrays, in order."""
    sha = hashlib.blake2b(digest_size=16)
    for array in arrays:
        sha.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return sha.hexdigest()


def _values(variable: Variable) -> list[np.ndarray[Any, Any]]:
    if isinstance(variable.storage, SyncOnReadStorage):
        return list(variable.storage.copies)
    return [variable.storage.read()]


def _small_values(variable: Variable) -> list[np.ndarray[Any, Any]] | None:
    if isinstance(variable.storage, SyncOnReadStorage):
        return list(variable.storage.copies)
    value = variable.storage.read()
    return [value] if value.size <= SMALL_ELEMENTS else None
