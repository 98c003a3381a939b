"""The numbers of this process that a monitor reads, and their form as Prometheus's text.

Counters and histograms are written by whatever they count, always: that costs a step a microsecond
or two. Nobody reads them unless DISTFLOW_METRICS_PORT says where (`telemetry.endpoint`).
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterator
from typing import Protocol

from distflow.base.place import here
from distflow.telemetry import account

# Seconds; a step takes from a fraction of a millisecond to a minute.
_STEP_BUCKETS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
)  # fmt: skip
_LONG_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Labels = tuple[tuple[str, str], ...]


class Family(Protocol):
    """What has a row in the table of metrics."""

    kind: str

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        """Yields (name, labels, value)."""


class Counter:
    """A number that only grows."""

    kind = "counter"

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Adds to it."""
        self.value += amount

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        """Yields (name, labels, value)."""
        yield name, (), self.value


class Histogram:
    """How often something took how long.

    Args:
      bounds: upper bounds of the buckets, in seconds.
    """

    kind = "histogram"

    def __init__(self, bounds: tuple[float, ...]):
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def observe(self, seconds: float) -> None:
        """Adds one."""
        with self._lock:
            self._counts[bisect_left(self._bounds, seconds)] += 1
            self._sum += seconds

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        """Yields (name, labels, value), buckets cumulative."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        so_far = 0
        for bound, count in zip((*self._bounds, math.inf), counts):
            so_far += count
            yield f"{name}_bucket", (("le", _number(bound)),), so_far
        yield f"{name}_count", (), so_far
        yield f"{name}_sum", (), total


step_seconds = Histogram(_STEP_BUCKETS)
recovery_seconds = Histogram(_LONG_BUCKETS)
checkpoint_seconds = Histogram(_LONG_BUCKETS)
steps = Counter()
workers_lost = Counter()
replicas_speculated = Counter()
exposed_seconds = Counter()


class _Generation:
    kind = "gauge"

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        yield name, (), here.generation


class _WorldSize:
    kind = "gauge"

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        yield name, (), here.world_size


class _Bytes:
    kind = "counter"

    def samples(self, name: str) -> Iterator[tuple[str, Labels, float]]:
        for direction, by_peer in zip(("sent", "received"), account.bytes_by_peer()):
            for peer, count in enumerate(by_peer):
                if count:
                    yield name, (("peer", str(peer)), ("dir", direction)), count


# The one table of families; names as Prometheus's rules want them.
FAMILIES: dict[str, tuple[Family, str]] = {
    "distflow_step_seconds": (step_seconds, "seconds of a training step"),
    "distflow_steps_total": (steps, "training steps done by this process"),
    "distflow_bytes_total": (_Bytes(), "bytes that collectives moved between this worker and peer"),
    "distflow_exposed_comm_seconds_total": (
        exposed_seconds, "seconds in which steps could only wait for gradients of others",
    ),
    "distflow_generation": (_Generation(), "generation of an elastic job; 0: not elastic"),
    "distflow_world_size": (_WorldSize(), "number of workers"),
    "distflow_worker_lost_total": (workers_lost, "workers that this one has seen lost"),
    "distflow_replicas_speculated_total": (
        replicas_speculated, "replicas of late workers that others have computed as well",
    ),
    "distflow_recovery_seconds": (
        recovery_seconds, "from noticing a change of workers until training goes on",
    ),
    "distflow_checkpoint_seconds": (checkpoint_seconds, "seconds to write a checkpoint"),
}  # fmt: skip


def text() -> str:
    """Returns all families in Prometheus's text format, each sample with the worker's rank."""
    rank = here.known_rank()
    place: Labels = (("rank", str(0 if rank is None else rank)),)
    lines = []
    for name, (family, meaning) in FAMILIES.items():
        lines.append(f"# HELP {name} {meaning}\n# TYPE {name} {family.kind}\n")
        for sample, labels, value in family.samples(name):
            shown = ",".join(f'{key}="{said}"' for key, said in (*place, *labels))
            lines.append(f"{sample}{{{shown}}} {_number(value)}\n")
    return "".join(lines)


def _number(value: float) -> str:
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
