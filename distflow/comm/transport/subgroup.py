"""Some of the ranks of a transport, numbered anew; and ranks of which some share memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distflow.comm.transport import base
from distflow.comm.transport.shm import ShmTransport


class Subgroup(base.Transport):
    """The view of a transport that only some ranks use, in the order given.

    Frames of a pair of ranks stay in one order, whichever view they are sent by. Errors name ranks
    of the whole group.
    """

    def __init__(self, transport: base.Transport, members: Sequence[int]):
        self._transport = transport
        self._members = list(members)
        self.rank = self._members.index(transport.rank)
        self.world_size = len(self._members)

    def send(
        self, to_rank: int, tag: int, meta: bytes = b"", parts: Sequence[np.ndarray] = ()
    ) -> None:
        """Starts sending a frame to a member."""
        self._transport.send(self._members[to_rank], tag, meta, parts)

    def recv(self, from_rank: int, *, timeout_seconds: float, what: str) -> base.Frame:
        """Waits for the next frame from a member."""
        member = self._members[from_rank]
        return self._transport.recv(member, timeout_seconds=timeout_seconds, what=what)

    def poll(self, from_rank: int) -> bool:
        """Whether a frame of a member has begun to arrive."""
        return self._transport.poll(self._members[from_rank])

    def flush(self, *, timeout_seconds: float, what: str) -> None:
        """Waits until all that was sent may be reused."""
        self._transport.flush(timeout_seconds=timeout_seconds, what=what)

    def check(self, what: str) -> None:
        """Raises if any rank of the whole group is lost, has left or gave up."""
        self._transport.check(what)

    def abort(self, error: BaseException) -> None:
        """Tells all ranks of the whole group."""
        self._transport.abort(error)

    def close(self) -> None:
        """Does nothing: the transport is not the view's own."""


class HostsTransport(Subgroup):
    """A network between all ranks, and memory between those of one host.

    Frames take the network. `algorithms/hierarchical.py` uses `within` for what stays on the host.

    Args:
      network: connects all ranks.
      hosts: the ranks of each host, the same on every rank.
      within: connects the ranks of this one's host, numbered as in `hosts`; None if it is alone.
    """

    def __init__(
        self, network: base.Transport, hosts: list[list[int]], within: ShmTransport | None
    ):
        super().__init__(network, range(network.world_size))
        self.hosts = hosts
        self.within = within

    def check(self, what: str) -> None:
        """Raises if any rank is lost, has left or gave up."""
        self._transport.check(what)
        if self.within is not None:
            self.within.check(what)

    def abort(self, error: BaseException) -> None:
        """Tells all ranks, those that wait in memory too."""
        self._transport.abort(error)
        if self.within is not None:
            self.within.abort(error)

    def close(self) -> None:
        """Leaves both."""
        self._transport.close()
        if self.within is not None:
            self.within.close()
