"""Late workers of an elastic job: the others do not wait, and compute their replicas as well.

A worker that lets the others wait for so many times what a step usually takes here is late, though
it may well live and go on computing. They leave it to that, and form a generation without it, in
which its replicas are placed on them and the step is done again. If it comes before that
generation is formed it is in it; else their result counts, which has the same bits, and it is let
in again after the next step. Each time the others become more patient, so that a worker which is
slow for good is not thrown out of every step; steps in which nobody is late make them less so.
"""

from __future__ import annotations

import collections
import statistics
from typing import Any

from distflow.base import errors, log
from distflow.distribute.elastic_group import Group
from distflow.telemetry import metrics, timeline

LEAST_SECONDS = 0.25  # a busy host or a first call of something takes that long
FIRST_STEPS = 3  # so many make the usual one
REMEMBERED_STEPS = 15
MOST_PATIENT = 64.0
PATIENT_STEPS = 16  # after so many without a late worker the patience is halved again


class Speculation:
    """How long a step of this worker waits for others, and what came of it.

    Args:
      times_usual: a wait of so many times the usual step is too long.

    Attributes:
      num_replicas: of late workers that this worker has seen computed by others, all told.
    """

    def __init__(self, times_usual: float):
        self._times_usual = times_usual
        self._steps: collections.deque[float] = collections.deque(maxlen=REMEMBERED_STEPS)
        self._patience, self._good_steps = 1.0, 0
        self._started = 0
        self.num_replicas = 0

    @property
    def seconds(self) -> float | None:
        """The longest wait in a step, None as long as nobody knows the usual one."""
        if len(self._steps) < FIRST_STEPS:
            return None
        usual = statistics.median(self._steps)
        return self._patience * max(LEAST_SECONDS, self._times_usual * usual)

    def begin(self, group: Group) -> None:
        """Called before each try of a step."""
        self._started = timeline.now()
        group.set_patience(self.seconds if group.size > 1 else None)

    def end(self, group: Group, *, is_done: bool) -> None:
        """Called after each try of a step."""
        group.set_patience(None)
        if not is_done:
            return
        self._steps.append((timeline.now() - self._started) / 1e9)
        self._good_steps += 1
        if self._good_steps % PATIENT_STEPS == 0:
            self._patience = max(self._patience / 2, 1.0)

    def late(self, group: Group, cause: Any) -> list[bytes]:
        """Returns the member that an error calls late, by id, and counts its replicas."""
        late = group.suspects(cause) if isinstance(cause, errors.WorkerLateError) else []
        if late:
            replicas = group.communicator.placement.replicas_of(cause.rank)
            self.num_replicas += len(replicas)
            metrics.replicas_speculated.add(len(replicas))
            self._patience, self._good_steps = min(2 * self._patience, MOST_PATIENT), 0
            log.get_logger().warning(
                "%s is late: its replicas %s are computed by others as well (%d so far)",
                group.members[cause.rank].description, replicas, self.num_replicas,
            )  # fmt: skip
        return late
