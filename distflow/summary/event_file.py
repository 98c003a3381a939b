"""EventFile: a file of events that TensorBoard follows while it grows."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import socket
import threading
import time
import weakref
from typing import Any

import numpy as np

from distflow.base import errors
from distflow.protos import summary_pb2 as pb
from distflow.summary import records

_VERSION = "brain.Event:2"
# TF's numbers of dtypes (tensorflow/core/framework/types.proto).
_DTYPES = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "complex64": 8,
    "int64": 9, "bool": 10, "bfloat16": 14, "uint16": 17, "complex128": 18, "float16": 19,
    "uint32": 22, "uint64": 23,
}  # fmt: skip
_STRING = 7

_numbers = itertools.count()
_open: weakref.WeakSet[EventFile] = weakref.WeakSet()


class EventFile:
    """One file in a folder, made with the first event.

    Args:
      folder: where; made if it is not there.
      max_queue: events that are kept back at most.
      flush_seconds: how long they are at most, when another one comes.
      suffix: end of the name.
    """

    def __init__(
        self, folder: str | os.PathLike[str], max_queue: int = 10, flush_seconds: float = 120.0,
        suffix: str = "",
    ):  # fmt: skip
        self.folder = os.fspath(folder)
        self.path: str | None = None
        self._max_queue, self._flush_seconds, self._suffix = max_queue, flush_seconds, suffix
        self._file: Any = None
        self._waiting: list[bytes] = []
        self._flushed = time.monotonic()
        self._lock = threading.RLock()

    def add(self, tag: str, tensor: Any, step: int, metadata: Any = None) -> None:
        """Adds a tensor (an array, or bytes and text in one).

        Args:
          metadata: pb.SummaryMetadata: which dashboard shows it.
        """
        value = pb.Summary.Value(tag=tag, tensor=tensor_proto(tensor), metadata=metadata)
        self.add_event(pb.Event(step=int(step), summary=pb.Summary(value=[value])))

    def add_event(self, event: pb.Event) -> None:
        """Adds any event, with the present time if it has none."""
        event.wall_time = event.wall_time or time.time()
        self.add_bytes(event.SerializeToString())

    def add_bytes(self, event: bytes) -> None:
        """Adds a serialised event."""
        with self._lock:
            if self._file is None:
                self._start()
            self._waiting.append(records.encode(event))
            late = time.monotonic() - self._flushed > self._flush_seconds
            if len(self._waiting) > self._max_queue or late:
                self.flush()

    def flush(self) -> None:
        """Puts what was added into the file."""
        with self._lock:
            if self._file is not None:
                self._file.write(b"".join(self._waiting))
                self._file.flush()
                self._waiting = []
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Ends the file; what is added later begins another one."""
        with self._lock:
            self.flush()
            if self._file is not None:
                self._file.close()
                self._file = None
                _open.discard(self)

    def __del__(self) -> None:
        # A writer that nobody has closed loses nothing.
        with contextlib.suppress(OSError):
            self.close()

    def _start(self) -> None:
        os.makedirs(self.folder, exist_ok=True)
        # Names hold the second only: a number tells those of one second apart.
        name = (
            f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}."
            f"{next(_numbers)}{self._suffix}"
        )
        self.path = os.path.join(self.folder, name)
        self._file = open(self.path, "wb")
        _open.add(self)
        first = pb.Event(wall_time=time.time(), file_version=_VERSION)
        self._waiting = [records.encode(first.SerializeToString())]
        self.flush()


def tensor_proto(value: Any) -> pb.TensorProto:
    """Returns an array as TensorBoard reads it.

    Raises:
      InvalidArgumentError: for a dtype that it does not know.
    """
    array = np.asarray(value)
    shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=n) for n in array.shape])
    if array.dtype.kind in "OSU":
        strings = [x.encode() if isinstance(x, str) else bytes(x) for x in array.reshape(-1)]
        return pb.TensorProto(dtype=_STRING, tensor_shape=shape, string_val=strings)
    number = _DTYPES.get(array.dtype.name)
    if number is None:
        raise errors.invalid("summary", "numbers, truth values or text", str(array.dtype))
    content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    return pb.TensorProto(dtype=number, tensor_shape=shape, tensor_content=content.tobytes())


def metadata(plugin: str, data_class: int, content: bytes = b"", description: Any = None) -> Any:
    """Returns what says that a plugin shows a value."""
    return pb.SummaryMetadata(
        plugin_data=pb.SummaryMetadata.PluginData(plugin_name=plugin, content=content),
        summary_description=description or "", data_class=data_class,
    )  # fmt: skip


@atexit.register
def _close_all() -> None:
    for file in list(_open):
        file.close()
