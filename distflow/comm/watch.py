"""What collectives tell of themselves: bytes and waits by peer, and their events in the timeline.

Arrows of the timeline go from a send to its receipt; both ends make the arrow's name from what they
know alike: generation, call, phase and the two ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distflow.base.place import here
from distflow.telemetry import timeline
from distflow.telemetry.account import Account

_LEAST_WAIT = 20_000  # nanoseconds; shorter waits in shared memory are not shown


class Links:
    """One worker's links to the others in a group.

    Args:
      account: where bytes and waits are added.
      rank: of this worker in the group.
      members: what the ranks of the group are called in the whole job.
      group: name of the group, where there are several.
    """

    __slots__ = ("_account", "_group", "_members", "_own")

    def __init__(self, account: Account, rank: int, members: Sequence[int], group: str = ""):
        self._account, self._members, self._group = account, members, group
        self._own = members[rank]

    def of_group(self, rank: int, members: Sequence[int], group: str) -> Links:
        """Returns the links within some of the workers, for the same account."""
        return Links(self._account, rank, members, group)

    def name(self, rank: int) -> int:
        """Returns what a rank of the group is called in the whole job."""
        return self._members[rank]

    def sent(self, peer: int, tag: int, start: int, parts: Sequence[np.ndarray]) -> None:
        """Notes a frame that was handed to the transport since `start`."""
        name, size = self._members[peer], 0
        for part in parts:
            size += part.nbytes
        self._account.sent[name] += size
        recorder = timeline.active
        if recorder is not None:
            recorder.add(f"send to {name}", "comm", start, {"bytes": size})
            recorder.flow(self._arrow(tag, self._own, name), starts=True, at=start)

    def received(self, peer: int, tag: int, start: int, size: int) -> None:
        """Notes a frame for which this worker has waited since `start`."""
        name, end = self._members[peer], timeline.now()
        self._account.received[name] += size
        self._account.waited[name] += end - start
        recorder = timeline.active
        if recorder is not None:
            recorder.add(f"receive from {name}", "wait", start, {"bytes": size}, end)
            recorder.flow(self._arrow(tag, name, self._own), starts=False, at=end)

    def _arrow(self, tag: int, source: int, target: int) -> str:
        return f"{here.generation}.{self._group}{tag}.{source}.{target}"


class Collective:
    """One call of a collective, as an event; entered around it.

    Args:
      account: where its time is added.
      what: its name.
      number: of the call, for the arrows of a call in shared memory; None: its frames have them.
      rank: of this worker.
    """

    __slots__ = ("_account", "_number", "_rank", "_start", "_what")

    def __init__(self, account: Account, what: str, rank: int, number: int | None = None):
        self._account, self._what, self._number, self._rank = account, what, number, rank

    def __enter__(self) -> None:
        self._start = timeline.now()

    def __exit__(self, kind: object, *rest: object) -> None:
        end = timeline.now()
        self._account.busy += end - self._start
        self._account.calls += 1
        recorder = timeline.active
        if recorder is None:
            return
        recorder.add(self._what, "comm", self._start, None, end)
        if self._number is None or kind is not None:
            return
        # In shared memory each takes what it needs when the others have it: there are no sends.
        for peer in range(len(self._account.sent)):
            if peer != self._rank:
                there = f"{here.generation}.shm{self._number}.{self._rank}.{peer}"
                back = f"{here.generation}.shm{self._number}.{peer}.{self._rank}"
                recorder.flow(there, starts=True, at=self._start)
                recorder.flow(back, starts=False, at=end)


def waited_in_memory(account: Account, peer: int, start: int) -> None:
    """Notes that this worker could only wait for a peer since `start`."""
    end = timeline.now()
    account.waited[peer] += end - start
    if timeline.active is not None and end - start > _LEAST_WAIT:
        timeline.active.add(f"wait for {peer}", "wait", start, None, end)


def moved_in_memory(account: Account, rank: int, num_bytes: int) -> None:
    """Notes the bytes that each worker has read of each other one's memory."""
    for peer in range(len(account.sent)):
        if peer != rank:
            account.sent[peer] += num_bytes
            account.received[peer] += num_bytes


def added(start: int, **args: Any) -> None:
    """Shows the additions since `start`."""
    if timeline.active is not None:
        timeline.active.add("reduce", "comm", start, args or None)
