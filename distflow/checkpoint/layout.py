"""The files of a checkpoint: a manifest in JSON that names a file of raw values.

`<prefix>.index` is two lines of JSON: a head with the SHA-256 of the second, and the manifest:
what each value is (dtype, shape, offset, bytes, SHA-256), the graph of objects that held them, and
facts (step, seed, versions). `<prefix>.data-<digest>` is the values' bytes one after another,
little-endian, in C order. The manifest comes last, and a data file is never written to again, so a
save that is interrupted anywhere leaves what was there before. Nothing is pickled.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distflow.base import dtypes, errors
from distflow.checkpoint import disk

_FORMAT = "distflow checkpoint"
_VERSION = 1
# A damaged head must not make us read gigabytes.
_LONGEST_HEAD = 4096
_BY_NAME = {d.name: d for d in dtypes.ALL}


@dataclass(frozen=True)
class Entry:
    """Where one value lies in the data file, and what it is."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds.

    Args:
      prefix: the path that `save` returned.
      data: name of the data file, in the same folder.
      entries: the values by key.
      objects: the graph of objects, see `trackable`; a list that JSON can hold.
      facts: step, seed, versions, `saved_at` in nanoseconds, and what the caller added.
    """

    prefix: str
    data: str
    entries: Mapping[str, Entry]
    objects: list[dict[str, Any]] = field(default_factory=list)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def data_path(self) -> str:
        """Path of the data file."""
        return os.path.join(os.path.dirname(self.prefix), self.data)

    @property
    def num_bytes(self) -> int:
        """Bytes of all values."""
        return sum(entry.num_bytes for entry in self.entries.values())


def index_path(prefix: str) -> str:
    """Returns the path of the manifest."""
    return f"{prefix}.index"


def write(
    prefix: str,
    values: Mapping[str, np.ndarray[Any, Any]],
    objects: list[dict[str, Any]],
    facts: Mapping[str, Any],
) -> None:
    """Writes a checkpoint; on an error, or when killed, an older one at `prefix` stays loadable.

    Args:
      prefix: path without an ending.
      values: arrays by key; not changed meanwhile.
      objects: kept for `read_manifest`; must be what JSON can hold.
      facts: likewise; versions and the time are added.

    Raises:
      ResourceExhaustedError: if the disk is full; other classes as in `disk.write_file`.
    """
    blobs = {key: _bytes_of(key, value) for key, value in values.items()}
    entries, offset = {}, 0
    for key, blob in blobs.items():
        value = np.asarray(values[key])
        sha = hashlib.sha256(blob).hexdigest()
        entries[key] = Entry(
            dtypes.of_array(value).name, tuple(value.shape), offset, len(blob), sha
        )
        offset += len(blob)
    data = f"{os.path.basename(prefix)}.data-{_digest_of(entries)}"
    body = {
        "data": data,
        "values": {key: _to_json(entry) for key, entry in entries.items()},
        "objects": objects,
        "facts": {**facts, "versions": _versions(), "saved_at": time.time_ns()},
    }
    text = json.dumps(body, separators=(",", ":")).encode()
    head = {
        "format": _FORMAT, "version": _VERSION, "bytes": len(text),
        "sha256": hashlib.sha256(text).hexdigest(),
    }  # fmt: skip
    path = os.path.join(os.path.dirname(prefix), data)
    disk.check_space(path, offset + len(text))
    if not _is_there(path, entries):
        disk.write_file(path, blobs.values())
    disk.write_file(index_path(prefix), [json.dumps(head).encode() + b"\n", text + b"\n"])
    _sweep(prefix, keep=data)


def read_manifest(prefix: str) -> Manifest:
    """Returns the manifest of a checkpoint.

    Raises:
      NotFoundError: if there is none.
      DataLossError: if it is damaged, or of a version that is not known.
    """
    path = index_path(prefix)
    try:
        with open(path, "rb") as file, disk.told(path, "read"):
            head_line, text = file.readline(_LONGEST_HEAD), file.read()
    except FileNotFoundError:
        raise errors.NotFoundError(
            f"restore: expected a checkpoint at {prefix}; received no file {path}.\n"
            "Check the path: the number at the end (path/to/ckpt-1) belongs to it. "
            "tf.train.latest_checkpoint(folder) finds the newest."
        ) from None
    try:
        head = json.loads(head_line)
        if head["format"] != _FORMAT or set(head) != {"format", "version", "bytes", "sha256"}:
            raise ValueError("no checkpoint of distflow")
        version = head["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"a head that cannot be read ({error})") from None
    if version != _VERSION:
        raise errors.DataLossError(
            f"restore: {path}: expected version {_VERSION} of the format; received {version}."
        )
    if not text.endswith(b"\n") or len(text) - 1 != head["bytes"]:
        raise _damaged(path, f"{len(text) - 1} bytes where {head['bytes']} were written")
    found = hashlib.sha256(text[:-1]).hexdigest()
    if found != head["sha256"]:
        raise _damaged(path, f"SHA-256 {found[:12]}… instead of {str(head['sha256'])[:12]}…")
    return manifest_from_json({"prefix": prefix, **json.loads(text)})


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """Returns the manifest as what JSON can hold."""
    return {
        "prefix": manifest.prefix,
        "data": manifest.data,
        "values": {key: _to_json(entry) for key, entry in manifest.entries.items()},
        "objects": manifest.objects,
        "facts": dict(manifest.facts),
    }


def manifest_from_json(body: Mapping[str, Any]) -> Manifest:
    """Returns the manifest that `manifest_to_json` took apart."""
    entries = {key: _from_json(row) for key, row in body["values"].items()}
    return Manifest(body["prefix"], body["data"], entries, body["objects"], body["facts"])


class Reader:
    """Reads values of a checkpoint, each checked against its SHA-256.

    It holds the data file open: values can be read after the checkpoint was deleted. `close()`, or
    dropping it, closes the file.
    """

    has_values = True

    def __init__(self, prefix: str):
        self.manifest = read_manifest(prefix)
        path = self.manifest.data_path
        try:
            with disk.told(path, "read"):
                self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except errors.NotFoundError:
            raise _damaged(path, "no such file, which the manifest names") from None
        self.close = weakref.finalize(self, os.close, self._file)
        size = os.fstat(self._file).st_size
        if size != self.manifest.num_bytes:
            self.close()
            raise _damaged(path, f"{size} bytes where {self.manifest.num_bytes} were written")

    def read(self, key: str) -> np.ndarray[Any, Any]:
        """Returns a fresh array.

        Raises:
          NotFoundError: if the checkpoint has no such key.
          DataLossError: if the bytes are not those that were written.
        """
        return _value(self.manifest, key, self._bytes)

    def all_bytes(self) -> bytearray:
        """Returns the bytes of all values one after another, unchecked; see `Received`."""
        return self._bytes(0, self.manifest.num_bytes)

    def _bytes(self, offset: int, num_bytes: int) -> bytearray:
        with disk.told(self.manifest.data_path, "read"):
            return _read_at(self._file, offset, num_bytes)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


class Received:
    """A checkpoint that another process has read: the same as a Reader.

    Args:
      manifest: of the checkpoint.
      blob: the bytes of all values (`Reader.all_bytes`); None without them.
    """

    def __init__(self, manifest: Manifest, blob: memoryview | None):
        self.manifest = manifest
        self.has_values = blob is not None
        self._blob = blob or memoryview(b"")

    def read(self, key: str) -> np.ndarray[Any, Any]:
        """Returns a fresh array; raises as a Reader does."""
        return _value(self.manifest, key, lambda start, n: bytearray(self._blob[start : start + n]))

    def close(self) -> None:
        """Drops the values."""
        self._blob = memoryview(b"")


def verify(prefix: str) -> Manifest:
    """Returns the manifest if every byte of the checkpoint is as it was written.

    Raises:
      NotFoundError, DataLossError: see `read_manifest` and `Reader`.
    """
    with Reader(prefix) as reader:
        for key in reader.manifest.entries:
            reader.read(key)
        return reader.manifest


def remove(prefix: str) -> None:
    """Removes a checkpoint: the manifest first, so that no half of it is taken for a whole."""
    disk.disk.remove(index_path(prefix))
    for path in data_files(prefix):
        disk.disk.remove(path)


def data_files(prefix: str) -> list[str]:
    """Returns the data files of a checkpoint, with those that an interrupted save has left."""
    return sorted(glob.glob(f"{glob.escape(prefix)}.data-*"))


def _value(
    manifest: Manifest, key: str, read: Callable[[int, int], bytearray]
) -> np.ndarray[Any, Any]:
    entry = manifest.entries.get(key)
    if entry is None:
        raise errors.NotFoundError(
            f"restore: {manifest.prefix} has no value {key!r}; it has "
            f"{', '.join(list(manifest.entries)[:8]) or 'none'}."
        )
    blob = read(entry.offset, entry.num_bytes)
    if len(blob) != entry.num_bytes or hashlib.sha256(blob).hexdigest() != entry.sha256:
        raise _damaged(manifest.data_path, f"other bytes than written for {key!r}")
    return _array_of(blob, entry)


def _read_at(file: int, offset: int, num_bytes: int) -> bytearray:
    """Returns bytes of a file, fewer where it ends; one call may read less than it is asked for."""
    blob = bytearray(num_bytes)
    view, count = memoryview(blob), 0
    while count < num_bytes:
        part = os.preadv(file, [view[count:]], offset + count)
        if not part:
            return blob[:count]
        count += part
    return blob


def _sweep(prefix: str, keep: str) -> None:
    for path in data_files(prefix):
        if os.path.basename(path) != keep:
            disk.disk.remove(path)
    disk.sweep(prefix)


def _is_there(path: str, entries: Mapping[str, Entry]) -> bool:
    """Whether a data file with these very bytes exists: its name alone does not prove it."""
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        for entry in entries.values():
            if hashlib.sha256(file.read(entry.num_bytes)).hexdigest() != entry.sha256:
                return False
        return not file.read(1)


@functools.cache
def _versions() -> dict[str, str]:
    try:
        own = importlib.metadata.version("distflow")
    except importlib.metadata.PackageNotFoundError:
        own = "(not installed)"
    return {"distflow": own, "numpy": np.__version__, "python": platform.python_version()}


def _digest_of(entries: Mapping[str, Entry]) -> str:
    rows = [[key, *_to_json(entry)] for key, entry in entries.items()]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def _to_json(entry: Entry) -> list[Any]:
    return [entry.dtype, list(entry.shape), entry.offset, entry.num_bytes, entry.sha256]


def _from_json(row: list[Any]) -> Entry:
    dtype, shape, offset, num_bytes, sha = row
    return Entry(dtype, tuple(shape), offset, num_bytes, sha)


def _bytes_of(key: str, value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype == object:
        return _pack_strings(key, array)
    array = np.ascontiguousarray(array)
    if sys.byteorder == "big":
        array = array.byteswap()
    return array.reshape(-1).view(np.uint8).data


def _array_of(blob: bytearray, entry: Entry) -> np.ndarray[Any, Any]:
    kind = _BY_NAME[entry.dtype]
    if kind is dtypes.string:
        return _unpack_strings(blob, entry.shape)
    array = np.frombuffer(blob, kind.numpy).reshape(entry.shape)
    return array.byteswap() if sys.byteorder == "big" else array


def _pack_strings(key: str, array: np.ndarray[Any, Any]) -> bytes:
    words = [w.encode() if isinstance(w, str) else w for w in array.reshape(-1).tolist()]
    if not all(isinstance(word, bytes) for word in words):
        raise errors.invalid("save", f"{key!r} must hold strings or numbers", "Python objects")
    return np.asarray([len(w) for w in words], "<i8").tobytes() + b"".join(words)


def _unpack_strings(blob: bytearray, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    count = int(np.prod(shape, dtype=np.int64))
    lengths = np.frombuffer(blob, "<i8", count).tolist()
    array, start = np.empty(count, object), 8 * count
    for i, length in enumerate(lengths):
        array[i] = bytes(blob[start : start + length])
        start += length
    return array.reshape(shape)


def _damaged(path: str, received: str) -> errors.DataLossError:
    return errors.DataLossError(f"restore: {path} is damaged: received {received}.")
