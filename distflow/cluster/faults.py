"""Faults at named places, for tests: DISTFLOW_FAULT="kill@before-compute:12" kills this worker when
it comes to event 12's computation.

Several are separated by commas. Without the variable nothing happens.
"""

from __future__ import annotations

import functools
import os
import signal
import time

from distflow.base import errors, flags

# Where a fault can be. The number is the position of the job (completed events).
PHASES = (
    "before-compute",
    "before-reduce",
    "mid-send",
    "mid-receive",
    "before-commit",
    "after-commit",
    "state-transfer",
    "replay",
)
ACTIONS = ("kill", "stop", "term", "stall")
STALL_SECONDS = 3600.0


@functools.lru_cache(maxsize=8)
def parse(text: str) -> tuple[tuple[str, str, int], ...]:
    """Returns (action, phase, position) of each fault.

    Raises:
      InvalidArgumentError: if the text is not of the form.
    """
    found = []
    for item in filter(None, text.split(",")):
        action, _, rest = item.partition("@")
        phase, _, position = rest.partition(":")
        if action not in ACTIONS or phase not in PHASES or not position.isdigit():
            raise errors.invalid(
                "DISTFLOW_FAULT",
                f"action@phase:position with an action of {', '.join(ACTIONS)} and a phase of "
                f"{', '.join(PHASES)}",
                repr(item),
            )
        found.append((action, phase, int(position)))
    return tuple(found)


_done: set[tuple[str, str, int]] = set()
_position = 0


def reach(phase: str, position: int | None = None) -> None:
    """Does what DISTFLOW_FAULT asks for here, once. Transports know no position: the last is it."""
    global _position
    text = flags.get("DISTFLOW_FAULT")
    if position is not None:
        _position = position
    if not text:
        return
    for fault in parse(text):
        if fault[1:] == (phase, _position) and fault not in _done:
            _done.add(fault)
            _act(fault[0])


def _act(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        time.sleep(STALL_SECONDS)
