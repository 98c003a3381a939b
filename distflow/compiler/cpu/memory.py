"""Where the values of a step lie: one arena, in which what is no longer needed makes room.

Lifetimes are known ahead, so the arena is laid out once. A buffer may be reused only at a later
time than that of its last use: parts of one time run at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from distflow.compiler.cpu.task import ALIGNMENT


@dataclass
class Buffer:
    """Bytes that are needed from one time to another, both included."""

    num_bytes: int
    start: int
    end: int


def lay_out(buffers: Sequence[Buffer]) -> tuple[list[int], int]:
    """Returns the offset of each buffer, and the size of the arena.

    In the order of their first use, each goes into the smallest gap that holds it: what was freed
    last is likely to be in the caches still.
    """
    offsets = [0] * len(buffers)
    gaps: list[tuple[int, int]] = []  # (offset, size), ascending
    ends: list[tuple[int, int]] = []  # (time of the last use, buffer)
    size = 0
    for i in sorted(range(len(buffers)), key=lambda i: (buffers[i].start, -buffers[i].num_bytes)):
        buffer = buffers[i]
        while ends and ends[0][0] < buffer.start:
            _, done = heapq.heappop(ends)
            gaps = _freed(gaps, offsets[done], rounded(buffers[done].num_bytes))
        wanted = rounded(buffer.num_bytes)
        fitting = [g for g in gaps if g[1] >= wanted]
        if fitting:
            offset, room = min(fitting, key=lambda g: (g[1], g[0]))
            gaps.remove((offset, room))
            if room > wanted:
                gaps = _freed(gaps, offset + wanted, room - wanted)
        else:
            offset = size
            if gaps and sum(gaps[-1]) == size:  # the last gap grows
                offset = gaps.pop()[0]
            size = offset + wanted
        offsets[i] = offset
        heapq.heappush(ends, (buffer.end, i))
    return offsets, size


def rounded(num_bytes: int) -> int:
    """Returns a size rounded up, so that the next buffer is aligned; never 0."""
    return max(-(-num_bytes // ALIGNMENT), 1) * ALIGNMENT


def _freed(gaps: list[tuple[int, int]], offset: int, size: int) -> list[tuple[int, int]]:
    """Returns the gaps with one more, joined to its neighbours."""
    joined: list[tuple[int, int]] = []
    for start, length in sorted([*gaps, (offset, size)]):
        if joined and sum(joined[-1]) == start:
            joined[-1] = (joined[-1][0], joined[-1][1] + length)
        else:
            joined.append((start, length))
    return joined
