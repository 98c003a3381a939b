"""A timeline of compiled steps, as Chrome's trace events (chrome://tracing, ui.perfetto.dev)."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distflow.compiler.cpu import describe
from distflow.compiler.cpu.operations import Host, Operation
from distflow.compiler.cpu.plan import Plan
from distflow.compiler.profile import Clock, Watch

# Regions have a row of their own in the timeline, beside that of the thread that waits for them.
_OFFSET_OF_REGIONS = 1


class Tracer(Watch):
    """Notes when programs run, and what in them.

    Regions of native work are those of the first thread. They are shown one after another, as
    they ran; waiting for other threads between them is shown behind the last.
    """

    def __init__(self) -> None:
        self._clock = Clock()
        self._start = time.perf_counter()
        self._events: list[dict[str, Any]] = []
        self._native: list[tuple[Plan, int, float, list[tuple[Operation | None, int]]]] = []

    def run(self, one: Any, arrays: Any, inputs: Any, done: list[Host]) -> None:
        """Runs a program as one event, with others in it."""
        start = time.perf_counter()
        super().run(one, arrays, inputs, done)
        self.note(one.plan.graph.name, start, {"threads": one.count})

    def native(self, plan: Plan, start: float, cycles: list[tuple[Operation | None, int]]) -> None:
        """Keeps what ran; it becomes events at the end."""
        self._native.append((plan, threading.get_ident(), start, cycles))

    def host(self, plan: Plan, host: Host, call: Callable[[], None]) -> None:
        """Calls it, as one event."""
        start = time.perf_counter()
        call()
        self.note(describe.title(host, plan), start, {})

    def note(self, name: str, start: float, values: dict[str, Any]) -> None:
        """Adds an event of the calling thread that ends now."""
        self._add(name, threading.get_ident(), start, time.perf_counter() - start, values)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes what was noted into a folder of TensorBoard's form; returns the file."""
        rate = self._clock.rate()
        for thread in {thread for _, thread, _, _ in self._native}:
            self._events.append({
                "ph": "M", "name": "thread_name", "pid": os.getpid(),
                "tid": thread + _OFFSET_OF_REGIONS, "args": {"name": "regions, first thread"},
            })  # fmt: skip
        for plan, thread, start, cycles in self._native:
            plans = {o: where for o, where, _ in describe.operations(plan)}
            for operation, count in cycles:
                if operation is not None:
                    seconds = count / rate / 1e3
                    name = describe.title(operation, plans[operation])
                    self._add(name, thread + _OFFSET_OF_REGIONS, start, seconds, {})
                    start += seconds
        run = time.strftime("%Y_%m_%d_%H_%M_%S")
        path = Path(folder) / "plugins" / "profile" / run
        path.mkdir(parents=True, exist_ok=True)
        path /= f"{socket.gethostname()}.{os.getpid()}.trace.json.gz"
        with gzip.open(path, "wt", encoding="utf-8") as file:
            json.dump({"displayTimeUnit": "ms", "traceEvents": self._events}, file)
        return path

    def _add(
        self, name: str, thread: int, start: float, seconds: float, values: dict[str, Any]
    ) -> None:
        self._events.append({
            "ph": "X", "name": name, "pid": os.getpid(), "tid": thread,
            "ts": 1e6 * (start - self._start), "dur": 1e6 * seconds, "args": values,
        })  # fmt: skip
