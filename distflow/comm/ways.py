"""Ways: what a group can reduce with beside plain frames, and the choice for each call.

Which ways there are follows from the transport: memory of one host, memory of several hosts, or
connections that the calling thread serves itself. Speed only, never bits.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from distflow.base import errors
from distflow.comm.algorithms.hierarchical import Hierarchy
from distflow.comm.algorithms.shared import Shared
from distflow.comm.algorithms.streamed import Streams
from distflow.comm.buckets import Spec
from distflow.comm.group import Placement
from distflow.comm.round import Round
from distflow.comm.select import ALGORITHMS, HIERARCHICAL, SHARED, STREAMED, AllReduce, select
from distflow.comm.transport import base
from distflow.comm.transport.shm import ShmTransport
from distflow.comm.transport.subgroup import HostsTransport
from distflow.comm.transport.wires import WiredTransport
from distflow.telemetry.account import Account


class Ways:
    """The ways of one worker's reductions.

    Args:
      transport: connects the workers.
      placement: which worker holds which replicas.
      algorithm: that was asked for; "auto" for whatever serves best.
      account: where bytes and waits in shared memory are added.
      timeout_seconds: longest time without progress.

    Attributes:
      shared: the reductions in memory of one host; None where they are impossible or not wanted.

    Raises:
      InvalidArgumentError: for an algorithm that is unknown, or needs another transport.
    """

    def __init__(
        self, transport: base.Transport, placement: Placement, algorithm: str, account: Account,
        timeout_seconds: float,
    ):  # fmt: skip
        select(algorithm, 0, 1)  # raises for a wrong name
        self._algorithm = algorithm
        self._world_size = transport.world_size
        self.shared: Shared | None = None
        if isinstance(transport, ShmTransport) and algorithm in ("auto", SHARED):
            shared = Shared(transport, placement, account)
            self.shared = shared if shared.possible and self._world_size > 1 else None
        if algorithm == SHARED and self.shared is None:
            raise _unfit(transport, "algorithm 'shared' needs several workers that share memory")
        self._hierarchy: Hierarchy | None = None
        if isinstance(transport, HostsTransport):
            self._hierarchy = Hierarchy(transport, timeout_seconds)
        elif algorithm == HIERARCHICAL:
            expected = "algorithm 'hierarchical' needs hosts with workers that share memory"
            raise _unfit(transport, expected)
        self._streams: Streams | None = None
        if isinstance(transport, WiredTransport):
            self._streams = Streams(transport, placement, timeout_seconds)
        elif algorithm == STREAMED:
            expected = "algorithm 'streamed' needs workers that are connected by wires"
            raise _unfit(transport, expected)

    def choose(self, specs: Sequence[Spec] | None) -> str:
        """Returns the algorithm for arrays of these specs; "" (the others') if none are known."""
        if specs is None:
            return ""
        num_bytes = sum(spec.num_bytes for spec in specs)
        has = {"has_hosts": self._hierarchy is not None, "has_wires": self._streams is not None}
        return select(self._algorithm, num_bytes, self._world_size, **has)

    def all_reduce(self, round_: Round, out: Sequence[np.ndarray] | None) -> AllReduce:
        """Returns what reduces in a round, by the algorithm that its workers have agreed on."""
        if round_.algorithm == HIERARCHICAL and self._hierarchy is not None:
            return self._hierarchy.all_reduce
        if round_.algorithm == STREAMED and self._streams is not None:
            return functools.partial(self._streams.all_reduce, out=out)
        return ALGORITHMS[round_.algorithm or "direct"]


def _unfit(transport: base.Transport, expected: str) -> errors.InvalidArgumentError:
    return errors.invalid("Communicator", expected, type(transport).__name__)
