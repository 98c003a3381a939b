"""Who computes and who waits: a report by the chief every DISTFLOW_STRAGGLERS_EVERY steps.

All workers take part in it with a few numbers each, after the same step; in elastic jobs these
travel with the commit of that step (`elastic_stragglers`).
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from distflow.base import flags, log
from distflow.distribute.courier import Communication
from distflow.telemetry import timeline
from distflow.telemetry.account import Account

# A worker that computes so much longer than the middle one is named.
_NOTABLE = 1.1


class Row(NamedTuple):
    """What a step has cost one worker, in milliseconds.

    Attributes:
      step: from its begin to its end.
      wait: in collectives, for others that had not come so far.
      transfer: in collectives, the rest: moving and adding.
      exposed: of both, what no computation has hidden.
      link: for which rank it waited longest; -1: for none.
      link_wait: how long.
      link_bytes: what came from there.
    """

    step: float
    wait: float
    transfer: float
    exposed: float
    link: float = -1
    link_wait: float = 0.0
    link_bytes: float = 0.0

    @property
    def compute(self) -> float:
        """What is no exposed communication."""
        return max(self.step - self.exposed, 0.0)


class Costs:
    """What one communicator's steps have cost since the last cut.

    Args:
      account: of the communicator.
      carried: what the courier has moved, all told.
    """

    def __init__(self, account: Account, carried: Communication):
        self._account, self._carried = account, carried
        self.cut()

    def cut(self) -> None:
        """Begins anew."""
        self._before = self._counted()

    def row(self, nanoseconds: int, count: int) -> Row:
        """Returns what a step has cost, where `count` of them took so long."""
        before, now = self._before, self._counted()
        waited = [b - a for a, b in zip(before["waited"], now["waited"])]
        received = [b - a for a, b in zip(before["received"], now["received"])]
        busy = (now["busy"] - before["busy"]) / 1e6 / count
        wait = min(sum(waited) / 1e6 / count, busy)
        carried = 1e3 * (now["carried"] - before["carried"]) / count
        exposed = 1e3 * (now["exposed"] - before["exposed"]) / count
        # What the courier did not carry was done while the step waited.
        exposed += max(busy - carried, 0.0)
        link = max(range(len(waited)), key=waited.__getitem__)
        if not waited[link]:
            return Row(nanoseconds / 1e6 / count, wait, busy - wait, exposed)
        return Row(
            nanoseconds / 1e6 / count, wait, busy - wait, exposed,
            link, waited[link] / 1e6 / count, received[link] / count,
        )  # fmt: skip

    def _counted(self) -> dict[str, Any]:
        account, carried = self._account, self._carried
        return {
            "busy": account.busy, "waited": list(account.waited),
            "received": list(account.received),
            "carried": carried.seconds, "exposed": carried.exposed_seconds,
        }  # fmt: skip


class Stragglers:
    """The costs of one strategy's steps since the last report.

    Args:
      strategy: whose.
      every: steps between two reports.
    """

    def __init__(self, strategy: Any, every: int):
        self._strategy, self._every = strategy, every
        self._done = self._nanoseconds = self._start = 0
        self._costs = Costs(strategy.communicator.account, strategy.courier.statistics)

    def begin_run(self, num_replicas: int) -> None:
        """Called before a step."""
        self._start = timeline.now()

    def end_run(self, replicas: Sequence[int]) -> None:
        """Called after each step: reports, if it is time."""
        self._nanoseconds += timeline.now() - self._start
        self._done += 1
        if self._done % self._every:
            return
        strategy = self._strategy
        row = self._costs.row(self._nanoseconds, self._every)
        strategy.courier.settle()
        given: dict[int, Any] = dict.fromkeys(strategy.local_replicas)
        given[strategy.local_replicas[0]] = [np.asarray(row, np.float64)]
        found = strategy.communicator.all_gather(given, name="report of stragglers")
        rows = [Row(*part[0].tolist()) for part in found if part is not None]
        if strategy.is_chief:
            # It was asked for, so it is to be seen at the level that logs have.
            first = self._done - self._every + 1
            log.get_logger().warning("%s", report(rows, first, self._done))
        self._costs.cut()
        self._nanoseconds = 0


def for_strategy(strategy: Any) -> Stragglers | None:
    """Returns what the settings ask for."""
    every = flags.get("DISTFLOW_STRAGGLERS_EVERY")
    return None if every is None else Stragglers(strategy, every)


def report(
    rows: Sequence[Row], first: int, last: int, names: Sequence[int] | None = None
) -> str:  # fmt: skip
    """Returns the table of all ranks, and who is slow.

    Args:
      rows: of each rank.
      first, last: the steps.
      names: what each rank is called; its number.
    """
    called = range(len(rows)) if names is None else names
    steps = statistics.fmean(row.step for row in rows)
    exposed = statistics.fmean(row.exposed for row in rows)
    lines = [
        f"steps {first} to {last}: {steps:.2f} ms each, "
        f"{exposed:.2f} ms of it exposed communication",
        "  rank   compute      wait  transfer   exposed  waits most for",
    ]
    for rank, row in enumerate(rows):
        numbers = "".join(f"{n:10.2f}" for n in (row.compute, row.wait, row.transfer, row.exposed))
        lines.append(f"{called[rank]:6}{numbers}  {_link(row, called)}".rstrip())
    middle = statistics.median(row.compute for row in rows)
    slow = max(range(len(rows)), key=lambda rank: rows[rank].compute)
    if len(rows) > 1 and rows[slow].compute > _NOTABLE * middle > 0:
        more = rows[slow].compute / middle - 1
        lines.append(f"  rank {called[slow]} computes {more:.0%} longer than the middle one.")
    waits = [rank for rank in range(len(rows)) if rows[rank].link >= 0]
    if waits:
        rank = max(waits, key=lambda rank: rows[rank].link_wait)
        late = called[int(rows[rank].link)]
        lines.append(f"  slowest link: rank {late} to rank {called[rank]}.")
    return "\n".join(lines)


def _link(row: Row, called: Sequence[int]) -> str:
    if row.link < 0:
        return ""
    size = f", {row.link_bytes / 1e6:.2f} MB" if row.link_bytes else ""
    return f"rank {called[int(row.link)]}: {row.link_wait:.2f} ms{size} a step"
