"""Finds the workers that share a host, and gives them shared memory beside or instead of a network.

Who shares a host is not guessed from names or addresses: workers of one boot of one kernel, one
process namespace and one user make a candidate, and each must then open the memory that the first
of them has made and find the right cookie inside. So containers that cannot reach each other's
memory are told apart, and any trouble only means that the network serves.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from distflow.base import errors, log
from distflow.comm.transport import base, segment
from distflow.comm.transport.segment import Segment
from distflow.comm.transport.shm import ShmTransport
from distflow.comm.transport.subgroup import HostsTransport

_TAG = 0x686F7374


def identity() -> str:
    """Returns a text that is equal for processes that may be able to share memory."""
    parts = [str(os.geteuid()) if hasattr(os, "geteuid") else ""]
    for path in ("/proc/sys/kernel/random/boot_id",):
        with contextlib.suppress(OSError), open(path) as file:
            parts.append(file.read().strip())
    with contextlib.suppress(OSError):
        parts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    # Without the kernel's word nobody shares anything.
    return "/".join(parts) if len(parts) == 3 else f"alone/{os.getpid()}/{os.urandom(8).hex()}"


def groups_of(identities: Mapping[int, str]) -> list[list[int]]:
    """Returns the ranks of each host, ascending, the hosts by their lowest rank."""
    by_host: dict[str, list[int]] = {}
    for rank in sorted(identities):
        by_host.setdefault(identities[rank], []).append(rank)
    return list(by_host.values())


def share_memory(
    transport: base.Transport,
    *,
    required: bool = False,
    timeout_seconds: float = 60.0,
    host: str | None = None,
) -> base.Transport:
    """Returns a transport that uses shared memory as far as workers share hosts.

    All ranks call it together, on a transport that has not been used. With all workers on one host
    the result needs no network, and the given transport is closed. With several hosts, some of
    which have several workers, it is a `HostsTransport` on top of the given one, else the latter.

    Args:
      transport: connects the workers.
      required: whether workers that cannot all share memory are an error.
      timeout_seconds: longest wait for another worker.
      host: what names this one's host; `identity()` if None.

    Raises:
      UnavailableError: if memory is required and cannot be shared; says who has which trouble.
    """
    if transport.world_size == 1:
        return transport
    talk = _Talk(transport, timeout_seconds)
    hosts = groups_of(talk.all_to_all(identity() if host is None else host))
    if len(hosts) > 1 and required:
        raise _unshared(f"the workers are on {len(hosts)} hosts (or containers): {hosts}")
    if len(hosts) == transport.world_size:
        return transport
    mine = next(ranks for ranks in hosts if transport.rank in ranks)
    shared, trouble = _open_segment(talk, mine, transport.rank)
    troubles = {rank: text for rank, text in talk.all_to_all(trouble).items() if text}
    if troubles:
        if shared is not None:
            shared.close()
        rank, text = min(troubles.items())
        if required:
            raise _unshared(f"rank {rank} says: {text}")
        log.get_logger().info("no shared memory: rank %d says: %s", rank, text)
        return transport
    within = None
    if shared is not None:
        index = mine.index(transport.rank)
        within = ShmTransport(shared, index, join_timeout_seconds=timeout_seconds, names=mine)
    if len(hosts) > 1:
        return HostsTransport(transport, hosts, within)
    assert within is not None
    transport.close()
    return within


def _open_segment(talk: _Talk, mine: list[int], rank: int) -> tuple[Segment | None, str]:
    """Returns the segment of this host (None for a worker alone), and what went wrong or ""."""
    made, trouble = None, ""
    if rank == mine[0] and len(mine) > 1:
        try:
            made = Segment.make(segment.Plan.for_workers(len(mine)))
        except (errors.OpError, OSError) as error:
            trouble = str(error)
    ticket = talk.all_to_all(made.ticket if made else None)[mine[0]]
    if made is None and ticket is not None:
        try:
            made = Segment.join(ticket)
        except (errors.OpError, OSError) as error:
            trouble = str(error)
    return made, trouble


def _unshared(detail: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        errors.message(
            "DISTFLOW_BACKEND=shm",
            "expected workers that can share memory",
            detail,
            "Set DISTFLOW_BACKEND=auto, which uses shared memory where there is some.",
        )
    )


class _Talk:
    """Exchanges of small JSON values between all ranks."""

    def __init__(self, transport: base.Transport, timeout_seconds: float):
        self._transport = transport
        self._timeout = timeout_seconds

    def all_to_all(self, value: Any) -> dict[int, Any]:
        """Returns the value of each rank."""
        data = [np.frombuffer(json.dumps(value).encode(), np.uint8)]
        for peer in self._transport.peers:
            self._transport.send(peer, _TAG, b"", data)
        values = {self._transport.rank: value}
        for peer in self._transport.peers:
            what = "finding out who shares a host"
            frame = self._transport.recv(peer, timeout_seconds=self._timeout, what=what)
            try:
                if frame.tag != _TAG:
                    raise ValueError(f"tag {frame.tag}")
                values[peer] = json.loads(frame.body.tobytes())
            except (ValueError, RecursionError) as error:
                raise errors.DataLossError(f"{what}: rank {peer} sent {error}") from error
        self._transport.flush(timeout_seconds=self._timeout, what="finding out who shares a host")
        return values
