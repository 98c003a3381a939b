"""The elastic Indexed Job loses pods, changes its size, is suspended, and ends with its bits."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cluster_runs import manifests
from tests.cluster_runs.cluster import Cluster
from tests.fakekube.jobs import evict
from tests.fakekube.store import key_of

pytestmark = [pytest.mark.spawn, pytest.mark.soak]
NAME = "digits-elastic"
REPLICAS = "5"
STEPS = 12  # of each of three epochs


def program(rendered: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """The overlay's objects, running the job of the elastic tests, so many seconds a step."""
    words = (str(manifests.ELASTIC_JOB), "fit", str(STEPS), str(seconds))
    more = {"DISTFLOW_REPLICAS": REPLICAS, "DISTFLOW_SILENCE": "3", "DISTFLOW_LOG_LEVEL": "INFO"}
    return manifests.run(rendered, *words, **more)


@pytest.fixture(scope="module")
def golden() -> str:
    text = manifests.golden(str(manifests.ELASTIC_JOB), "fit", str(STEPS))
    found = re.search(r"sha256=(\w+)", text)
    assert found
    return found[1]


def check(cluster: Cluster, golden: str) -> None:
    """The Job is complete, and each worker that came to the end has the golden hash."""
    assert cluster.wait_for_end(NAME) == "Complete", cluster.report()
    texts = [cluster.log(pod) for pod in cluster.store.list("v1", "Pod")]
    found = [h for text in texts for h in re.findall(r"sha256=(\w+)", text)]
    assert set(found) == {golden}, cluster.report()


def at_step(cluster: Cluster, index: int, step: int) -> None:
    cluster.wait_for_line(NAME, index, rf"^step {step} ")


@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_pod_comes_back_and_the_bits_stay(cluster: Cluster, golden: str, index: int):
    # Index 0 has the coordinator: its successor has the same name and another address.
    cluster.apply(*program(manifests.overlay("job-grpc-elastic"), 0.4))
    at_step(cluster, index, 3)
    lost = cluster.pods(NAME)[index]
    os.kill(cluster.process_of(lost), signal.SIGKILL)
    cluster.until("a new pod", lambda: cluster.is_gone(lost) and not cluster.is_gone(
        cluster.pods(NAME)[index]))  # fmt: skip
    cluster.wait_for_line(NAME, index, r"generation \d+ at event")
    check(cluster, golden)
    assert cluster.store.get(cluster.key(NAME))["status"]["failed"] == 1


def test_a_drained_pod_leaves_in_good_order_and_does_not_count(cluster: Cluster, golden: str):
    cluster.apply(*program(manifests.overlay("job-grpc-elastic"), 0.3))
    at_step(cluster, 1, 3)
    drained = cluster.pods(NAME)[1]
    evict(cluster.store, key_of(drained))
    cluster.until("its end", lambda: cluster.is_gone(drained))
    assert "leaves after event" in cluster.log(drained)
    check(cluster, golden)
    assert cluster.store.get(cluster.key(NAME))["status"].get("failed", 0) == 0


def test_two_workers_become_four_and_then_three(cluster: Cluster, golden: str):
    cluster.apply(*program(manifests.overlay("job-grpc-elastic"), 0.6))
    at_step(cluster, 0, 2)
    cluster.patch(NAME, {"completions": 4, "parallelism": 4})
    cluster.wait_for_line(NAME, 0, r"generation \d+ at event \d+: rank \d of 4")
    cluster.patch(NAME, {"completions": 3, "parallelism": 3})
    last = cluster.pods(NAME)[3]
    cluster.until("the end of index 3", lambda: cluster.is_gone(last))
    assert "leaves after event" in cluster.log(last)
    cluster.wait_for_line(NAME, 0, r"of 4[\s\S]*generation \d+ at event \d+: rank \d of 3")
    check(cluster, golden)
    status = cluster.store.get(cluster.key(NAME))["status"]
    assert status["completedIndexes"] == "0-2"
    assert status.get("failed", 0) == 0


def test_a_suspended_job_is_kept_and_goes_on(cluster: Cluster, golden: str, tmp_path: Path):
    rendered = manifests.with_claim("job-grpc-elastic", tmp_path)
    cluster.apply(*program(rendered, 0.3))
    at_step(cluster, 0, 5)
    first = cluster.pods(NAME)
    cluster.patch(NAME, {"suspend": True})
    for pod in first.values():
        cluster.until("the end of every pod", lambda pod=pod: cluster.is_gone(pod))
    kept = list((cluster.kubelet.claims / "checkpoints").rglob("*"))
    assert kept
    cluster.patch(NAME, {"suspend": False})
    cluster.until("new pods", lambda: cluster.pods(NAME) and not any(
        cluster.is_gone(pod) for pod in cluster.pods(NAME).values()))  # fmt: skip
    generation = cluster.wait_for_line(NAME, 0, r"generation 1 at event (\d+)")
    assert int(generation[1]) >= 5
    check(cluster, golden)
    assert not list((cluster.kubelet.claims / "checkpoints").rglob("*.*"))
