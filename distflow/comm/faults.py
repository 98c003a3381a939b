"""Faults at named places, for tests: DISTFLOW_FAULT="kill@before-compute:12@1" kills worker 1 when
it comes to the computation of event 12.

Several are separated by commas; "*" is any event, and without a worker any does it. Without the
variable nothing happens.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from typing import NamedTuple

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
    "state-receive",
    "replay",
    "checkpoint",
)
ACTIONS = ("kill", "stop", "term", "stall")
STALL_SECONDS = 3600.0


class Fault(NamedTuple):
    """What happens to which worker, and where."""

    action: str
    phase: str
    position: int | None
    worker: int | None


@functools.lru_cache(maxsize=8)
def parse(text: str) -> tuple[Fault, ...]:
    """Returns the faults of DISTFLOW_FAULT.

    Raises:
      InvalidArgumentError: if the text is not of the form.
    """
    found = []
    for item in filter(None, text.split(",")):
        action, _, rest = item.partition("@")
        place, _, worker = rest.partition("@")
        phase, _, position = place.partition(":")
        is_number = position.isdigit() or position == "*"
        good = action in ACTIONS and phase in PHASES and is_number
        if not good or not (worker.isdigit() or not worker):
            raise errors.invalid(
                "DISTFLOW_FAULT",
                f"action@phase:position[@worker] with an action of {', '.join(ACTIONS)} and a "
                f"phase of {', '.join(PHASES)}",
                repr(item),
            )
        found.append(Fault(action, phase, _number(position), _number(worker)))
    return tuple(found)


_done: set[Fault] = set()
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
        is_mine = fault.worker is None or fault.worker == flags.get("DISTFLOW_RANK")
        is_here = fault.phase == phase and fault.position in (None, _position)
        if is_here and is_mine and fault not in _done:
            _done.add(fault)
            _act(fault.action)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def _act(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        time.sleep(STALL_SECONDS)
