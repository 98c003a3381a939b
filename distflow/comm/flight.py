"""The flight recorder: the last collective events of this process, written down when one fails.

With DISTFLOW_FLIGHT_DIR set (`distflow run --log-dir` does) a distributed error leaves
`flight-<rank>-<process>.jsonl` there: one JSON object a line, oldest first, the error last. Times
are seconds since the epoch; an event without "seconds" was under way.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

from distflow.base import errors, flags, log

EVENTS = 200

_events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
_lock = threading.Lock()


class Event:
    """One phase of a collective: begins and ends with the block; an error in it is the last."""

    def __init__(self, rank: int, what: str):
        self._record: dict[str, Any] = {"rank": rank, "what": what, "time": time.time()}

    def __enter__(self) -> None:
        _events.append(self._record)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._record["seconds"] = round(time.time() - self._record["time"], 6)
        if isinstance(error, errors.OpError):
            self._record["error"] = f"{type(error).__name__}: {error}"
            self._record["blames"] = getattr(error, "rank", None)
            dump(self._record["rank"])


def events() -> list[dict[str, Any]]:
    """Returns the last events, oldest first."""
    return [dict(event) for event in list(_events)]


def dump(rank: int) -> Path | None:
    """Writes the events to DISTFLOW_FLIGHT_DIR; returns the file, None without a folder."""
    folder = flags.get("DISTFLOW_FLIGHT_DIR")
    if not folder:
        return None
    path = Path(folder) / f"flight-{rank}-{os.getpid()}.jsonl"
    text = "".join(json.dumps(event) + "\n" for event in events())
    with _lock, contextlib.suppress(OSError):  # an error is under way: it must not be hidden
        path.write_text(text)
        log.get_logger().info("the last %d collective events are in %s", len(_events), path)
    return path
