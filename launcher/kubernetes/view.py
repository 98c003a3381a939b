"""What a job on a cluster is doing, read from its objects: state, workers, the first failure."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

from .. import rank
from .cluster import Cluster
from .pods import INSTANCE, PART_OF
from .spec import KINDS

Object = dict[str, Any]

STARTS = ("Job", "JobSet", "MPIJob", "TrainJob")
assert {kind.lower() for kind in STARTS} == {kind.removesuffix("-mpi") for kind in KINDS}
DONE, FAILED = "finished", "failed"
# The conditions that end a job, by kind: Kubernetes and the operators have a word each.
_ENDS = {"Complete": DONE, "Completed": DONE, "Succeeded": DONE, "Failed": FAILED}
_INDEX = "batch.kubernetes.io/job-completion-index"
_MPI_INDEX = "training.kubeflow.org/replica-index"


@dataclass(frozen=True)
class Worker:
    """One pod of a job.

    Attributes:
      name: of the pod.
      rank: its completion index; None for an MPIJob's launcher.
      phase: in words, with the reason where it waits or has failed.
      node: where it runs.
      code: how its container ended, None while it runs.
      ended_at: when, as Kubernetes writes it.
    """

    name: str
    rank: int | None
    phase: str
    node: str
    code: int | None
    ended_at: str
    is_ready: bool
    uid: str

    @property
    def label(self) -> str:
        """What output is marked with."""
        return "launcher" if self.rank is None else f"rank {self.rank}"


@dataclass(frozen=True)
class JobView:
    """A job as it is now.

    Attributes:
      main: the object that runs its pods.
      state: waiting, suspended, running, finished or failed.
      reason: why it failed or waits.
    """

    main: Object
    state: str
    reason: str
    workers: list[Worker] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.main["metadata"]["name"])

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in (DONE, FAILED)

    @property
    def size(self) -> int:
        """How many workers are asked for."""
        spec = self.main["spec"]
        if self.main["kind"] == "Job":
            return int(spec.get("parallelism", 1))
        if self.main["kind"] == "JobSet":
            return int(spec["replicatedJobs"][0]["template"]["spec"].get("parallelism", 1))
        if self.main["kind"] == "MPIJob":
            return int(spec["mpiReplicaSpecs"]["Worker"].get("replicas", 1))
        return int(spec.get("trainer", {}).get("numNodes", 1))

    @property
    def first_failure(self) -> Worker | None:
        """The pod that failed first: the others' failures often follow from it."""
        failed = [w for w in self.workers if w.code]
        # Those that only ask to be started again are seldom the cause.
        return min(failed, key=lambda w: (w.code in (75, 143), w.ended_at), default=None)


def names_of(cluster: Cluster) -> list[tuple[str, str]]:
    """Returns (kind, name) of every distflow job of the namespace."""
    label = f"{PART_OF}=distflow"
    found = [
        (m["kind"], m["metadata"]["name"]) for kind in STARTS for m in _own(cluster, kind, label)
    ]
    return sorted(found, key=lambda pair: pair[1])


def look(cluster: Cluster, name: str) -> JobView | None:
    """Returns a job with its workers, None if there is none of that name."""
    for kind in STARTS:
        main = cluster.get(kind, name)
        if main is not None:
            pods = cluster.list("Pod", f"{INSTANCE}={name}")
            workers = sorted((_worker(pod) for pod in pods), key=_order)
            state, reason = _state({"kind": kind, **main}, workers)
            return JobView({"kind": kind, **main}, state, reason, workers)
    return None


def _own(cluster: Cluster, kind: str, label: str) -> list[Object]:
    """Jobs that a JobSet or an operator made are not the user's."""
    return [m for m in cluster.list(kind, label) if not m["metadata"].get("ownerReferences")]


def _order(worker: Worker) -> tuple[bool, int, str]:
    return (worker.rank is not None, worker.rank or 0, worker.name)


def _state(main: Object, workers: list[Worker]) -> tuple[str, str]:
    status = main.get("status") or {}
    for condition in status.get("conditions", []):
        if condition.get("status") == "True" and condition["type"] in _ENDS:
            reason = ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
            return _ENDS[condition["type"]], reason
    spec = main["spec"]
    if (spec.get("runPolicy") or spec).get("suspend"):
        return "suspended", "waits to be admitted by its queue, or to be resumed"
    if any(worker.phase.startswith("running") for worker in workers):
        return "running", ""
    return "waiting", "" if workers else "has no pods yet"


def _worker(pod: Object) -> Worker:
    metadata, status = pod["metadata"], pod.get("status") or {}
    labels = metadata.get("labels", {})
    index = labels.get(_INDEX, metadata.get("annotations", {}).get(_INDEX, labels.get(_MPI_INDEX)))
    container: Object = next(iter(status.get("containerStatuses") or []), {})
    ended = (container.get("state") or {}).get("terminated") or {}
    return Worker(
        name=metadata["name"],
        rank=int(index) if index is not None else None,
        phase=_phase(metadata, status, container),
        node=(pod.get("spec") or {}).get("nodeName") or "",
        code=ended.get("exitCode"),
        ended_at=str(ended.get("finishedAt") or ""),
        is_ready=bool(container.get("ready")),
        uid=str(metadata.get("uid", "")),
    )


def _phase(metadata: Object, status: Object, container: Object) -> str:
    state = container.get("state") or {}
    if state.get("terminated"):
        return _ending(state["terminated"], status)
    if metadata.get("deletionTimestamp"):
        return "ending"
    if state.get("waiting"):
        waiting = state["waiting"]
        return "waits: " + ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    phase = str(status.get("phase") or "Pending").lower()
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("status") == "False":
            return f"waits for a node: {condition.get('message') or condition.get('reason')}"
    return phase


def _ending(terminated: Object, status: Object) -> str:
    code = int(terminated.get("exitCode") or 0)
    if terminated.get("reason") == "OOMKilled":
        return "killed: out of memory (raise --memory)"
    disrupted = [
        c for c in status.get("conditions", [])
        if c["type"] == "DisruptionTarget" and c.get("status") == "True"
    ]  # fmt: skip
    if disrupted:
        return f"evicted: {disrupted[0].get('reason') or 'drained'}"
    if code == 0:
        return "finished"
    return "failed: " + rank.ending(128 - code if 128 < code < 160 else code)


def age(main: Object) -> str:
    """Returns how long ago an object was made, in the largest fitting unit."""
    text = main["metadata"].get("creationTimestamp")
    if not text:
        return "?"
    made = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    seconds = (datetime.datetime.now(datetime.timezone.utc) - made).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
