"""cache: the elements of the first complete pass, kept in memory or in a file.

A file holds, after a magic line, each element's leaves as NumPy arrays (never pickled); strings
are their lengths and their bytes. It appears under its name only when the pass is complete.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from distflow.base import dtypes, errors, nest, parsing
from distflow.core.tensor import EagerTensor
from distflow.data import position, structure
from distflow.data.node import Node, Run

_MAGIC = b"distflow cache 1\n"


class Memory:
    """Where a complete pass is kept."""

    def __init__(self) -> None:
        self.elements: list[Any] | None = None
        # Where the random steps below stood when the pass began, see `position`.
        self.before: list[Any] | None = None


@dataclass(frozen=True, eq=False)
class Cache(Node):
    """The source, read once. A pass that is given up half-way keeps nothing."""

    source: Node
    path: str
    memory: Memory = field(default_factory=Memory, init=False)

    def elements(self, run: Run) -> Iterator[Any]:
        """Yields the kept elements, or those of the source while keeping them."""
        if self.path:
            if os.path.exists(self._file()):
                return _read(self._file(), self.source.spec)
            return self.source.elements(run) if run.peek else self._write(run)
        if self.memory.elements is not None:
            return iter(self.memory.elements)
        return self.source.elements(run) if run.peek else self._remember(run)

    def _remember(self, run: Run) -> Iterator[Any]:
        kept = []
        before = position.state(self.source)
        for value in self.source.elements(run):
            kept.append(value)
            yield value
        self.memory.elements, self.memory.before = kept, before

    def _file(self) -> str:
        return f"{self.path}.cache"

    def _write(self, run: Run) -> Iterator[Any]:
        target = Path(self._file())
        try:
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        except OSError as error:
            raise errors.NotFoundError(
                f"cache: expected a folder that can be written to; received {str(target)!r} "
                f"({error})."
            ) from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC)
                for value in self.source.elements(run):
                    for leaf in nest.flatten(value):
                        _write_leaf(file, leaf.array)
                    yield value
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def _spec(self) -> Any:
        return self.source.spec

    @property
    def cardinality(self) -> int:
        """That of the source."""
        return self.source.cardinality


def _write_leaf(file: BinaryIO, array: Any) -> None:
    if array.dtype != object:
        # bfloat16 is no dtype of the .npy format: its bytes are stored, the spec tells them apart.
        plain = array.view(np.uint16) if dtypes.of_array(array) is dtypes.bfloat16 else array
        np.lib.format.write_array(file, plain, allow_pickle=False)
        return
    strings = array.reshape(-1).tolist()
    lengths = np.array([len(s) for s in strings], np.int64).reshape(array.shape)
    np.lib.format.write_array(file, lengths, allow_pickle=False)
    file.write(b"".join(strings))


def _read(path: str, spec: Any) -> Iterator[Any]:
    kinds = [leaf.dtype for leaf in nest.flatten(spec)]
    pack: Callable[[list[Any]], Any] = structure.packer(spec)
    with open(path, "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise errors.DataLossError(
                f"cache: expected a file that cache() wrote; received {path!r}.\n"
                "Delete the file to have it written anew."
            )
        while file.peek(1):
            try:
                yield pack([EagerTensor(_read_leaf(file, kind)) for kind in kinds])
            except (ValueError, EOFError) as error:
                raise errors.DataLossError(
                    f"cache: expected complete elements of {spec!r}; {path!r} ends or differs "
                    f"at byte {file.tell()}.\nDelete the file to have it written anew."
                ) from error


def _read_leaf(file: BinaryIO, kind: dtypes.DType) -> Any:
    array = parsing.read_array(file)
    if kind is dtypes.bfloat16:
        return array.view(kind.numpy)
    if kind is not dtypes.string:
        if array.dtype != kind.numpy:
            raise ValueError(f"{array.dtype} instead of {kind.name}")
        return array
    result = np.empty(array.size, object)
    for i, length in enumerate(array.reshape(-1).tolist()):
        result[i] = file.read(length)
        if len(result[i]) != length:
            raise EOFError
    return result.reshape(array.shape)
