"""What is said of a peer that lets others wait: a warning in time, and where its program is.

The peer's transport lives in threads, so that it can tell its main thread's Python stack also when
that is stuck.
"""

from __future__ import annotations

import sys
import threading
import traceback

from distflow.base import log
from distflow.comm.transport import base

MAX_STACK_BYTES = 16_000
WARN_SECONDS = 5.0
# A wait counts as a stall when it is so many times the longest usual one.
TIMES_USUAL = 10.0


def own_stack() -> bytes:
    """Returns the stack of this process's main thread as text, the innermost frames last."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    text = "".join(traceback.format_stack(frame)) if frame is not None else "(it has ended)"
    return text.encode("utf-8", "replace")[-MAX_STACK_BYTES:]


class Patience:
    """How long waits usually are here, and from when on one is remarkable."""

    def __init__(self) -> None:
        self._usual = 0.0

    @property
    def seconds(self) -> float:
        """A wait of so long is worth a warning."""
        return max(WARN_SECONDS, TIMES_USUAL * self._usual)

    def note(self, seconds: float) -> None:
        """Notes a wait that came to a good end."""
        self._usual += 0.1 * (seconds - self._usual)


def warn(rank: int, peer: int, what: str, seconds: float, place: str = "") -> None:
    """Says that a peer is late, and at which place (host, process) it is."""
    log.get_logger().warning(
        "%s: rank %d waits for %s since %.1f s", what, rank, base.called(peer, place), seconds
    )


def warn_with_stack(rank: int, peer: int, stack: bytes) -> str:
    """Says where a late peer's program is; returns the text of the stack."""
    text = stack[:MAX_STACK_BYTES].decode("utf-8", "replace").rstrip()
    log.get_logger().warning(
        "rank %d waits for rank %d, whose program is at:\n%s", rank, peer, text
    )
    return text
