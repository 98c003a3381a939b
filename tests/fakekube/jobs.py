"""The Job controller of the tests' cluster: pods by index, failures, size, suspension.

As Kubernetes 1.31 and later: https://kubernetes.io/docs/concepts/workloads/controllers/job/. A pod
carries a finalizer until it has been counted, so none is lost between its end and the count. The
one thing that differs is the time between tries, which starts at `backoff_seconds`. A Job that is
not Indexed is one whose pods do not know their index.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import threading
import time
from typing import Any

from tests.fakekube.failures import Counted, judge
from tests.fakekube.names import is_ready
from tests.fakekube.store import AlreadyExists, Conflict, Key, NotFound, Store, key_of, now

API = "batch/v1"
FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
NAME_LABEL = "batch.kubernetes.io/job-name"
UID_LABEL = "batch.kubernetes.io/controller-uid"
OURS = "fakekube/deleted-by-controller"  # its end is no failure
Object = dict[str, Any]


class JobController:
    """Brings the pods of every Job to what its spec says, from a thread until `close`."""

    def __init__(self, store: Store, *, backoff_seconds: float = 0.05):
        self.store, self.backoff_seconds = store, backoff_seconds
        self._not_before: dict[tuple[str, int], float] = {}
        self._failures: dict[str, dict[int, int]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> JobController:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the thread; pods stay as they are."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen = 0
        while not self._stop.is_set():
            # Deadlines and times to live pass without an event, so look now and then.
            for event in self.store.watch(since=seen, timeout_seconds=0.05):
                seen = event.version
                if self._stop.is_set():
                    return
                break
            for job in self.store.list(API, "Job"):
                with contextlib.suppress(Conflict, NotFound):
                    self.sync(job)
            self._release_orphans()

    def _release_orphans(self) -> None:
        """Lets pods go whose Job is gone: nobody will count them."""
        uids = {job["metadata"]["uid"] for job in self.store.list(API, "Job")}
        for pod in self.store.list("v1", "Pod"):
            uid = pod["metadata"].get("labels", {}).get(UID_LABEL)
            if uid and uid not in uids and FINALIZER in pod["metadata"].get("finalizers", []):
                with contextlib.suppress(Conflict, NotFound):
                    self.store.modify(key_of(pod), _without_finalizer)

    def sync(self, job: Object) -> None:
        """Does what is to be done for one Job now."""
        key, spec = key_of(job), job["spec"]
        if "deletionTimestamp" in job["metadata"]:
            return
        pods = self._pods(job)
        status = self._count(job, pods)
        finished = _condition(status, "Complete") or _condition(status, "Failed")
        living = [p for p in pods if _is_living(p)]
        if not finished:
            finished = self._end(job, status, pods)
        if finished:
            self._delete(living)
            self._expire(key, spec, status)
        elif spec.get("suspend"):
            self._delete(living)
            status.pop("startTime", None)
            _set_condition(status, "Suspended", "True")
        else:
            if _condition(status, "Suspended"):
                _set_condition(status, "Suspended", "False")
            status.setdefault("startTime", now())
            self._scale(job, status, pods)
        self._write(key, status)

    # Counting -----------------------------------------------------------------------------

    def _pods(self, job: Object) -> list[Object]:
        labels = {UID_LABEL: job["metadata"]["uid"]}
        return self.store.list("v1", "Pod", job["metadata"]["namespace"], labels=labels)

    def _count(self, job: Object, pods: list[Object]) -> Object:
        """Adds pods that have ended since to the status, and lets them go."""
        status = copy.deepcopy(job.get("status", {}))
        done = _indexes(status.get("completedIndexes", ""))
        failed_indexes = _indexes(status.get("failedIndexes", ""))
        uid = job["metadata"]["uid"]
        counts = self._failures.setdefault(uid, {})  # by index
        for pod in pods:
            phase = pod.get("status", {}).get("phase")
            is_gone = "deletionTimestamp" in pod["metadata"] and not pod["spec"].get("nodeName")
            if FINALIZER not in pod["metadata"].get("finalizers", []):
                continue
            if phase not in ("Succeeded", "Failed") and not is_gone:
                continue
            index = _index(pod)
            if phase == "Succeeded":
                done.add(index)
                status["succeeded"] = len(done)
            elif OURS not in pod["metadata"].get("annotations", {}) and not is_gone:
                verdict, message = judge(job["spec"], pod)
                if verdict is Counted.FAIL_JOB:
                    _set_condition(status, "FailureTarget", "True", "PodFailurePolicy", message)
                elif verdict is Counted.FAIL_INDEX:
                    failed_indexes.add(index)
                if verdict is not Counted.IGNORED:
                    status["failed"] = status.get("failed", 0) + 1
                    counts[index] = counts.get(index, 0) + 1
                    wait = self.backoff_seconds * 2 ** min(counts[index] - 1, 6)
                    self._not_before[uid, index] = time.monotonic() + wait
            status["completedIndexes"] = _ranges(done)
            if failed_indexes:
                status["failedIndexes"] = _ranges(failed_indexes)
            # The count is stored before the pod may go, never after: see FINALIZER.
            self._write(key_of(job), status)
            with contextlib.suppress(NotFound):
                self.store.modify(key_of(pod), _without_finalizer)
        limit = job["spec"].get("backoffLimitPerIndex")
        if limit is not None:
            over = {index for index, count in counts.items() if count > limit}
            if over - failed_indexes:
                status["failedIndexes"] = _ranges(failed_indexes | over)
        # A smaller job forgets the indexes that it has not any more.
        kept = {i for i in done if i < job["spec"].get("completions", 1)}
        if status.get("completedIndexes") is not None:
            status["completedIndexes"], status["succeeded"] = _ranges(kept), len(kept)
        living = [p for p in pods if _is_living(p) and "deletionTimestamp" not in p["metadata"]]
        ending = [p for p in pods if _is_living(p) and "deletionTimestamp" in p["metadata"]]
        status["active"], status["terminating"] = len(living), len(ending)
        status["ready"] = len([pod for pod in living if is_ready(pod)])
        return status

    def _end(self, job: Object, status: Object, pods: list[Object]) -> bool:
        """Ends the Job in its status if it is complete or has failed; returns whether it is."""
        spec = job["spec"]
        completions = spec.get("completions", 1)
        done = _indexes(status.get("completedIndexes", ""))
        failed = _indexes(status.get("failedIndexes", "")) - done
        verdict = None
        target = _condition(status, "FailureTarget")
        per_index = spec.get("backoffLimitPerIndex") is not None
        limit = spec.get("backoffLimit", 2**31 - 1 if per_index else 6)
        deadline = spec.get("activeDeadlineSeconds")
        if target:
            verdict = (target["reason"], target["message"])
        elif status.get("failed", 0) > limit:
            verdict = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif len(failed) > spec.get("maxFailedIndexes", completions):
            verdict = ("MaxFailedIndexesExceeded", "Job has exceeded the number of failed indexes")
        elif deadline is not None and _age(status.get("startTime")) >= deadline:
            verdict = ("DeadlineExceeded", "Job was active longer than specified deadline")
        elif failed and len(done | failed) >= completions:
            verdict = ("FailedIndexes", "Job has failed indexes")
        if verdict is None and len(done) < completions:
            return False
        if any(_is_living(pod) for pod in pods):
            # The last condition comes when every pod has ended; the pods are on their way.
            if verdict is not None:
                _set_condition(status, "FailureTarget", "True", *verdict)
            else:
                _set_condition(status, "SuccessCriteriaMet", "True", "CompletionsReached", "")
            return True
        if verdict is not None:
            _set_condition(status, "Failed", "True", *verdict)
        else:
            _set_condition(status, "Complete", "True", "CompletionsReached", "")
            status["completionTime"] = now()
        return True

    # Acting -------------------------------------------------------------------------------

    def _scale(self, job: Object, status: Object, pods: list[Object]) -> None:
        """Makes the pods of indexes that have none, and ends those of indexes that are too many."""
        spec = job["spec"]
        completions = spec.get("completions", 1)
        done = _indexes(status.get("completedIndexes", ""))
        done |= _indexes(status.get("failedIndexes", ""))
        living = [pod for pod in pods if _is_living(pod)]
        self._delete([pod for pod in living if _index(pod) >= completions])
        active = {_index(p) for p in living if "deletionTimestamp" not in p["metadata"]}
        # Both of one index at once unless the Job waits for the old one's end.
        waits = spec.get("podReplacementPolicy") == "Failed" or "podFailurePolicy" in spec
        ending = {_index(p) for p in living if "deletionTimestamp" in p["metadata"]}
        uncounted = {_index(p) for p in pods if FINALIZER in p["metadata"].get("finalizers", [])}
        taken = active | done | (ending | uncounted if waits else set())
        room = spec.get("parallelism", 1) - len(active) - (len(ending) if waits else 0)
        for index in range(completions):
            if room <= 0:
                break
            if index in taken:
                continue
            if time.monotonic() >= self._not_before.get((job["metadata"]["uid"], index), 0.0):
                with contextlib.suppress(AlreadyExists):
                    self.store.create(pod_of(job, index))
                room -= 1
        excess = len(active) - spec.get("parallelism", 1)
        if excess > 0:
            by_index = sorted((p for p in living if _index(p) in active), key=_index)
            self._delete(by_index[-excess:])

    def _delete(self, pods: list[Object]) -> None:
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"]:
                continue
            with contextlib.suppress(NotFound):
                self.store.patch(key_of(pod), {"metadata": {"annotations": {OURS: "true"}}})
                self.store.delete(key_of(pod))

    def _expire(self, key: Key, spec: Object, status: Object) -> None:
        ttl = spec.get("ttlSecondsAfterFinished")
        ended = _condition(status, "Complete") or _condition(status, "Failed")
        if ttl is not None and ended and _age(ended["lastTransitionTime"]) >= ttl:
            self.store.delete(key)

    def _write(self, key: Key, status: Object) -> None:
        def change(job: Object) -> Object:
            job["status"] = copy.deepcopy(status)
            return job

        self.store.modify(key, change, subresource="status")


def pod_of(job: Object, index: int) -> Object:
    """Returns the pod of one completion index, as the Job controller makes it."""
    metadata, template = job["metadata"], copy.deepcopy(job["spec"]["template"])
    name = metadata["name"]
    labels = {
        **template.get("metadata", {}).get("labels", {}),
        NAME_LABEL: name, "job-name": name, INDEX: str(index),
        UID_LABEL: metadata["uid"], "controller-uid": metadata["uid"],
    }  # fmt: skip
    spec = template["spec"]
    is_indexed = job["spec"].get("completionMode") == "Indexed"
    if is_indexed:
        spec.setdefault("hostname", f"{name}-{index}")
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            container.setdefault("env", []).append(
                {"name": "JOB_COMPLETION_INDEX", "value": str(index)}
            )
    annotations = {**template.get("metadata", {}).get("annotations", {}), INDEX: str(index)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{name}-{index}-" if is_indexed else f"{name}-",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
            "finalizers": [FINALIZER],
            "ownerReferences": [
                {"apiVersion": API, "kind": "Job", "name": name, "uid": metadata["uid"],
                 "controller": True, "blockOwnerDeletion": True}
            ],
        },
        "spec": spec,
    }  # fmt: skip


def evict(store: Store, key: Key) -> None:
    """Deletes a pod as the eviction API does: with the condition that says it was disrupted."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}

    def change(pod: Object) -> Object:
        conditions = pod.setdefault("status", {}).setdefault("conditions", [])
        conditions.append(condition)
        return pod

    store.modify(key, change, subresource="status")
    store.delete(key)


def _is_living(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")


def _index(pod: Object) -> int:
    return int(pod["metadata"]["annotations"][INDEX])


def _without_finalizer(pod: Object) -> Object:
    left = [f for f in pod["metadata"].get("finalizers", []) if f != FINALIZER]
    pod["metadata"]["finalizers"] = left
    return pod


def _condition(status: Object, kind: str) -> Object | None:
    for condition in status.get("conditions", []):
        if condition["type"] == kind and condition["status"] == "True":
            return condition
    return None


def _set_condition(
    status: Object, kind: str, value: str, reason: str = "", message: str = ""
) -> None:
    conditions = status.setdefault("conditions", [])
    new = {"type": kind, "status": value, "reason": reason, "message": message}
    for condition in conditions:
        if condition["type"] == kind:
            if condition["status"] != value:
                condition.update(new, lastTransitionTime=now())
            return
    conditions.append({**new, "lastTransitionTime": now()})


def _age(time_text: str | None) -> float:
    if time_text is None:
        return 0.0
    then = datetime.datetime.strptime(time_text, "%Y-%m-%dT%H:%M:%SZ")
    then = then.replace(tzinfo=datetime.timezone.utc)
    return (datetime.datetime.now(datetime.timezone.utc) - then).total_seconds()


def _indexes(text: str) -> set[int]:
    """The set that `0,2-4` writes."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _ranges(indexes: set[int]) -> str:
    """Writes a set of indexes as Kubernetes does: `0,2-4`."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
