"""Tells the launcher a few times a second how far this worker is, and of what it dies.

`distflow run` names a socket in DISTFLOW_REPORT; without it nothing here does anything. A message
is one datagram of JSON; one that finds no room is dropped, so that no worker waits for its
launcher. A thread sends them, so a step pays nothing, and a worker that is stuck still says so.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from distflow.base import flags
from distflow.base.place import here
from distflow.telemetry import metrics

EVERY_SECONDS = 0.25
MAX_CHARACTERS = 30_000  # of a traceback: the kernel limits a datagram

# Numbers that the training loop has noted: "loss" and the like.
_noted: dict[str, float] = {}
_pulse: Pulse | None = None
_told: BaseException | None = None


class Pulse:
    """The thread that sends, and the socket.

    Args:
      path: the launcher's socket.

    Attributes:
      is_due: whether the training loop should note its numbers again.
    """

    def __init__(self, path: str):
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._ended = threading.Event()
        self.is_due = True
        threading.Thread(target=self._serve, name="distflow-pulse", daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message with this worker's rank, if there is room for it."""
        rank = here.launched_rank()
        if rank is None:
            return
        data = json.dumps({"rank": rank, "process": os.getpid(), **message}).encode()
        with contextlib.suppress(OSError):  # full, or the launcher has gone
            self._socket.sendto(data, self._path)

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()

    def _serve(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            self.send(state())
            self.is_due = True
        self._socket.close()


def state() -> dict[str, Any]:
    """Returns what a pulse says: steps, seconds waited for others, the loop's own numbers."""
    found: dict[str, Any] = {
        "step": here.step,
        "exposed": metrics.exposed_seconds.value,
        "generation": here.generation,
    }
    return found | _noted


def is_due() -> bool:
    """Whether a number of the training loop is wanted again; if not, do not compute one."""
    return _pulse is not None and _pulse.is_due


def note(name: str, value: float) -> None:
    """Has the pulse carry a number, such as the loss, from now on; NaN is left out."""
    if _pulse is not None:
        _pulse.is_due = False
        if math.isfinite(value):
            _noted[name] = float(value)


def tell_error(
    kind: Any, error: BaseException, trace: TracebackType | None, *, is_echo: bool = False,
    text: str | None = None,
) -> None:  # fmt: skip
    """Tells the launcher of the error that ends this process; the same one only once.

    Args:
      is_echo: whether it is what another worker's failure has caused here.
      text: how it is shown; its whole traceback if None.
    """
    global _told
    if _pulse is None or error is _told:
        return
    _told = error
    text = text or "".join(traceback.format_exception(kind, error, trace))
    if len(text) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        left_out = f"\n  ... {len(text) - 2 * half} characters left out ...\n"
        text = text[:half] + left_out + text[-half:]
    _pulse.send({"error": kind.__name__, "traceback": text, "step": here.step, "echo": is_echo})


def install() -> None:
    """Does what DISTFLOW_REPORT asks for, in the process that imports distflow."""
    global _pulse
    path = flags.get("DISTFLOW_REPORT")
    if not path or _pulse is not None:
        return
    _pulse = Pulse(path)
    os.register_at_fork(after_in_child=_forget)
    before = sys.excepthook

    def hook(kind: Any, error: BaseException, trace: TracebackType | None) -> None:
        tell_error(kind, error, trace)
        before(kind, error, trace)

    sys.excepthook = hook


def _forget() -> None:
    """The pulse is the parent's: its thread does not run in the child of a fork."""
    global _pulse
    _pulse = None
