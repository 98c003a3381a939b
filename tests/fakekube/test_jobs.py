"""The Job controller, with pods that a test ends by hand: no kubelet, no process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fakekube.jobs import INDEX, JobController, evict
from tests.fakekube.store import Key, NotFound, Store, key_of

JOB = Key("batch/v1", "Job", "default", "j")
POLICY = [
    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}},
]


class Cluster:
    """A store with a Job controller, and pods that do what the test says."""

    def __init__(self) -> None:
        self.store = Store()
        self.controller = JobController(self.store, backoff_seconds=0.001)

    def job(self, size: int = 2, **spec: Any) -> None:
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "w"}]}}
        whole = {
            "completionMode": "Indexed", "completions": size, "parallelism": size,
            "template": template, "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": POLICY}, **spec,
        }  # fmt: skip
        self.store.create(
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": whole}
        )

    def until(self, holds: Callable[[], Any]) -> Any:
        over = time.monotonic() + 30
        while time.monotonic() < over:
            found = holds()
            if found:
                return found
            time.sleep(0.005)
        raise AssertionError((self.status, self.store.list("v1", "Pod")))

    @property
    def status(self) -> dict[str, Any]:
        return self.store.get(JOB).get("status", {})

    def condition(self, kind: str) -> dict[str, Any] | None:
        found = [c for c in self.status.get("conditions", []) if c["type"] == kind]
        return found[0] if found and found[0]["status"] == "True" else None

    def pods(self) -> dict[int, dict[str, Any]]:
        """Living pods by index, each on a node; more than one of an index is an error."""
        living: dict[int, dict[str, Any]] = {}
        for pod in self.store.list("v1", "Pod"):
            if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                continue
            index = int(pod["metadata"]["annotations"][INDEX])
            assert index not in living, "two pods of one index"
            living[index] = pod
            self.store.patch(key_of(pod), {"spec": {"nodeName": "n"}})
        return living

    def wait_for_pods(self, *indexes: int) -> dict[int, dict[str, Any]]:
        return self.until(lambda: (p := self.pods()).keys() == set(indexes) and p)

    def end(self, pod: dict[str, Any], code: int) -> None:
        """Ends a pod as a kubelet reports it."""
        phase = "Failed" if code else "Succeeded"
        containers = [{"name": "w", "state": {"terminated": {"exitCode": code}}}]
        key = key_of(pod)

        def change(found: dict[str, Any]) -> dict[str, Any]:
            status = {"phase": phase, "containerStatuses": containers}
            return {**found, "status": {**found.get("status", {}), **status}}

        changed = self.store.modify(key, change, subresource="status")
        if "deletionTimestamp" in changed["metadata"]:
            self.store.delete(key, grace_seconds=0)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.controller.close()


def test_each_index_has_a_pod_with_its_number_and_name(cluster: Cluster):
    cluster.job(3)
    pods = cluster.wait_for_pods(0, 1, 2)
    assert [pods[i]["spec"]["hostname"] for i in range(3)] == ["j-0", "j-1", "j-2"]
    env = pods[2]["spec"]["containers"][0]["env"]
    assert env == [{"name": "JOB_COMPLETION_INDEX", "value": "2"}]
    assert pods[1]["metadata"]["name"].startswith("j-1-")


def test_exit_0_of_every_index_completes_the_job(cluster: Cluster):
    cluster.job()
    pods = cluster.wait_for_pods(0, 1)
    cluster.end(pods[0], 0)
    cluster.until(lambda: cluster.status.get("completedIndexes") == "0")
    cluster.end(pods[1], 0)
    cluster.until(lambda: cluster.condition("Complete"))
    assert cluster.status["completedIndexes"] == "0-1"
    assert cluster.status["succeeded"] == 2


def test_a_lost_index_comes_back_and_counts(cluster: Cluster):
    cluster.job()
    first = cluster.wait_for_pods(0, 1)[1]
    cluster.end(first, 137)
    second = cluster.until(
        lambda: (p := cluster.pods().get(1)) and p["metadata"]["uid"] != first["metadata"]["uid"]
    )
    assert second
    assert cluster.status["failed"] == 1


def test_too_many_failures_end_the_job(cluster: Cluster):
    cluster.job(backoffLimit=1)
    cluster.end(cluster.wait_for_pods(0, 1)[1], 75)
    cluster.until(lambda: cluster.status.get("failed") == 1)
    cluster.end(cluster.wait_for_pods(0, 1)[1], 75)
    cluster.until(lambda: cluster.condition("FailureTarget"))
    cluster.until(
        lambda: all("deletionTimestamp" in p["metadata"] for p in cluster.pods().values())
    )
    for pod in cluster.pods().values():
        cluster.end(pod, 143)
    failed = cluster.until(lambda: cluster.condition("Failed"))
    assert failed["reason"] == "BackoffLimitExceeded"


def test_an_error_of_the_program_fails_the_job_at_once(cluster: Cluster):
    cluster.job(backoffLimit=10)
    pods = cluster.wait_for_pods(0, 1)
    cluster.end(pods[0], 1)
    target = cluster.until(lambda: cluster.condition("FailureTarget"))
    assert "failed with exit code 1 matching FailJob rule 1" in target["message"]
    cluster.end(cluster.pods()[1], 143)
    assert cluster.until(lambda: cluster.condition("Failed"))["reason"] == "PodFailurePolicy"
    assert cluster.status["failed"] == 1


def test_an_eviction_does_not_count(cluster: Cluster):
    cluster.job(backoffLimit=0)
    pod = cluster.wait_for_pods(0, 1)[1]
    evict(cluster.store, key_of(pod))
    cluster.end(pod, 143)
    cluster.until(
        lambda: (p := cluster.pods().get(1)) and p["metadata"]["uid"] != pod["metadata"]["uid"]
    )
    assert cluster.status.get("failed", 0) == 0
    assert cluster.condition("FailureTarget") is None


def test_no_second_pod_of_an_index_before_the_first_has_ended(cluster: Cluster):
    cluster.job()
    pod = cluster.wait_for_pods(0, 1)[1]
    cluster.store.delete(key_of(pod))
    cluster.until(lambda: cluster.status.get("terminating") == 1)
    assert cluster.pods()[1]["metadata"]["uid"] == pod["metadata"]["uid"]
    cluster.end(pod, 143)
    cluster.until(
        lambda: (p := cluster.pods().get(1)) and p["metadata"]["uid"] != pod["metadata"]["uid"]
    )


def test_size_follows_completions_and_parallelism(cluster: Cluster):
    cluster.job()
    cluster.wait_for_pods(0, 1)
    cluster.store.patch(JOB, {"spec": {"completions": 4, "parallelism": 4}})
    cluster.wait_for_pods(0, 1, 2, 3)
    cluster.store.patch(JOB, {"spec": {"completions": 3, "parallelism": 3}})
    last = cluster.until(lambda: "deletionTimestamp" in (p := cluster.pods()[3])["metadata"] and p)
    cluster.end(last, 143)
    pods = cluster.wait_for_pods(0, 1, 2)
    assert cluster.status.get("failed", 0) == 0
    for pod in pods.values():
        cluster.end(pod, 0)
    cluster.until(lambda: cluster.condition("Complete"))


def test_suspension_ends_the_pods_and_resumption_brings_them_back(cluster: Cluster):
    cluster.job(backoffLimit=0)
    first = cluster.wait_for_pods(0, 1)
    cluster.store.patch(JOB, {"spec": {"suspend": True}})
    cluster.until(
        lambda: all("deletionTimestamp" in p["metadata"] for p in cluster.pods().values())
    )
    for pod in first.values():
        cluster.end(pod, 143)
    cluster.until(lambda: cluster.condition("Suspended") and not cluster.pods())
    cluster.store.patch(JOB, {"spec": {"suspend": False}})
    cluster.wait_for_pods(0, 1)
    assert cluster.status.get("failed", 0) == 0
    assert cluster.condition("Suspended") is None


def test_one_index_may_fail_alone(cluster: Cluster):
    cluster.job(backoffLimitPerIndex=0, podFailurePolicy={"rules": []})
    pods = cluster.wait_for_pods(0, 1)
    cluster.end(pods[0], 3)
    cluster.until(lambda: cluster.status.get("failedIndexes") == "0")
    cluster.end(pods[1], 0)
    assert cluster.until(lambda: cluster.condition("Failed"))["reason"] == "FailedIndexes"


def test_a_finished_job_goes_after_its_time_to_live(cluster: Cluster):
    cluster.job(1, ttlSecondsAfterFinished=0)
    cluster.end(cluster.wait_for_pods(0)[0], 0)

    def is_gone() -> bool:
        try:
            cluster.store.get(JOB)
        except NotFound:
            return True
        return False

    cluster.until(is_gone)
    cluster.until(lambda: not cluster.store.list("v1", "Pod"))
