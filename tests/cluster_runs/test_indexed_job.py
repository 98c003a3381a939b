"""The Indexed Job of deploy/k8s/overlays/job-grpc, run by the tests' kubelet."""

from __future__ import annotations

import os
import re
import signal

import pytest

from tests.cluster_runs import manifests
from tests.cluster_runs.cluster import Cluster
from tests.fakekube import cgroup

pytestmark = [pytest.mark.spawn]
DIGEST = r"weights sha256 ([0-9a-f]{64})"
MLP = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import golden_models as golden
import distflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy(logical_replicas=golden.REPLICAS)
print("weights sha256", golden.train(strategy, "mlp", "adam", steps=6))
"""
GOLDEN_FOLDER = str(manifests.sources.ROOT / "tests/distribute")


def test_two_pods_train_to_the_bits_of_one_process(cluster: Cluster):
    words = ("-c", MLP, GOLDEN_FOLDER)
    job = manifests.run(manifests.overlay("job-grpc"), *words, DISTFLOW_REPLICAS="8")
    cluster.apply(*job)
    wanted = re.search(DIGEST, manifests.golden(*words))
    assert cluster.wait_for_end("digits") == "Complete", cluster.report()
    found = [re.search(DIGEST, cluster.log(pod)) for pod in cluster.pods("digits").values()]
    assert wanted
    assert [match and match[1] for match in found] == [wanted[1], wanted[1]], cluster.report()


@pytest.mark.soak
def test_the_overlay_as_it_is_survives_a_lost_pod(cluster: Cluster):
    # A job of fixed size starts all its workers anew: each then exits 75, which is counted.
    manifest = manifests.overlay("job-grpc")
    cluster.apply(*manifest)
    cluster.wait_for_line("digits", 0, r"4 logical replicas on 2 worker\(s\)")
    lost = cluster.pods("digits")[1]
    os.kill(cluster.process_of(lost), signal.SIGKILL)
    assert cluster.wait_for_end("digits") == "Complete", cluster.report()
    pods = cluster.pods("digits")
    assert pods[1]["metadata"]["uid"] != lost["metadata"]["uid"]
    ended = [
        pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"]
        for pod in cluster.store.list("v1", "Pod")
    ]
    assert sorted(ended) == [0, 0, 75, 137]
    wanted = re.search(DIGEST, manifests.golden(str(manifests.DIGITS)))
    found = re.search(DIGEST, cluster.log(pods[0]))
    assert wanted
    assert found
    assert found[1] == wanted[1]


@pytest.mark.soak
def test_an_error_of_the_program_ends_the_job_at_once(cluster: Cluster):
    job = manifests.run(manifests.overlay("job-grpc"), "-c", "raise SystemExit(1)")
    cluster.apply(*job)
    assert cluster.wait_for_end("digits") == "Failed"
    (failed,) = [
        c
        for c in cluster.store.get(cluster.key("digits"))["status"]["conditions"]
        if c["type"] == "Failed"
    ]
    assert failed["reason"] == "PodFailurePolicy"
    assert "exit code 1" in failed["message"]
    assert len(cluster.store.list("v1", "Pod")) <= 2


@pytest.mark.soak
def test_a_pod_beyond_its_memory_is_killed_and_says_so(cluster: Cluster):
    if not cgroup.is_mounted():
        pytest.skip("no memory controller of cgroup v1 at /sys/fs/cgroup/memory")
    eat = "held = []\nwhile True: held.append(bytearray(1 << 24))"
    job = manifests.run(manifests.overlay("job-grpc"), "-c", eat)
    manifests.the(job, "Job")["spec"]["backoffLimit"] = 0
    cluster.apply(*job)
    assert cluster.wait_for_end("digits") == "Failed"
    states = [
        pod["status"]["containerStatuses"][0]["state"]["terminated"]
        for pod in cluster.store.list("v1", "Pod")
    ]
    assert (137, "OOMKilled") in [(state["exitCode"], state["reason"]) for state in states]
