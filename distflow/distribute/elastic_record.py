"""The record of a job: what every completed event gave, kept by every worker, in a file without a
name.

Events are steps (`strategy.run`), agreements and initial values of variables, in the order in which
all workers come to them. A newcomer runs the same program from its start: with the record it need
not compute the steps that are over, yet sees what they gave.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.distribute import elastic_codec as codec


class Record:
    """Messages of `elastic_codec`, numbered from 0. One thread appends, any may read."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="distflow-record-")
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._ends)

    def append(self, message: np.ndarray[Any, Any]) -> None:
        """Adds a message."""
        start = self._ends[-1] if self._ends else 0
        view, written = np.ascontiguousarray(message).data.cast("B"), 0
        while written < len(view):
            written += os.pwrite(self._file.fileno(), view[written:], start + written)
        self._ends.append(start + len(view))

    def extend(self, messages: Sequence[np.ndarray[Any, Any]]) -> None:
        """Adds messages."""
        for message in messages:
            self.append(message)

    def message(self, index: int) -> np.ndarray[Any, Any]:
        """Returns a message as uint8."""
        start = self._ends[index - 1] if index else 0
        size = self._ends[index] - start
        return np.frombuffer(os.pread(self._file.fileno(), size, start), np.uint8)

    def read(self, index: int) -> tuple[Any, list[np.ndarray[Any, Any]]]:
        """Returns head and arrays of a message."""
        return codec.unpack(self.message(index))

    def messages(self, start: int, max_bytes: float = float("inf")) -> list[np.ndarray[Any, Any]]:
        """Returns messages from `start`: all, or as many as fit, at least one if there is one."""
        found: list[np.ndarray[Any, Any]] = []
        size = 0
        for index in range(start, len(self._ends)):
            message = self.message(index)
            size += message.size
            if found and size > max_bytes:
                break
            found.append(message)
        return found

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()
