"""Makes a worker that has joined its job known to what watches it: logs, timeline, metrics."""

from __future__ import annotations

import importlib

from distflow.base import flags
from distflow.base.place import here
from distflow.comm import Communicator, flight
from distflow.telemetry import stacks, timeline


def introduce(communicator: Communicator) -> None:
    """Notes rank and number of workers, and starts what the settings ask for.

    With DISTFLOW_TIMELINE the workers measure their clocks, so it has to be set for all of them or
    for none.
    """
    here.rank, here.world_size = communicator.rank, communicator.world_size
    flight.keep_stacks(communicator.rank)
    stacks.install()
    if flags.get("DISTFLOW_TIMELINE"):
        if communicator.world_size > 1:
            timeline.tell_clock(*communicator.clock_offset("for DISTFLOW_TIMELINE"))
        timeline.tell()
    serve_metrics()


def introduce_elastic() -> None:
    """Starts what the settings ask for in a worker of an elastic job, which tells of itself."""
    stacks.install()
    serve_metrics()


def serve_metrics() -> None:
    """Serves this process's metrics if DISTFLOW_METRICS_PORT says where."""
    if flags.get("DISTFLOW_METRICS_PORT") is not None:
        importlib.import_module("distflow.telemetry.endpoint").start()
