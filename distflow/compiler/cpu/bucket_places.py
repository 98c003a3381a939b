"""Where the buckets of a program lie: in its arena, or in memory that workers have in common."""

from __future__ import annotations

from typing import Any

import numpy as np

from distflow.compiler.cpu.operations import Departure
from distflow.compiler.cpu.plan import Plan
from distflow.core import context
from distflow.graph.ir import Value


class BucketPlace:
    """The memory of one bucket.

    Args:
      departure: of the bucket.
      flat: its elements.

    Attributes:
      flat: its elements, wherever they lie now.
      words: (number of a word that holds an address within it, byte in the bucket).
    """

    def __init__(self, departure: Departure, flat: np.ndarray):
        self.flat = flat
        self.words: list[tuple[int, int]] = []
        names = ("op", "number", "count")
        self._attributes = tuple(departure.node.attributes[name] for name in names)
        self._is_settled = False

    def part(self, byte: int, size: int) -> np.ndarray:
        """Returns elements that begin at a byte."""
        start = byte // self.flat.itemsize
        return self.flat[start : start + size]

    def leave(self) -> Any:
        """Lets it leave; returns what to wait for, None if this is no replica's program."""
        replica = context.state.replica
        return None if replica is None else replica.start_bucket(self.flat, *self._attributes)

    def settle(self, words: Any) -> None:
        """Moves it, after its first step, to where the workers add it without copies, if they can.

        After that step all workers know whether they can.
        """
        replica = context.state.replica
        if self._is_settled or replica is None:
            return
        self._is_settled = True
        memory = replica.bucket_memory(self.flat, *self._attributes)
        if memory is not None:
            self.flat = memory
            address = memory.__array_interface__["data"][0]
            for word, byte in self.words:
                words[word] = address + byte


class BucketPlaces:
    """The memory of the buckets of a program.

    Args:
      plan: of the program.
      arena: its memory.
    """

    def __init__(self, plan: Plan, arena: np.ndarray):
        self.of: dict[Departure, BucketPlace] = {}
        self._values = plan.in_buckets
        for segment in plan.segments:
            for host in segment.host:
                if isinstance(host, Departure):
                    dtype = host.node.inputs[0].dtype.numpy
                    start = plan.offsets[host]
                    stop = start + sum(host.num_elements) * dtype.itemsize
                    self.of[host] = BucketPlace(host, arena[start:stop].view(dtype))

    def note(self, value: Value, offset: int, word: int) -> None:
        """Notes that a word holds the address of so many bytes into a value, if it is in any."""
        if value in self._values:
            departure, byte = self._values[value]
            self.of[departure].words.append((word, byte + offset))

    def find(self, value: Value) -> tuple[BucketPlace, int] | None:
        """Returns the bucket in which a value lies and the byte where it begins."""
        if value not in self._values:
            return None
        departure, byte = self._values[value]
        return self.of[departure], byte

    def settle(self, words: Any) -> None:
        """Moves buckets after their first step; see `BucketPlace.settle`."""
        for place in self.of.values():
            place.settle(words)
