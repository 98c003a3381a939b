"""An elastic job as one worker lives it: where it stands, with whom, and how it gets there.

The program of every worker runs through the same events. A worker is *live* when its variables are
those of its position; then it does events with the group. Before that it *replays*: it takes what
events gave from the record, fetched from its peers, until it gets the state of the job at a
position, and is live from there on.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distflow.base import errors, log
from distflow.base.place import here
from distflow.cluster.member import Member
from distflow.comm import Communicator, faults
from distflow.distribute import elastic_codec as codec
from distflow.distribute import elastic_rescue as rescue
from distflow.distribute import elastic_spawn
from distflow.distribute.elastic_donor import Donor, fetch_from_any
from distflow.distribute.elastic_group import (
    GenerationChanged,
    Group,
    JobFinished,
    Settings,
    Standing,
    form,
)
from distflow.distribute.elastic_record import Record
from distflow.distribute.elastic_speculation import Speculation
from distflow.distribute.elastic_state import State
from distflow.distribute.leaving import LEFT_EXIT_CODE, end_in_time
from distflow.telemetry import metrics, timeline


class ElasticJob:
    """This worker's part in a job whose members change.

    Args:
      member: connection to the coordinator; beats are started here.
      settings: what stays the same.
      fingerprint: JSON of the numeric fingerprint of this host.
      folder: where the job is kept if it must end, and looked for at its start; or None.

    Attributes:
      position: number of events this worker's program has come through.
      steps: how many of them were steps.
      group: the generation it is in, None between two.
      speculation: how long others are waited for in a step; None: as long as anywhere.
      before_step: what `state.save` gave at the start of the step under way, else None.
    """

    def __init__(
        self,
        member: Member,
        settings: Settings,
        fingerprint: str = "",
        folder: Path | None = None,
    ):
        self.member, self.settings = member, settings
        self.state = State()
        self.record = Record()
        self.position = self.steps = 0
        self.group: Group | None = None
        self.is_leaving = False
        self.before_step: Any = None
        self._last: Group | None = None
        self._broken_up = 0  # when the last generation ended
        self._old: list[Group] = []
        self._fingerprint = fingerprint
        self._has_state = True
        self._is_in_commit = False
        self._incoming: Any = None
        self._suspects: list[bytes] = []
        self._late: list[bytes] = []
        self.speculation = None if settings.speculate is None else Speculation(settings.speculate)
        self._folder = folder
        kept = None if folder is None else rescue.load(folder)
        if kept is not None:
            self.record.extend(kept[0])
            self._has_state, self._incoming = False, kept[1]
        self._donor = Donor(self.record, host=settings.host, token=settings.token)
        if settings.spawn is not None:
            member.on_wanted = elastic_spawn.starter(settings.spawn)
        member.start_beating()
        atexit.register(self._end)

    @property
    def has_state(self) -> bool:
        """Whether the variables are those of the position."""
        return self._has_state

    # -- events ----------------------------------------------------------------------------

    def recorded(self) -> Any:
        """Returns (head, arrays) of the next event if it is over, None if it is to be done now.

        Blocks until this worker is in a generation, or its peers have given it the record.
        """
        while True:
            if self.position < len(self.record):
                faults.reach("replay", self.position)
                return self.record.read(self.position)
            if self._incoming is not None:
                head, arrays = self._incoming
                self.state.set_all_values(head, arrays)
                self._incoming, self._has_state = None, True
            if self._has_state and self.group is not None:
                return None
            self._join()

    def expect(self, found: Any, kind: str) -> Any:
        """Returns the recorded event (head, arrays); raises if it is of another kind."""
        if found[0]["k"] != kind:
            raise errors.CollectiveMismatchError(
                f"elastic job: event {self.position} was {found[0]['k']!r} on the other workers; "
                f"this worker has come to {kind!r}.\nDo all workers run the same program?"
            )
        return found

    def pass_recorded(self) -> None:
        """Goes on behind an event of the record.

        A newcomer at its end gets more of it, or the state, before the program may read variables;
        or it ends here, if the others have come to the end. The state is that of the next event's
        start: it is set again there, as the program may change variables up to then.
        """
        self.position += 1
        self._tell()
        while not self._has_state and self.position == len(self.record):
            if self._incoming is not None:
                self.state.set_all_values(*self._incoming, partly=True)
                return
            self._join()

    def complete(self, head: Any, arrays: Any) -> None:
        """Adds an event that this worker has done to the record, and goes on behind it."""
        self.record.append(codec.pack(head, arrays))
        self.pass_recorded()

    def agree(self, kind: str, act: Callable[[Communicator], Any], encode: Any, decode: Any) -> Any:
        """Returns act(communicator), or what it gave in the record; done again if members change.

        Args:
          kind: of the event.
          act: a collective whose result is equal on all workers.
          encode: gives (head, arrays) for the record from the result.
          decode: gives the result from (head, arrays).
        """
        while True:
            found = self.recorded()
            if found is not None:
                head, arrays = self.expect(found, kind)
                result = decode(head, arrays)
                self.pass_recorded()
                return result
            group = self.group
            assert group is not None
            try:
                result = act(group.communicator)
            except GenerationChanged as change:
                self.break_up(group, change.__cause__, in_commit=True)
                continue
            head, arrays = encode(result)
            self.complete({"k": kind, **head}, arrays)
            return result

    # -- generations -----------------------------------------------------------------------

    def break_up(
        self, group: Group, cause: BaseException | None = None, *, in_commit: bool = False
    ) -> None:
        """Ends a generation, unless it has ended; the next `recorded` forms another one.

        Args:
          group: the generation.
          cause: the error that shows who is lost; None for a change in good order.
          in_commit: whether this worker lacks only what its present event gives.
        """
        if self.group is not group:
            return
        self._is_in_commit = in_commit
        self._late = [] if self.speculation is None else self.speculation.late(group, cause)
        self._suspects = [member for member in group.suspects(cause) if member not in self._late]
        self._broken_up = timeline.now()
        metrics.workers_lost.add(len(self._suspects))
        if cause is not None:
            log.get_logger().info(
                "generation %d ends at event %d: %s", group.number, self.position, cause
            )
            # Connected until there is another: the others must hear who is lost, and not take this
            # worker for it.
            group.end()
            self._old.append(group)
        else:
            group.close()
        self._last, self.group = group, None

    def leave_if_asked(self, leaving: set[str]) -> None:
        """Ends this process if it is to leave, between two steps: the others have its results."""
        if self.member.id.hex() not in leaving:
            return
        if self.group is None or leaving >= {m.id.hex() for m in self.group.members}:
            self._keep()  # nobody else does
        if self.group is not None:
            self.group.close()
            self.group = None
        self.member.leave()
        log.get_logger().info("%s leaves after event %d", self.member.description, self.position)
        atexit.unregister(self._end)
        raise SystemExit(LEFT_EXIT_CODE)

    def without(self, leaving: set[str]) -> None:
        """Notes who leaves, so that nobody waits for them."""
        if self._last is not None:
            self._suspects += [m.id for m in self._last.members if m.id.hex() in leaving]

    def _join(self) -> None:
        # What others may get is the state at the position, without a step that is under way.
        under_way = None if self.before_step is None else self.state.save()
        if self.before_step is not None:
            self.state.restore(self.before_step)
        try:
            with timeline.span("rendezvous", "job"):
                self._form()
        finally:
            if under_way is not None:
                self.state.restore(under_way)

    def _form(self) -> None:
        try:
            formed = form(
                self.member,
                self.settings,
                Standing(self.position, self._has_state, self._is_in_commit),
                last=self._last,
                suspects=self._suspects,
                late=self._late,
                donor=self._donor.address,
                fingerprint=self._fingerprint,
                record=self.record,
                give_state=self.state.all_values,
                check=self._check,
            )
        except errors.WorkerLateError:
            self._keep()
            raise
        except JobFinished:
            log.get_logger().info("%s is not needed any more", self.member.description)
            atexit.unregister(self._end)
            raise SystemExit(0) from None
        if formed.group is None:
            self._drop_old()
            # Its variables are of no use any more: they are those of a step long ago.
            self._has_state = False
            with timeline.span("state transfer", "job", donors=len(formed.donors)):
                found = fetch_from_any(formed.donors, len(self.record), token=self.settings.token)
            self.record.extend(found)
            return
        self._drop_old()
        self.group = self._last = formed.group
        self._suspects, self._late, self._is_in_commit = [], [], False
        self._introduce(formed.group)
        self.record.extend(formed.messages)
        if formed.state is not None:
            self._has_state, self._incoming = False, formed.state
        self._tell()
        log.get_logger().info(
            "generation %d at event %d: rank %d of %d, replicas %s", formed.group.number,
            self.position, formed.group.rank, len(formed.group.members), formed.group.replicas,
        )  # fmt: skip

    def _introduce(self, group: Group) -> None:
        """Makes the new generation known to logs, metrics and the timeline."""
        here.generation, here.rank = group.number, group.rank
        here.world_size = len(group.members)
        if self._broken_up:
            metrics.recovery_seconds.observe((timeline.now() - self._broken_up) / 1e9)
            self._broken_up = 0
        timeline.tell()

    def _drop_old(self) -> None:
        while self._old:
            self._old.pop().drop()

    def _keep(self) -> None:
        if self._folder is not None and self._has_state and self.position == len(self.record):
            rescue.save(self._folder, self.record.messages(0), self.state.all_values())

    def _tell(self) -> None:
        number = self._last.number if self._last is not None else 0
        self.member.status(number, self.position, self._donor.address)

    def _check(self) -> None:
        if self.is_leaving:
            self.leave_if_asked({self.member.id.hex()})

    # -- the end ---------------------------------------------------------------------------

    def handle_sigterm(self, grace_seconds: float) -> None:
        """Lets SIGTERM end this process after the step under way, and in any case in time."""
        if threading.current_thread() is not threading.main_thread():
            return

        def leave(number: int, frame: Any) -> None:
            self.is_leaving = True
            end_in_time(grace_seconds)

        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, leave)

    def close(self, *, is_finished: bool) -> None:
        """Leaves the job. The others need not wait for this worker."""
        atexit.unregister(self._end)
        self._drop_old()
        if self.group is not None:
            self.group.close()
            self.group = None
        self.member.leave(is_finished=is_finished)
        self.member.close()
        if is_finished and self._folder is not None:
            rescue.remove(self._folder)
        self._donor.close()
        self.record.close()

    def _end(self) -> None:
        failed = getattr(sys, "last_value", None) is not None
        if failed and self.group is not None:
            self.group.drop()
            self.group = None
        self.close(is_finished=not failed)


__all__ = ["ElasticJob", "GenerationChanged"]
