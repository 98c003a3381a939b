"""Sums in fewer bits that are still the same bits on any number of workers. Opt-in.

Casting partial results as they happen to be cut makes the rounding depend on who holds what. Two
ways do not:

- "bf16": every leaf and every node of the tree is rounded to bfloat16, on every worker, also where
  no message passes. Half the bytes; each element has 8 significant bits.
- "int8": each array has one scale, from its largest magnitude over all replicas (a maximum has no
  order). Each replica rounds to -127 ... 127 steps of the scale and keeps what it lost for its next
  call ("error feedback", Seide et al. 2014); the integers are summed exactly, in any order. They
  travel as int16 (int32 from 259 replicas on), so it is half the bytes too, and one more round.

What a replica has lost is state: it belongs to the replica, not to the worker (`state`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from distflow.base import errors
from distflow.comm import buckets
from distflow.comm.communicator import Communicator, Leaves, Reduced

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_FLOAT32 = np.dtype(np.float32)
_STEPS = 127  # of a replica's largest magnitude
_MAX_INT16_REPLICAS = np.iinfo(np.int16).max // _STEPS

Lost = dict[str, dict[int, list[np.ndarray]]]  # by name of the call and replica


class Compressor:
    """Sums over all replicas with fewer bits.

    All ranks make the same calls in the same order, as with the communicator itself.

    Args:
      communicator: the collectives.
      method: "bf16" or "int8".

    Raises:
      InvalidArgumentError: for another method.
    """

    def __init__(self, communicator: Communicator, method: str):
        check_method("Compressor", method)
        self.method = method
        self._communicator = communicator
        self._lost: Lost = {}

    def all_reduce(
        self, leaves: Leaves, *, name: str = "", like: Sequence[Any] | None = None
    ) -> Reduced:
        """Returns the sum over all replicas; float32 arrays are compressed, others are not.

        Args:
          leaves: as in `Communicator.all_reduce`.
          like: arrays of the shapes and dtypes of a leaf, which a worker without data must give.
          name: what is summed. With "int8" it also says which calls go on from each other: give
            each of a step's sums a name of its own.
        """
        where = f"all_reduce {name!r}"
        local = {
            replica: None if values is None else buckets.as_arrays(where, values)
            for replica, values in leaves.items()
        }
        kinds = next((leaf for leaf in local.values() if leaf is not None), None)
        if kinds is None and like is not None:
            kinds = buckets.as_arrays(where, like)
        if kinds is None:
            expected = "like=, as this worker has no data and must know which arrays are compressed"
            raise errors.invalid(where, expected)
        return _METHODS[self.method](self, local, kinds, name)

    def state(self) -> Lost:
        """Returns copies of what the local replicas have lost, by name of the call and replica."""
        return {
            name: {replica: [array.copy() for array in lost] for replica, lost in lists.items()}
            for name, lists in self._lost.items()
        }

    def load_state(self, state: Mapping[str, Mapping[int, Sequence[np.ndarray]]]) -> None:
        """Goes on from states of any workers; takes what belongs to the local replicas."""
        local = set(self._communicator.local_replicas)
        self._lost = {
            name: {
                replica: [np.array(array, _FLOAT32) for array in lost]
                for replica, lost in lists.items()
                if replica in local
            }
            for name, lists in state.items()
        }

    def _bf16(
        self,
        leaves: dict[int, list[np.ndarray] | None],
        kinds: list[np.ndarray],
        name: str,
    ) -> Reduced:
        rounded = {
            r: None if leaf is None else list(map(_rounded, leaf)) for r, leaf in leaves.items()
        }
        shapes = [np.empty(k.shape, _BFLOAT16 if k.dtype == _FLOAT32 else k.dtype) for k in kinds]
        found = self._communicator.all_reduce(rounded, name=name, like=shapes)
        arrays = [
            array.astype(kind.dtype) if kind.dtype == _FLOAT32 else array
            for array, kind in zip(found.arrays, kinds, strict=True)
        ]
        return Reduced(arrays, found.num_present)

    def _int8(
        self,
        leaves: dict[int, list[np.ndarray] | None],
        kinds: list[np.ndarray],
        name: str,
    ) -> Reduced:
        compressed = [i for i, kind in enumerate(kinds) if kind.dtype == _FLOAT32]
        wanted = {
            r: leaf and [self._with_lost(name, r, leaf, i, compressed) for i in compressed]
            for r, leaf in leaves.items()
        }
        scales = self._scales(wanted, len(compressed), name)
        whole = np.int16 if self._communicator.num_replicas <= _MAX_INT16_REPLICAS else np.int32
        rounded: dict[int, list[np.ndarray] | None] = {}
        for replica, leaf in leaves.items():
            values = wanted[replica]
            rounded[replica] = None
            if leaf is None or values is None:
                continue
            rounded[replica] = sent = list(leaf)
            for k, (i, value) in enumerate(zip(compressed, values, strict=True)):
                steps, lost = _quantised(value, scales[k])
                sent[i] = steps.astype(whole)
                if lost is not None:
                    self._lost[name][replica][k] = lost
        shapes = [np.empty(k.shape, whole if k.dtype == _FLOAT32 else k.dtype) for k in kinds]
        found = self._communicator.all_reduce(rounded, name=name, like=shapes)
        for k, i in enumerate(compressed):
            with np.errstate(all="ignore"):
                # A scale that is not finite makes all of its array NaN: the sum is not known.
                scale = scales[k] if np.isfinite(scales[k]) else _FLOAT32.type(np.nan)
                found.arrays[i] = found.arrays[i].astype(_FLOAT32) * scale
        return found

    def _with_lost(
        self, name: str, replica: int, leaf: Sequence[np.ndarray], i: int, compressed: list[int]
    ) -> np.ndarray:
        """Returns array i of a leaf plus what the replica lost of it before."""
        lists = self._lost.setdefault(name, {})
        lost = lists.get(replica)
        if lost is None or [x.shape for x in lost] != [leaf[j].shape for j in compressed]:
            lost = lists[replica] = [np.zeros(leaf[j].shape, _FLOAT32) for j in compressed]
        with np.errstate(all="ignore"):
            return np.asarray(leaf[i] + lost[compressed.index(i)])

    def _scales(
        self, wanted: Mapping[int, list[np.ndarray] | None], count: int, name: str
    ) -> np.ndarray:
        """Returns the size of a step of each array, from all replicas' largest magnitudes."""
        largest = {
            r: values and [np.array([np.max(np.abs(v), initial=0) for v in values], _FLOAT32)]
            for r, values in wanted.items()
        }
        like = [np.zeros(count, _FLOAT32)]
        found = self._communicator.all_reduce(largest, op="max", name=f"{name} scale", like=like)
        # Without any data the maximum is -inf, and nothing will be scaled.
        return np.maximum(found.arrays[0], 0) / _FLOAT32.type(_STEPS)


def check_method(where: str, method: Any) -> None:
    """Raises InvalidArgumentError unless there is such a method."""
    if method not in _METHODS:
        raise errors.invalid(where, f"compression must be one of {sorted(_METHODS)}", repr(method))


_METHODS: dict[str, Callable[..., Reduced]] = {"bf16": Compressor._bf16, "int8": Compressor._int8}


def _rounded(array: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return array.astype(_BFLOAT16) if array.dtype == _FLOAT32 else array


def _quantised(value: np.ndarray, scale: np.floating) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns a value in whole steps of the scale, and the rest.

    If the scale is not finite, nothing is sent and the rest stays what it was (None).
    """
    if not np.isfinite(scale):
        return np.zeros_like(value), None
    if not scale:  # all magnitudes are 0, or too small for a step
        return np.zeros_like(value), value
    steps = np.clip(np.rint(value / scale), -_STEPS, _STEPS)
    return steps, np.asarray(value - steps * scale)
