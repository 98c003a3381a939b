"""MultiWorkerMirroredStrategy for jobs whose workers come and go, with the bits of one worker.

To the program each worker shows all V replicas, but computes only its own in a step. A step ends
with a commit: the workers exchange what their replicas gave, so that afterwards everybody knows the
same. Before the commit is complete nothing has happened: if a worker is lost, the variables are put
back, the replicas are placed anew, and the step is done again. Only equal bits on any number of
workers make this so simple; see the determinism of `comm.tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distflow.base import errors, flags, log
from distflow.cluster import EnvironmentClusterResolver, client, coordinator
from distflow.cluster.member import Member
from distflow.comm import Communicator, faults
from distflow.core import context as core_context
from distflow.distribute import elastic_audit as audit
from distflow.distribute import elastic_codec as codec
from distflow.distribute import elastic_stragglers, uncaught
from distflow.distribute.elastic_group import GenerationChanged, Group, Settings
from distflow.distribute.elastic_job import ElasticJob
from distflow.distribute.fingerprint import fingerprint
from distflow.distribute.introduce import introduce_elastic
from distflow.distribute.mirrored import check_replicas
from distflow.distribute.multi_worker import MultiWorkerMirroredStrategy
from distflow.distribute.options import checked
from distflow.distribute.strategy import Strategy
from distflow.distribute.threads import close_all
from distflow.random import global_state
from distflow.telemetry import steps, timeline

_job: ElasticJob | None = None


class ElasticStrategy(MultiWorkerMirroredStrategy):
    """Synchronous training on workers that may be lost, stopped, leave or join at any moment.

    Made by `MultiWorkerMirroredStrategy()` where DISTFLOW_ELASTIC is set (`distflow run
    --elastic min:max`). Needs all workers to run the same program; replicas must return what can be
    sent: tensors, arrays, numbers or text, in tuples, lists or dictionaries.

    Args:
      job: this worker's part in a job, instead of the environment's (workers as threads).
    """

    def __init__(
        self,
        cluster_resolver: Any = None,
        communication_options: Any = None,
        logical_replicas: int | None = None,
        communicator: Communicator | None = None,
        job: ElasticJob | None = None,
    ):
        options = checked("MultiWorkerMirroredStrategy", communication_options)
        self._resolver = cluster_resolver or EnvironmentClusterResolver()
        if job is None:
            replicas = logical_replicas or flags.get("DISTFLOW_REPLICAS")
            job = _join_job(self._resolver.worker_environment(), replicas, options.timeout_seconds)
        # Between steps: all replicas here. In a step its place is taken by the group's.
        self._alone = Communicator.local(job.settings.num_replicas)
        Strategy.__init__(self, self._alone)
        self._job = job
        self._here: tuple[int, ...] | None = None
        self._stragglers = None  # which meets by itself; here the commits carry its numbers
        self._witness: audit.Witness | None = None  # in an audited step
        self._replica_seconds = 0.0
        self._costs = elastic_stragglers.from_settings(self.courier.statistics)
        core_context.state.creators.append(job.state.creator)
        self._job.recorded()  # waits for the others

    # -- what it is ----------------------------------------------------------------------

    @property
    def num_workers(self) -> int:
        """Number of workers in the present generation."""
        return len(self._job.group.members) if self._job.group else 1

    @property
    def worker_rank(self) -> int:
        """This worker's rank in the present generation."""
        return self._job.group.rank if self._job.group else self._job.member.slot

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the job's files, now."""
        return self._job.group is not None and self._job.group.rank == 0

    @property
    def is_awaited(self) -> bool:
        """Whether a newcomer stands at the door: it is let in after the next step."""
        return self._job.member.is_awaited

    @property
    def is_catching_up(self) -> bool:
        """Whether this worker came later, and still runs through steps that are over.

        Programs may leave out what costs time between two steps then.
        """
        return not self._job.has_state

    def replicas_here(self) -> tuple[int, ...]:
        """The replicas that this worker computes in the step under way."""
        return self.local_replicas if self._here is None else self._here

    @property
    def num_replicas_in_sync(self) -> int:
        """V, the number of logical replicas of the job."""
        return len(self.local_replicas)

    def _create(self, next_creator: Callable[..., Any], **arguments: Any) -> Any:
        variable = super()._create(next_creator, **arguments)
        self._job.state.track(variable)
        return variable

    # -- steps ---------------------------------------------------------------------------

    def run_replicas(
        self, bodies: Sequence[Callable[[], Any]], absent: Sequence[bool],
        allow_mean_loss: bool = False,
    ) -> list[Any]:  # fmt: skip
        """Returns the results of all V replicas; this worker computes its own."""
        if self._costs is None:
            return self._run_to_commit(bodies, absent, allow_mean_loss)
        self._costs.begin()
        results = self._run_to_commit(bodies, absent, allow_mean_loss)
        self._costs.passed()
        return results

    def _run_to_commit(self, bodies: Any, absent: Any, allow_mean_loss: bool) -> list[Any]:
        job = self._job
        while True:
            found = job.recorded()
            if found is not None:
                return self._replay(bodies, absent, allow_mean_loss)
            saved, group = job.state.save(), job.group
            assert group is not None
            job.before_step = saved
            try:
                if job.speculation is not None:
                    job.speculation.begin(group)
                if audit.is_due(job.position, job.settings.audit_rate) and group.size > 1:
                    self._witness = audit.Witness()
                results = self._compute(bodies, absent, allow_mean_loss)
                if self._witness is not None:
                    self._audit(group, results, saved, (bodies, absent, allow_mean_loss))
                committed = self._commit(group, results, saved)
            except GenerationChanged as change:
                job.state.restore(saved)
                job.break_up(group, change.__cause__)
                continue
            except SystemExit:
                raise  # this worker leaves, after the step
            except BaseException as error:
                job.state.restore(saved)
                if job.group is not None:
                    job.group.communicator.abort(error)
                raise
            finally:
                job.before_step = self._witness = None
                if job.speculation is not None:
                    job.speculation.end(group, is_done=job.group is group)
            if committed is not None:
                return committed

    def _compute(self, bodies: Any, absent: Any, allow_mean_loss: bool) -> dict[int, Any]:
        group = self._job.group
        assert group is not None
        communicator, account = group.communicator, group.communicator.account
        start = timeline.now() - account.busy
        faults.reach("before-compute", self._job.position)
        results = self._run_some(communicator, bodies, absent, allow_mean_loss)
        self._note_cost((timeline.now() - account.busy - start) / 1e9 / len(results))
        return results

    def _note_cost(self, seconds: float) -> None:
        """Notes what a replica has cost here in the step under way, without waits for others."""
        self._replica_seconds = seconds

    def _audit(self, group: Group, results: dict[int, Any], saved: Any, step: Any) -> None:
        """Computes the step again, each replica on another worker; raises if the bits differ.

        Where they do, a third worker decides, if there is one.
        """
        job, what, witness = self._job, f"audit of event {self._job.position}", self._witness
        assert witness is not None
        after, variables = job.state.save(), job.state.mirrored_digests()
        found = [audit.gather(group.communicator, witness, results, variables, what)]
        while len(found) < 2 or (len(found) < min(group.size, 3) and not audit.agree(found)):
            self._witness = witness = audit.Witness()
            communicator = group.moved_on(len(found))
            job.state.restore(saved)
            with steps.Step("audit"):  # a step within it is not counted
                again = self._run_some(communicator, *step)
            digests = job.state.mirrored_digests()
            found.append(audit.gather(communicator, witness, again, digests, what))
        job.state.restore(after)
        if not audit.agree(found):
            raise audit.difference(
                job.steps + 1, job.position, found, [name for name, _ in variables],
                [member.description for member in group.members],
            )  # fmt: skip

    def _run_some(
        self, communicator: Communicator, bodies: Any, absent: Any, allow_mean_loss: bool
    ) -> dict[int, Any]:
        here = tuple(communicator.local_replicas)
        if self._idle and len(here) != getattr(self, "_threads_for", len(here)):
            close_all(self._idle)
        self._threads_for = len(here)
        self._here, self._communicator = here, communicator
        try:
            results = super().run_replicas(
                [bodies[r] for r in here], [absent[r] for r in here], allow_mean_loss
            )
        finally:
            self._here, self._communicator = None, self._alone
        return dict(zip(here, results))

    def _commit(self, group: Group, results: dict[int, Any], saved: Any) -> list[Any] | None:
        """Exchanges the results; returns those of all replicas, None if the step is to be redone.

        All workers have computed when they come here, so one that has everything may go on: the
        others can get from it what they lack.
        """
        job, here = self._job, tuple(results)
        arrays: list[Any] = []
        structures = [[r, codec.describe(result, arrays)] for r, result in results.items()]
        num_results = len(arrays)
        indices, copies = job.state.copies(here)
        head = {
            "r": structures, "n": num_results, "c": indices,
            "leave": job.is_leaving, "more": job.member.is_awaited,
            "counts": global_state.counts(),
            "seconds": self._replica_seconds,
            "cost": None if self._costs is None else self._costs.row(group),
        }  # fmt: skip
        try:
            faults.reach("before-commit", job.position)
            message = codec.pack(head, [*arrays, *copies])
            sent = {r: [message] if r == here[0] else None for r in here}
            name = f"commit of event {job.position}"
            gathered = group.communicator.all_gather(sent, name=name)
        except GenerationChanged as change:
            return self._settle_commit(group, change, results, saved)
        everything = dict(results)
        leaving: set[str] = set()
        is_awaited = False
        costs: dict[int, Any] = {}
        seconds = [0.0] * group.size
        for replica, parts in enumerate(gathered):
            if parts is None:
                continue
            theirs, values = codec.unpack(parts[0])
            replicas = [r for r, _ in theirs["r"]]
            if replica != here[0]:
                for r, structure in theirs["r"]:
                    everything[r] = codec.restore(structure, values)
                job.state.set_copies(theirs["c"], replicas, values[theirs["n"] :])
                global_state.add_counts(global_state.Counts(*theirs["counts"]), replicas)
            is_awaited = is_awaited or theirs["more"]
            rank = group.communicator.placement.owners[replica]
            costs[rank], seconds[rank] = theirs["cost"], float(theirs["seconds"])
            if theirs["leave"]:
                leaving.add(group.members[rank].id.hex())
        if self._costs is not None:
            speculation = job.speculation
            self._costs.hear(group, costs, speculation.num_replicas if speculation else 0)
        self._complete(everything)
        faults.reach("after-commit", job.position)
        if leaving or is_awaited:
            job.leave_if_asked(leaving)
            job.break_up(group)
            job.without(leaving)
        else:
            group.balance(seconds)
        return [everything[r] for r in range(self.num_replicas_in_sync)]

    def _complete(self, everything: dict[int, Any]) -> None:
        """Records the step, with what a newcomer has to know of it."""
        job = self._job
        arrays: list[Any] = []
        structures = [codec.describe(everything[r], arrays) for r in sorted(everything)]
        num_results = len(arrays)
        changes, values = job.state.small_changes()
        head = {
            "k": "step", "r": structures, "n": num_results, "s": changes,
            "counts": global_state.counts(),
        }  # fmt: skip
        job.complete(head, [*arrays, *values])
        job.steps += 1

    def _settle_commit(
        self, group: Group, change: Any, results: dict[int, Any], saved: Any
    ) -> list[Any] | None:
        """A member was lost in the commit: if anybody has everything, the step counts."""
        job = self._job
        job.break_up(group, change.__cause__, in_commit=True)
        position = job.position
        found = job.recorded()
        if found is None:
            job.state.restore(saved)
            return None
        if not job.has_state:  # the others went on without this worker
            job.state.restore(saved)
            return None
        assert job.position == position
        head, arrays = job.expect(found, "step")
        job.state.apply_changes(head["s"], arrays[head["n"] :])
        others = set(self.local_replicas) - set(results)
        global_state.add_counts(global_state.Counts(*head["counts"]), others)
        job.state.small_changes()
        job.pass_recorded()
        job.steps += 1
        return [codec.restore(structure, arrays) for structure in head["r"]]

    def _replay(self, bodies: Any, absent: Any, allow_mean_loss: bool) -> list[Any]:
        """Returns what the step gave in the record, without computing it.

        A step that makes variables, or is traced, is run once, to do so: what it computes is
        thrown away.
        """
        job = self._job
        head, _ = job.recorded()
        made = len(global_state.counts().traced)
        is_new = head["k"] != "step" or len(global_state.Counts(*head["counts"]).traced) > made
        if is_new:
            log.get_logger().debug("event %d is tried out", job.position)
            self._run_some(Communicator.local(1), bodies, absent, allow_mean_loss)
        head, arrays = job.expect(job.recorded(), "step")
        job.state.apply_changes(head["s"], arrays[head["n"] :])
        global_state.set_counts(global_state.Counts(*head["counts"]))
        job.pass_recorded()
        job.steps += 1
        return [codec.restore(structure, arrays) for structure in head["r"]]

    # -- collectives ---------------------------------------------------------------------

    def reduce_rows(
        self, rows: Sequence[list[Any] | None], *args: Any, **kwargs: Any
    ) -> list[np.ndarray[Any, Any]]:
        """Returns arrays reduced over all replicas: in a step with the other workers.

        Between steps this worker knows the values of all replicas.
        """
        faults.reach("before-reduce")
        return super().reduce_rows(self._of_those_here(rows), *args, **kwargs)

    def gather_rows(self, rows: Sequence[Any], axis: int) -> np.ndarray[Any, Any]:
        """Returns the arrays of all replicas joined along an axis."""
        return super().gather_rows(self._of_those_here(rows), axis)

    def _of_those_here(self, rows: Sequence[Any]) -> list[Any]:
        here = self.replicas_here()
        found = list(rows) if len(rows) == len(here) else [rows[replica] for replica in here]
        if self._witness is not None:
            self._witness.note(here, found)
        return found

    # -- agreement between workers -------------------------------------------------------

    def agree_on_initial_value(self, array: np.ndarray[Any, Any], name: str) -> Any:
        """Returns the chief's value of a new variable."""
        what = f"variable {self._names_made}"
        self._names_made += 1
        return self._job.agree(
            "variable",
            lambda communicator: communicator.broadcast([array], 0, name=what)[0],
            lambda result: ({"shape": list(result.shape)}, []),
            lambda head, arrays: array,
        )

    def agree(self, value: Any, what: str) -> Any:
        """Returns the chief's value of anything JSON can hold: a seed, a decision."""
        return self._job.agree(
            "agreement",
            lambda communicator: communicator.broadcast_json(value, 0, name=what),
            lambda result: ({"v": result}, []),
            lambda head, arrays: head["v"],
        )

    # -- input ---------------------------------------------------------------------------

    def distribute_datasets_from_function(
        self, dataset_fn: Callable[[Any], Any], options: Any = None
    ) -> Any:
        """Returns a data set from `dataset_fn(InputContext)`, one pipeline for the whole job.

        Each worker reads all of it, whoever computes which replica: its elements are batches of
        one replica, V for each step.
        """
        return Strategy.distribute_datasets_from_function(_OnePipeline(self), dataset_fn)  # type: ignore[arg-type]


class _OnePipeline:
    """What input pipelines see of an elastic job: one worker that holds all replicas."""

    num_workers, worker_rank = 1, 0

    def __init__(self, strategy: ElasticStrategy):
        self.local_replicas = strategy.local_replicas
        self.num_replicas_in_sync = strategy.num_replicas_in_sync
        self.agree = strategy.agree
        self.reduce_rows = strategy.reduce_rows


def _join_job(environment: Any, replicas: int | None, timeout_seconds: float | None) -> ElasticJob:
    """Returns this process's part in its job, made on the first call."""
    global _job
    bounds = flags.get("DISTFLOW_ELASTIC")
    replicas = replicas or bounds[1]
    check_replicas("MultiWorkerMirroredStrategy", replicas)
    if replicas < bounds[1]:
        raise errors.invalid(
            "MultiWorkerMirroredStrategy",
            f"at least as many logical replicas as the most workers ({bounds[1]})",
            str(replicas),
            "Raise V: logical_replicas=, DISTFLOW_REPLICAS or `distflow run --replicas`.",
        )
    if _job is None:
        uncaught.install(exits=True)
        introduce_elastic()
        if environment.hosts_coordinator:
            coordinator.host_coordinator(environment.coordinator, bounds, token=environment.token)
        _job = ElasticJob(
            Member(environment.coordinator, token=environment.token, slot=environment.rank),
            Settings(
                job=environment.job,
                token=environment.token,
                host=client.advertised_host(environment.coordinator),
                num_replicas=replicas,
                silence_seconds=flags.get("DISTFLOW_SILENCE"),
                timeout_seconds=timeout_seconds or flags.get("DISTFLOW_TIMEOUT"),
                join_seconds=flags.get("DISTFLOW_ELASTIC_TIMEOUT"),
                audit_rate=flags.get("DISTFLOW_AUDIT"),
                backend=environment.backend,
                speculate=flags.get("DISTFLOW_SPECULATE"),
                spawn=flags.get("DISTFLOW_SPAWN"),
            ),
            fingerprint(),
            Path(folder) if (folder := flags.get("DISTFLOW_ELASTIC_DIR")) else None,
        )
        _job.handle_sigterm(flags.get("DISTFLOW_GRACE"))
    elif _job.settings.num_replicas != replicas:
        raise errors.invalid(
            "MultiWorkerMirroredStrategy",
            f"an elastic job has one number of replicas ({_job.settings.num_replicas})",
            str(replicas),
        )
    return _job
