"""Placement by measured speed in an elastic job: slow workers hold fewer replicas.

Every commit says what a replica has cost its worker. All workers know the same numbers after it, so
each of them comes to the same placement for the next step, and nobody has to be asked; the bits
depend on no placement. It changes only where the slowest worker gains enough.
"""

from __future__ import annotations

import collections
import statistics
from collections.abc import Sequence

from distflow.comm import Placement

STEPS = 8  # between two looks at the placement
WORTH = 0.8  # the longest computation is to become so many times shorter, at least


class Speeds:
    """What a replica has cost each worker of a generation in the last steps.

    Args:
      world_size: number of workers.
    """

    def __init__(self, world_size: int):
        steps = (collections.deque[float](maxlen=STEPS) for _ in range(world_size))
        self._seconds = list(steps)
        self._num_heard = 0

    def hear(self, seconds: Sequence[float]) -> None:
        """Takes the seconds that a replica of each worker has cost in a step, by rank."""
        self._num_heard += 1
        for steps, found in zip(self._seconds, seconds):
            steps.append(found)

    def better_than(self, placement: Placement) -> Placement | None:
        """Returns a placement with which steps are shorter, now and then, if there is one."""
        if self._num_heard % STEPS or not self._num_heard:
            return None
        costs = [statistics.median(steps) for steps in self._seconds]
        now = [len(placement.replicas_of(rank)) for rank in range(placement.world_size)]
        then = sizes(costs, placement.num_replicas)
        if _longest(then, costs) > WORTH * _longest(now, costs):
            return None
        owners = tuple(rank for rank, size in enumerate(then) for _ in range(size))
        return Placement(placement.num_replicas, placement.world_size, owners)


def sizes(costs: Sequence[float], num_replicas: int) -> list[int]:
    """Returns how many replicas each worker is to hold, one at least, for the shortest step.

    Args:
      costs: seconds that a replica costs each.
      num_replicas: V, at least as many as there are workers.
    """
    found = [1] * len(costs)
    for _ in range(num_replicas - len(costs)):
        cheapest = min(range(len(costs)), key=lambda rank: (found[rank] + 1) * costs[rank])
        found[cheapest] += 1
    return found


def _longest(sizes: Sequence[int], costs: Sequence[float]) -> float:
    return max(size * cost for size, cost in zip(sizes, costs))
