"""Arrays that all workers of a host can see, so that they are reduced where they lie."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from distflow.base import errors
from distflow.comm.buckets import Spec, layout_of
from distflow.comm.group import Placement
from distflow.comm.round import Round
from distflow.comm.transport.shared_file import HEAD_BYTES, SharedFile

_PAGE = 4096


class SharedArrays(Mapping[int, Sequence[np.ndarray]]):
    """Arrays of one form for each local replica: `Communicator.allocate` makes them.

    A mapping from replica to its arrays, to be filled and given to `Communicator.all_reduce`, which
    leaves the sum in `result`, without copies where workers share memory.

    Attributes:
      specs: shapes and dtypes of the arrays of a replica.
      num_bytes: the size of them.
      result: the arrays of the first local replica.
      flats: for each of all V replicas its flat buffers, one a dtype; None without shared memory.
    """

    def __init__(self, placement: Placement, rank: int, specs: tuple[Spec, ...]):
        self.specs = specs
        self.num_bytes = sum(spec.num_bytes for spec in specs)
        self.flats: list[list[np.ndarray]] | None = None
        self._placement = placement
        self._replicas = placement.replicas_of(rank)
        self._set({r: [np.zeros(spec.shape, spec.dtype) for spec in specs] for r in self._replicas})

    def _set(self, arrays: dict[int, list[np.ndarray]]) -> None:
        self._arrays = {replica: tuple(values) for replica, values in arrays.items()}
        self.result = self._arrays[self._replicas[0]] if self._replicas else ()

    def move_to(self, file: SharedFile) -> None:
        """Lets the arrays lie in a file that all workers have mapped."""
        layout, size = layout_of(self.specs), _replica_bytes(self.specs)
        self.flats = []
        for replica in range(self._placement.num_replicas):
            start = HEAD_BYTES + replica * size
            flats = []
            for dtype, count in zip(layout.dtypes, layout.sizes, strict=True):
                flats.append(file.data[start : start + count * dtype.itemsize].view(dtype))
                start += _pages(count * dtype.itemsize)
            self.flats.append(flats)
        self._set({r: layout.unpack(self.flats[r]) for r in self._replicas})

    def __getitem__(self, replica: int) -> Sequence[np.ndarray]:
        return self._arrays[replica]

    def __iter__(self) -> Iterator[int]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def allocate(
    round_: Round, placement: Placement, specs: tuple[Spec, ...], shares_memory: bool
) -> SharedArrays:
    """Returns arrays of zeros, in memory of all workers if they all can have it.

    Args:
      round_: of a call in which all workers give the same specs.
      placement: which worker holds which replicas.
      specs: shapes and dtypes of the arrays of a replica.
      shares_memory: whether the workers share memory; if not, no time is spent on trying.
    """
    arrays = SharedArrays(placement, round_.rank, specs)
    size = HEAD_BYTES + placement.num_replicas * _replica_bytes(specs)
    file, ticket = None, b"null"
    if round_.rank == 0 and shares_memory:
        with contextlib.suppress(errors.OpError, OSError):
            file = SharedFile.create(size)
            ticket = json.dumps(file.ticket).encode()
    sent = [np.frombuffer(ticket, np.uint8)]
    arrivals = round_.exchange(lambda peer: sent if round_.rank == 0 else ())
    if round_.rank != 0 and shares_memory:
        try:
            known = json.loads(arrivals[0].body.tobytes())
        except (ValueError, RecursionError) as error:
            raise round_.damaged(0, f"bad ticket: {error}") from error
        with contextlib.suppress(errors.OpError, OSError):
            file = SharedFile.open(known) if known else None
    have = [np.array([file is not None and file.data.size == size])]
    replies = round_.exchange(lambda peer: have)
    if file is not None:
        if have[0][0] and all(reply.body.tobytes() == b"\1" for reply in replies.values()):
            arrays.move_to(file)
        file.close()
    return arrays


def _replica_bytes(specs: tuple[Spec, ...]) -> int:
    layout = layout_of(specs)
    sizes = zip(layout.dtypes, layout.sizes, strict=True)
    return sum(_pages(count * dtype.itemsize) for dtype, count in sizes)


def _pages(num_bytes: int) -> int:
    return -(-num_bytes // _PAGE) * _PAGE
