"""Who computes and who waits in an elastic job: the numbers travel with the commits of steps.

There is no collective of its own for them, so a report costs no meeting that a lost worker could
break up, and a step that is done again brings its numbers again. All workers pass the same steps,
replayed ones too, so they agree on which commit carries them. Numbers are those of the present
generation: a worker that has just come, and a group that has just changed, begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distflow.base import flags, log
from distflow.distribute.courier import Communication
from distflow.distribute.elastic_group import Group
from distflow.distribute.stragglers import Costs, Row, report
from distflow.telemetry import timeline
from distflow.telemetry.account import Account


class ElasticStragglers:
    """The costs of this worker's steps since the last report, in the generation it is in.

    Args:
      every: steps between two reports.
      carried: what the courier has moved, all told.
    """

    def __init__(self, every: int, carried: Communication):
        self._every, self._carried = every, carried
        self._passed = 0  # steps of the program, done or replayed
        self._group: Group | None = None
        self._costs: Costs | None = None
        self._account: Account | None = None  # another one when replicas are placed anew
        self._nanoseconds = self._start = 0
        self._counted = self._told = 0  # steps since the last cut, and at it

    def begin(self) -> None:
        """Called before a step."""
        self._start = timeline.now()

    def row(self, group: Group) -> list[float] | None:
        """Returns what the commit of the step under way carries: numbers, or None."""
        if group is not self._group or group.communicator.account is not self._account:
            self._cut(group)
        if (self._passed + 1) % self._every or not self._counted:
            return None
        assert self._costs is not None
        spent = self._nanoseconds + timeline.now() - self._start
        row = self._costs.row(spent, self._counted)
        self._cut(group)
        return [float(number) for number in row]

    def hear(self, group: Group, rows: Mapping[int, Any], speculated: int = 0) -> None:
        """Takes what a complete commit has carried, by rank of the generation; the chief reports.

        A worker that came after the last step but one has nothing to tell yet.

        Args:
          group: the generation.
          rows: what `row` of each has given.
          speculated: replicas of late workers that others have computed, so far.
        """
        found = [Row(*row) for _, row in sorted(rows.items()) if row is not None]
        if group.rank or not found or len(found) < group.size:
            return
        # Workers are called as the launcher calls them, not by their rank in this generation; what
        # was asked for is to be seen at the level that logs have.
        names = [member.slot for member in group.members]
        last = self._passed + 1
        text = report(found, last - self._told + 1, last, names)
        if speculated:
            text += f"\n  {speculated} replicas of late workers were computed by others, so far."
        log.get_logger().warning("%s", text)

    def passed(self) -> None:
        """Counts a step of the program, done here or by others before this worker came."""
        self._passed += 1
        if self._group is not None:
            self._counted += 1
            self._nanoseconds += timeline.now() - self._start

    def _cut(self, group: Group) -> None:
        self._group, self._account = group, group.communicator.account
        self._costs = Costs(self._account, self._carried)
        self._told, self._counted = self._counted, 0
        self._nanoseconds, self._start = 0, timeline.now()


def from_settings(carried: Communication) -> ElasticStragglers | None:
    """Returns what DISTFLOW_STRAGGLERS_EVERY asks for."""
    every = flags.get("DISTFLOW_STRAGGLERS_EVERY")
    return None if every is None else ElasticStragglers(every, carried)
