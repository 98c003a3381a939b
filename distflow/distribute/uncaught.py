"""How a worker ends with an error that nobody caught, and how the others hear of it.

When one worker fails all others fail as well. Theirs are echoes: a page of our own frames on each
of them would bury the first failure, so only the program's own frames are shown.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from distflow.base import errors, log
from distflow.comm import Communicator, Transport
from distflow.comm.transport.base import exit_code
from distflow.telemetry import pulse

# What a worker raises because of another one.
ECHOES = (
    errors.WorkerLostError,
    errors.WorkerLateError,
    errors.AbortedError,
    errors.CollectiveMismatchError,
)
# Frames of these files say nothing to the reader of an echo.
_INNER = (os.path.dirname(os.path.dirname(__file__)) + os.sep, contextlib.__file__)

# An echo ends this much after its message: launchers take whoever ends first for the cause.
ECHO_SECONDS = 1.0
# Time for the cause to reach the other workers before the process ends.
TELL_SECONDS = 0.2

_installed = False
_transport: Transport | None = None


def install(exits: bool) -> None:
    """Makes uncaught errors of this process short, and echoes end later than their cause.

    Args:
      exits: whether the process ends here, with the error's exit code; over MPI its transport
        sees to that, as the whole job must be aborted.
    """
    global _installed
    if _installed:
        return
    _installed = True
    before = sys.excepthook

    def hook(kind: Any, error: BaseException, trace: TracebackType | None) -> None:
        is_echo = isinstance(error, ECHOES)
        is_short = is_echo and not log.get_logger().isEnabledFor(logging.DEBUG)
        text = shortened(error) if is_short else None
        pulse.tell_error(kind, error, trace, is_echo=is_echo, text=text)
        if isinstance(error, KeyboardInterrupt):
            sys.stderr.write("interrupted\n")
        elif text is not None:
            sys.stderr.write(text)
        else:
            before(kind, error, trace)
        sys.stdout.flush()
        sys.stderr.flush()
        if is_echo:
            time.sleep(ECHO_SECONDS)
        elif _transport is not None:
            _transport.abort(error)
            time.sleep(TELL_SECONDS)
        if exits and exit_code(error) != 1:
            os._exit(exit_code(error))

    sys.excepthook = hook


def tell(transport: Transport) -> None:
    """Makes an uncaught error known to the other workers, who then quote it."""
    global _transport
    _transport = transport


@contextlib.contextmanager
def told_to_others(strategy: Any) -> Iterator[None]:
    """Ends the waiting of other workers when the block fails: they raise an error that quotes it.

    For what one worker does while the others go on to their next collective.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(communicator := getattr(strategy, "communicator", None), Communicator):
            communicator.abort(error)
        raise


def shortened(error: BaseException) -> str:
    """Returns the traceback of an error with the frames of the program alone."""
    whole = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in whole.stack if not frame.filename.startswith(_INNER)]
    hidden = len(whole.stack) - len(frames)
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
    if hidden:
        lines.append(f"  ({hidden} lines of distflow; DISTFLOW_LOG_LEVEL=DEBUG shows them)\n")
    return "".join([*lines, *whole.format_exception_only()])
