"""What is left of a job that had to end: its record and state in a file, from which it goes on.

Written when an elastic job has too few workers for too long, or is asked to end as a whole. A job
started again with the same DISTFLOW_ELASTIC_DIR replays the record, as a newcomer does, and goes on
at the event where the other ended: no completed step is lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distflow.base import errors, log
from distflow.distribute import elastic_codec as codec

_DIGEST_BYTES = 32
_PATTERN = "job-*.state"


def save(
    folder: Path,
    messages: Sequence[np.ndarray[Any, Any]],
    state: tuple[Any, Sequence[np.ndarray[Any, Any]]],
) -> Path:
    """Writes a job; the file appears whole or not at all. Returns its path."""
    head, arrays = state
    data = codec.pack({"messages": len(messages), "state": head}, [*messages, *arrays]).tobytes()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"job-{len(messages):012d}.state"
    file, name = tempfile.mkstemp(dir=folder, prefix=".job-")
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(hashlib.sha256(data).digest() + data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    log.get_logger().warning("the job is kept in %s: started again it goes on from there", path)
    return path


def load(
    folder: Path,
) -> tuple[list[np.ndarray[Any, Any]], tuple[Any, list[np.ndarray[Any, Any]]]] | None:
    """Returns (messages, state) of the job that came furthest; None if there is none.

    A damaged file is passed over with a warning.
    """
    for path in sorted(folder.glob(_PATTERN), reverse=True):
        data = path.read_bytes()
        if hashlib.sha256(data[_DIGEST_BYTES:]).digest() == data[:_DIGEST_BYTES]:
            with contextlib.suppress(errors.DataLossError, KeyError, TypeError):
                head, arrays = codec.unpack(np.frombuffer(data[_DIGEST_BYTES:], np.uint8))
                count = head["messages"]
                return arrays[:count], (head["state"], arrays[count:])
        log.get_logger().warning("%s is damaged and passed over", path)
    return None


def remove(folder: Path) -> None:
    """Removes what was kept: the job has come to its end."""
    for path in folder.glob(_PATTERN):
        with contextlib.suppress(OSError):
            path.unlink()
