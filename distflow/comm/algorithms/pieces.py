"""How a list of arrays passes through slots of a fixed size, step by step (pure).

The arrays' elements lie end to end in one flat buffer per dtype (`buckets.Layout`). Each step takes
the next stretch of them that fills a slot; a stretch may begin and end inside arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from distflow.comm.buckets import Layout, Spec

_LINE = 64  # bytes; stretches begin on lines of their own


class Piece(NamedTuple):
    """Elements [start, stop) of an array, and where in the stretch they come to lie."""

    array: int
    start: int
    stop: int
    at: int


class Stretch(NamedTuple):
    """Elements [start, stop) of the flat buffer number `flat`, and their bytes in the slot."""

    flat: int
    dtype: np.dtype
    start: int
    stop: int
    at_byte: int
    pieces: tuple[Piece, ...]


Step = tuple[Stretch, ...]


def steps_for(specs: tuple[Spec, ...], slot_bytes: int) -> tuple[Step, ...]:
    """Returns the steps in which arrays of these specs pass through slots; at least one."""
    layout = Layout(specs)
    steps: list[list[Stretch]] = [[]]
    used = 0
    for flat, (dtype, size) in enumerate(zip(layout.dtypes, layout.sizes, strict=True)):
        arrays = _Walk([(i, s.num_elements) for i, s in enumerate(specs) if s.dtype == dtype])
        start = 0
        while start < size:
            room = (slot_bytes - used) // dtype.itemsize
            if room <= 0:
                steps.append([])
                used = 0
                continue
            stop = min(size, start + room)
            pieces = arrays.take(stop - start)
            steps[-1].append(Stretch(flat, dtype, start, stop, used, pieces))
            used += -(-(stop - start) * dtype.itemsize // _LINE) * _LINE
            start = stop
    return tuple(tuple(step) for step in steps)


def share(size: int, itemsize: int, count: int, index: int) -> tuple[int, int]:
    """Returns which elements of a stretch belong to one of `count` owners: whole cache lines."""
    line = max(1, _LINE // itemsize)
    lines = -(-size // line)
    start, stop = lines * index // count * line, lines * (index + 1) // count * line
    return min(start, size), min(stop, size)


class _Walk:
    """Goes through arrays laid end to end."""

    def __init__(self, sizes: list[tuple[int, int]]):
        self._sizes = sizes
        self._next = self._at = 0

    def take(self, count: int) -> tuple[Piece, ...]:
        pieces: list[Piece] = []
        taken = 0
        while taken < count:
            array, size = self._sizes[self._next]
            step = min(count - taken, size - self._at)
            if step:
                pieces.append(Piece(array, self._at, self._at + step, taken))
            taken += step
            self._at += step
            if self._at == size:
                self._next, self._at = self._next + 1, 0
        return tuple(pieces)
