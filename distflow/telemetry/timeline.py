"""The timeline of this worker: what its threads do when, as Chrome's trace events.

With DISTFLOW_TIMELINE=DIR each worker writes `timeline-<host>-<process>.json` there, and `distflow
timeline DIR` (or `distflow run --timeline FILE`) makes one file of them, for ui.perfetto.dev or
chrome://tracing. SIGUSR1 stops a worker's recording and starts it again.

Hot code asks `if timeline.active is not None` and adds events that are over; a thread writes them
a few times a second. Each write replaces the end of the file, so that it is a whole JSON array
between any two, also after a kill -9; of a write that was itself cut off the merge drops the last
line. Times are those of the host's monotonic clock, in microseconds; the first events tell what
that clock is worth elsewhere (`clock`).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from distflow.base import flags, log
from distflow.base.place import here

FLUSH_SECONDS = 0.2
EVENTS_AT_ONCE = 64
_END = b"\n]\n"
_ROWS = {"MainThread": "main", "distflow-courier": "comm", "distflow-checkpoint": "checkpoint"}

now: Callable[[], int] = time.monotonic_ns  # one clock for all processes of a host

active: Timeline | None = None  # what hot code asks
_opened: Timeline | None = None


class Timeline:
    """The file of one worker.

    Args:
      folder: where it is made.
      most_bytes: at that size recording ends, with a warning.
    """

    def __init__(self, folder: str | os.PathLike[str], most_bytes: int):
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        self.path = path / f"timeline-{here.host}-{os.getpid()}.json"
        self._most_bytes = most_bytes
        self._events: deque[tuple[Any, ...]] = deque()
        self._rows: dict[int, int] = {}
        self._clock: dict[str, Any] = {"boot": boot_id(), "offset_ns": None, "rtt_ns": None}
        self._lock = threading.Lock()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._at = os.write(self._file, b"[\n") + os.write(self._file, self._clock_line()[:-2])
        os.pwrite(self._file, _END, self._at)
        self._ended = threading.Event()
        threading.Thread(target=self._serve, name="distflow-timeline", daemon=True).start()

    # -- what hot code calls -------------------------------------------------------------

    def add(
        self, name: str, kind: str, start: int, args: dict[str, Any] | None = None,
        end: int | None = None,
    ) -> None:  # fmt: skip
        """Adds an event of the calling thread.

        Args:
          name: what is shown.
          kind: compute, comm, wait, input, checkpoint or job: the event's category.
          start: when it began, as `now` gives it.
          args: shown with it, what JSON can hold.
          end: when it ended; now.
        """
        ident = threading.get_ident()
        if ident not in self._rows:
            self._add_row(ident)
        self._events.append((name, kind, self._rows[ident], start, end or now(), args, None))

    def flow(self, key: str, *, starts: bool, at: int) -> None:
        """Adds one end of an arrow from a send to its receipt; `at` lies in an event there."""
        ident = threading.get_ident()
        if ident not in self._rows:
            self._add_row(ident)
        self._events.append((key, "comm", self._rows[ident], at, at, None, starts))

    # -- what is known of the worker -----------------------------------------------------

    def tell_clock(self, offset_ns: int, rtt_ns: int) -> None:
        """Notes what to add to this host's clock to have rank 0's, measured over so long a trip."""
        self._clock |= {"offset_ns": offset_ns, "rtt_ns": rtt_ns}
        self.tell()

    def tell(self) -> None:
        """Writes again who this worker is: its rank is known now."""
        with self._lock:
            self._write(self._clock_line())

    def flush(self) -> None:
        """Writes what was added."""
        with self._lock:
            self._flush()

    def close(self) -> None:
        """Writes what was added and ends the file. Idempotent."""
        self._ended.set()
        with self._lock:
            if self._file >= 0:
                self._flush()
                os.close(self._file)
                self._file = -1

    def _add_row(self, ident: int) -> None:
        name = threading.current_thread().name
        with self._lock:
            row = self._rows.setdefault(ident, 1 + len(self._rows))
            self._write(_line({
                "ph": "M", "name": "thread_name", "pid": os.getpid(), "tid": row,
                "args": {"name": _ROWS.get(name, name)},
            }))  # fmt: skip

    def _clock_line(self) -> bytes:
        rank = here.known_rank()
        name = f"rank {rank}" if rank is not None else "worker"
        place = {
            "rank": rank, "host": here.host, "process": os.getpid(),
            "job": flags.get("DISTFLOW_JOB") or "",
            "monotonic_ns": now(), "unix_ns": time.time_ns(),
        }  # fmt: skip
        meta = {"ph": "M", "pid": os.getpid(), "tid": 0}
        title = {"name": f"{name} ({here.host}, process {os.getpid()})"}
        return _line({**meta, "name": "process_name", "args": title}) + _line(
            {**meta, "name": "clock", "args": {**self._clock, **place}}
        )

    # -- the file ------------------------------------------------------------------------

    def _serve(self) -> None:
        # All workers of a host write at the same moments of the clock they share: they wait for
        # each other in every step, so what holds one up at a time of its own holds up all.
        while not self._ended.wait(FLUSH_SECONDS - now() / 1e9 % FLUSH_SECONDS):
            self.flush()

    def _flush(self) -> None:
        """Writes what there is now; the lock is held.

        Sleeping for no time lets the training thread go on, which else would wait for all of it.
        """
        events, lines, pid = self._events, [], os.getpid()
        for number in range(len(events)):
            if number % EVENTS_AT_ONCE == EVENTS_AT_ONCE - 1:
                time.sleep(0)
            name, kind, row, start, end, args, starts = events.popleft()
            if starts is not None:
                ends = '"ph":"s"' if starts else '"ph":"f","bp":"e"'
                lines.append(
                    f'{{{ends},"name":"sent","cat":"comm","id":"{name}","pid":{pid},"tid":{row},'
                    f'"ts":{start}e-3}},\n'
                )
                continue
            # Microseconds, in the form that costs no float; there are ten events in a short step.
            quoted = f'"{name}"' if _is_plain(name) else json.dumps(name)
            shown = "" if args is None else f',"args":{_members(args)}'
            lines.append(
                f'{{"ph":"X","name":{quoted},"cat":"{kind}","pid":{pid},"tid":{row},'
                f'"ts":{start}e-3,"dur":{end - start}e-3{shown}}},\n'
            )
        if lines:
            self._write("".join(lines).encode())

    def _write(self, lines: bytes) -> None:
        """Puts lines, each with a comma, before the end of the array; the lock is held."""
        if self._file < 0:
            return
        data = b",\n" + lines[:-2]
        try:
            os.pwrite(self._file, data + _END, self._at)
        except OSError as error:  # a full disk must not end the training
            log.get_logger().warning("timeline: cannot write %s: %s", self.path, error)
            stop()
            return
        self._at += len(data)
        if self._at > self._most_bytes and active is self:
            stop()
            log.get_logger().warning(
                "timeline: %s has reached DISTFLOW_TIMELINE_MB; recording has ended", self.path
            )


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b",\n"


# Whether a text stands for itself between quotes.
_is_plain = re.compile(r"[ !#-\[\]-~]*").fullmatch


def _members(args: dict[str, Any]) -> str:
    if len(args) == 1:  # the bytes of a bucket, with every step
        ((name, value),) = args.items()
        if type(value) is int:
            return f'{{"{name}":{value}}}'
    return json.dumps(args)


def boot_id() -> str:
    """Returns what is equal for all processes that share a monotonic clock."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return here.host


# -- starting and stopping ---------------------------------------------------------------


def start() -> None:
    """Starts recording into DISTFLOW_TIMELINE, or goes on with it; nothing without that setting."""
    global active, _opened
    folder = flags.get("DISTFLOW_TIMELINE")
    if not folder or active is not None:
        return
    if _opened is None:
        try:
            _opened = Timeline(folder, flags.get("DISTFLOW_TIMELINE_MB") << 20)
        except OSError as error:
            log.get_logger().warning("timeline: cannot write to DISTFLOW_TIMELINE: %s", error)
            return
    active = _opened


def stop() -> None:
    """Stops recording; what was recorded stays, and `start` goes on with it."""
    global active
    active = None


def close() -> None:
    """Ends recording and the file."""
    global _opened
    stop()
    if _opened is not None:
        _opened.close()
        _opened = None


def install() -> None:
    """Does what DISTFLOW_TIMELINE asks for, in the process that imports distflow."""
    if not flags.get("DISTFLOW_TIMELINE"):
        return
    atexit.register(close)
    os.register_at_fork(after_in_child=_forget)
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, _toggle)
    if flags.get("DISTFLOW_TIMELINE_AT_START"):
        start()


def tell() -> None:
    """Writes again who this worker is, if there is a timeline."""
    if _opened is not None:
        _opened.tell()


def tell_clock(offset_ns: int, rtt_ns: int) -> None:
    """Notes the offset of this host's clock, if there is a timeline."""
    if _opened is not None:
        _opened.tell_clock(offset_ns, rtt_ns)


@contextlib.contextmanager
def span(name: str, kind: str, **args: Any) -> Iterator[None]:
    """Shows the block as an event, if somebody records: for what happens rarely."""
    begun = now()
    try:
        yield
    finally:
        if active is not None:
            active.add(name, kind, begun, args or None)


def _toggle(number: int, frame: FrameType | None) -> None:
    # Not in the handler itself: the main thread may hold the timeline's lock.
    threading.Thread(target=start if active is None else stop, daemon=True).start()


def _forget() -> None:
    """The file belongs to the parent of a fork."""
    global active, _opened
    active = _opened = None
