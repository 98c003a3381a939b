"""The MPIJob of deploy/k8s/overlays/mpijob: mpirun and sshd, each in a pod, under an operator.

With the component pvc and a program that keeps its state there: what is lost, resized, evicted or
suspended goes on from there, and ends with the bits of one process.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster_runs import manifests
from tests.cluster_runs.cluster import Cluster
from tests.fakekube.jobs import evict
from tests.fakekube.store import Key, NotFound, key_of

pytestmark = [pytest.mark.spawn, pytest.mark.soak]
DIGEST = r"weights sha256 ([0-9a-f]{64})"
NAME = Key("kubeflow.org/v2beta1", "MPIJob", "default", "digits-mpi")
LAUNCHER = "digits-mpi-launcher"


@pytest.fixture(autouse=True)
def _programs() -> None:
    lost = [name for name in ("sshd", "ssh", "ssh-keygen") if shutil.which(name) is None]
    if lost:
        pytest.skip(f"not installed: {', '.join(lost)} (Debian: openssh-server openssh-client)")
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed (extra mpi)")
    mpirun = shutil.which("mpirun", path=f"{sys.prefix}/bin")
    if mpirun is None:
        pytest.skip("no mpirun in this environment (extra mpi)")
    text = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=60,
                          check=False).stdout  # fmt: skip
    if "Open MPI" not in text:
        pytest.skip("the manifests are for Open MPI")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("golden")
    found = re.search(DIGEST, manifests.golden(str(manifests.KEPT_JOB), str(folder)))
    assert found
    return found[1]


def mpijob(folder: Path, workers: int = 2, seconds: float = 0.0) -> list[dict[str, Any]]:
    """The overlay and its volume, with so many workers and seconds a step."""
    rendered = manifests.with_claim("mpijob", folder)
    roles = manifests.the(rendered, "MPIJob")["spec"]["mpiReplicaSpecs"]
    roles["Worker"]["replicas"] = workers
    args = roles["Launcher"]["template"]["spec"]["containers"][0]["args"]
    args[-1:] = [str(manifests.KEPT_JOB), "/checkpoints/kept", str(seconds)]
    return rendered


def launchers(cluster: Cluster) -> list[dict[str, Any]]:
    """The launcher's pods, the first one first."""
    found = cluster.store.list("v1", "Pod", labels={"batch.kubernetes.io/job-name": LAUNCHER})
    return sorted(found, key=lambda pod: pod["metadata"]["creationTimestamp"])


def output(cluster: Cluster) -> str:
    return "".join(cluster.log(pod) for pod in launchers(cluster))


def wait_for_success(cluster: Cluster) -> None:
    def ended() -> list[str]:
        conditions = cluster.store.get(NAME).get("status", {}).get("conditions", [])
        return [c["type"] for c in conditions if c["type"] in ("Succeeded", "Failed")]

    assert cluster.until("the end of the MPIJob", ended) == ["Succeeded"], cluster.report()


def at_step(cluster: Cluster, step: int, workers: int) -> None:
    """Waits for a step on so many workers."""
    words = rf"\] step {step} on {workers} worker"
    cluster.until(words, lambda: re.search(words, output(cluster)))


def steps(text: str) -> list[int]:
    return [int(step) for step in re.findall(r"\] step (\d+) on", text)]


def check(cluster: Cluster, golden: str) -> None:
    wait_for_success(cluster)
    assert re.findall(DIGEST, output(cluster)) == [golden], cluster.report()


def worker(cluster: Cluster, index: int) -> dict[str, Any]:
    return cluster.store.get(Key("v1", "Pod", "default", f"digits-mpi-worker-{index}"))


def resize(cluster: Cluster, workers: int) -> None:
    patch = {"spec": {"mpiReplicaSpecs": {"Worker": {"replicas": workers}}}}
    cluster.store.patch(NAME, patch)


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_pods_trains_to_the_bits_of_one_process(
    cluster: Cluster, golden: str, tmp_path: Path, workers: int
):
    cluster.apply(*mpijob(tmp_path, workers))
    check(cluster, golden)
    assert f"step 36 on {workers} worker(s)" in output(cluster)


def test_the_overlay_as_it_is_trains_the_digits(cluster: Cluster):
    cluster.apply(*manifests.overlay("mpijob"))
    wait_for_success(cluster)
    wanted = re.search(DIGEST, manifests.golden(str(manifests.DIGITS)))
    assert wanted
    assert re.findall(DIGEST, output(cluster)) == [wanted[1]], cluster.report()


def test_a_killed_rank_costs_a_restart_of_mpirun(cluster: Cluster, golden: str, tmp_path: Path):
    cluster.apply(*mpijob(tmp_path, seconds=0.1))
    at_step(cluster, 14, 2)
    namespace = os.readlink(f"/proc/{cluster.process_of(worker(cluster, 1))}/ns/pid")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            is_rank = re.match(rb"[^\0]*python[\d.]*\0[^\0]*kept_job\.py", words)
            if is_rank and os.readlink(process / "ns/pid") == namespace:
                os.kill(int(process.name), signal.SIGKILL)
    check(cluster, golden)
    assert "2 -> 2 hosts: started again from its last backup (restart 1 of 12)" in output(cluster)
    assert len(launchers(cluster)) == 1


@pytest.mark.parametrize("lost", ["sshd", "pod"])
def test_a_lost_worker_comes_back_and_training_goes_on(
    cluster: Cluster, golden: str, tmp_path: Path, lost: str
):
    cluster.apply(*mpijob(tmp_path, seconds=0.1))
    at_step(cluster, 14, 2)
    before = worker(cluster, 1)
    if lost == "sshd":  # and with it all of its container, which is started again
        os.kill(cluster.process_of(before), signal.SIGKILL)
    else:  # and the operator makes another pod; its ranks have a second to end
        cluster.store.delete(key_of(before), grace_seconds=1)

    def is_back() -> bool:
        with contextlib.suppress(NotFound):
            now = worker(cluster, 1)
            (status,) = now.get("status", {}).get("containerStatuses") or [{}]
            if lost == "sshd":
                return status.get("restartCount") == 1
            return now["metadata"]["uid"] != before["metadata"]["uid"]
        return False

    cluster.until("the worker again", is_back)
    check(cluster, golden)
    assert "started again from" in output(cluster)
    assert len(launchers(cluster)) == 1


def test_a_drained_pod_loses_no_step(cluster: Cluster, golden: str, tmp_path: Path):
    cluster.apply(*mpijob(tmp_path, seconds=0.2))
    at_step(cluster, 5, 2)
    evict(cluster.store, key_of(worker(cluster, 1)))
    check(cluster, golden)
    assert steps(output(cluster)) == list(range(1, 37)), cluster.report()


def test_two_workers_become_four_and_then_three(cluster: Cluster, golden: str, tmp_path: Path):
    cluster.apply(*mpijob(tmp_path, seconds=0.4))
    at_step(cluster, 3, 2)
    resize(cluster, 4)
    cluster.until("some steps", lambda: len(re.findall("on 4 worker", output(cluster))) >= 3)
    resize(cluster, 3)
    check(cluster, golden)
    text = output(cluster)
    assert "step 36 on 3 worker(s)" in text
    assert re.search(r"2 -> 4 hosts: started again from step \d+", text), text
    assert re.search(r"4 -> 3 hosts: started again from step \d+", text), text
    assert steps(output(cluster)) == list(range(1, 37)), text
    assert len(launchers(cluster)) == 1


def test_a_suspended_job_is_kept_in_mid_epoch_and_goes_on(
    cluster: Cluster, golden: str, tmp_path: Path
):
    cluster.apply(*mpijob(tmp_path, seconds=0.2))
    at_step(cluster, 5, 2)
    (first,) = launchers(cluster)
    cluster.store.patch(NAME, {"spec": {"runPolicy": {"suspend": True}}})
    cluster.until("the end of all pods", lambda: cluster.is_gone(first) and not any(
        pod.get("status", {}).get("phase") == "Running"
        for pod in cluster.store.list("v1", "Pod")))  # fmt: skip
    text = cluster.log(first)
    assert re.search(r"all is kept after step \d+ in /checkpoints/kept", text), text
    cluster.store.patch(NAME, {"spec": {"runPolicy": {"suspend": False}}})
    check(cluster, golden)
    second = launchers(cluster)[-1]
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert steps(text) + steps(cluster.log(second)) == list(range(1, 37)), cluster.report()


def test_an_evicted_launcher_ends_with_a_backup_and_comes_back(
    cluster: Cluster, golden: str, tmp_path: Path
):
    cluster.apply(*mpijob(tmp_path, seconds=0.2))
    at_step(cluster, 5, 2)
    (first,) = launchers(cluster)
    evict(cluster.store, key_of(first))
    check(cluster, golden)
    text = cluster.log(first)
    assert "SIGTERM handed on to the workers" in text
    second = launchers(cluster)[-1]
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert steps(text) + steps(cluster.log(second)) == list(range(1, 37)), cluster.report()


def test_workers_end_with_the_job(cluster: Cluster, tmp_path: Path):
    cluster.apply(*mpijob(tmp_path))
    wait_for_success(cluster)
    cluster.until("no pods of workers", lambda: not [
        pod for pod in cluster.store.list("v1", "Pod") if "worker" in pod["metadata"]["name"]
    ])  # fmt: skip
