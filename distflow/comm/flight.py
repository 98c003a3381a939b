"""The flight recorder: the last collective events of this process, written down when one fails.

With DISTFLOW_FLIGHT_DIR set (`distflow run --log-dir` does) a distributed error leaves
`flight-<rank>-<process>.jsonl` there: one JSON object a line, oldest first, the error last; and
SIGTERM leaves the Python stacks of a worker in `stack-<rank>-<process>.txt`. `distflow debug DIR`
reads them all and says who waited for whom.

An event has: rank, what, time (seconds since the epoch), step and generation; "seconds" once it is
over, "waits" (a rank) while it waits, "longest" ([rank, seconds]) for its longest wait. The first
line describes the worker: host, process, job, world_size, format.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import json
import os
import signal
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

from distflow.base import errors, flags, log
from distflow.base.place import here

FORMAT = "distflow flight 1"
EVENTS = 200

_events: deque[dict[str, Any]] = deque(maxlen=EVENTS)
_lock = threading.Lock()


class Event:
    """One phase of a collective: begins and ends with the block; an error in it is the last."""

    __slots__ = ("_record", "_since")

    def __init__(self, rank: int, what: str):
        self._record: dict[str, Any] = {
            "rank": rank, "what": what, "time": time.time(), "step": here.step,
            "generation": here.generation,
        }  # fmt: skip

    def __enter__(self) -> Event:
        _events.append(self._record)
        return self

    def waits_for(self, peer: int) -> None:
        """Notes that from now on the event waits for this rank, and no more for the one before."""
        self._note_wait()
        self._record["waits"], self._since = peer, time.monotonic()

    def _note_wait(self) -> None:
        record = self._record
        if "waits" in record:
            seconds = time.monotonic() - self._since
            if seconds > record.get("longest", (0, 0.0))[1]:
                record["longest"] = (record["waits"], round(seconds, 6))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        record = self._record
        self._note_wait()
        record["seconds"] = round(time.time() - record["time"], 6)
        if error is None:
            record.pop("waits", None)
        elif isinstance(error, errors.OpError):
            record["error"] = f"{type(error).__name__}: {error}"
            record["blames"] = getattr(error, "rank", None)
            dump(record["rank"])


def events() -> list[dict[str, Any]]:
    """Returns the last events, oldest first."""
    return [dict(event) for event in list(_events)]


def dump(rank: int) -> Path | None:
    """Writes the events to DISTFLOW_FLIGHT_DIR; returns the file, None without a folder."""
    folder = flags.get("DISTFLOW_FLIGHT_DIR")
    if not folder:
        return None
    path = Path(folder) / f"flight-{rank}-{os.getpid()}.jsonl"
    head = {
        "format": FORMAT, "rank": rank, "host": here.host, "process": os.getpid(),
        "job": flags.get("DISTFLOW_JOB") or "", "world_size": here.world_size,
    }  # fmt: skip
    text = "".join(json.dumps(event) + "\n" for event in [head, *events()])
    with _lock, contextlib.suppress(OSError):  # an error is under way: it must not be hidden
        path.write_text(text)
        log.get_logger().info("the last %d collective events are in %s", len(_events), path)
    return path


def keep_stacks(rank: int) -> None:
    """Has SIGTERM write this process's Python stacks to DISTFLOW_FLIGHT_DIR before it ends it.

    A worker that hangs in the program's own code has no error of its own to tell of. Does nothing
    where the program handles SIGTERM itself.
    """
    folder = flags.get("DISTFLOW_FLIGHT_DIR")
    if not folder or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    path = Path(folder) / f"stack-{rank}-{os.getpid()}.txt"
    with contextlib.suppress(OSError, AttributeError):
        file = path.open("w")
        faulthandler.register(signal.SIGTERM, file=file, all_threads=True, chain=True)
        atexit.register(_forget_stacks, path)


def _forget_stacks(path: Path) -> None:
    """A worker that ends by itself leaves no empty file."""
    with contextlib.suppress(OSError):
        if not path.stat().st_size:
            path.unlink()
