"""The MPIJob of deploy/k8s/overlays/mpijob: mpirun and sshd, each in a pod, under an operator."""

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
from tests.fakekube.store import Key, key_of

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
def golden() -> str:
    found = re.search(DIGEST, manifests.golden(str(manifests.DIGITS), "--epochs", "3"))
    assert found
    return found[1]


def mpijob(workers: int = 2) -> list[dict[str, Any]]:
    """The overlay with so many workers, and three epochs."""
    rendered = manifests.overlay("mpijob")
    job = manifests.the(rendered, "MPIJob")
    roles = job["spec"]["mpiReplicaSpecs"]
    roles["Worker"]["replicas"] = workers
    args = roles["Launcher"]["template"]["spec"]["containers"][0]["args"]
    assert args[:2] == ["-n", "2"]
    args[1] = str(workers)
    args += ["--epochs", "3"]
    return rendered


def launchers(cluster: Cluster) -> list[dict[str, Any]]:
    """The launcher's pods, the first one first."""
    found = cluster.store.list("v1", "Pod", labels={"batch.kubernetes.io/job-name": LAUNCHER})
    return sorted(found, key=lambda pod: int(pod["status"]["podIP"].rpartition(".")[2])
                  if "podIP" in pod.get("status", {}) else 999)  # fmt: skip


def output(cluster: Cluster) -> str:
    return "".join(cluster.log(pod) for pod in launchers(cluster))


def wait_for_success(cluster: Cluster) -> None:
    def ended() -> list[str]:
        conditions = cluster.store.get(NAME).get("status", {}).get("conditions", [])
        return [c["type"] for c in conditions if c["type"] in ("Succeeded", "Failed")]

    assert cluster.until("the end of the MPIJob", ended) == ["Succeeded"], cluster.report()


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_pods_trains_to_the_bits_of_one_process(
    cluster: Cluster, golden: str, workers: int
):
    cluster.apply(*mpijob(workers))
    wait_for_success(cluster)
    text = output(cluster)
    assert f"4 logical replicas on {workers} worker(s)" in text
    assert re.findall(DIGEST, text) == [golden], cluster.report()


def check_second_try(cluster: Cluster, golden: str) -> None:
    wait_for_success(cluster)
    assert re.findall(DIGEST, output(cluster)) == [golden], cluster.report()
    assert len(launchers(cluster)) == 2
    (launcher,) = cluster.store.list("batch/v1", "Job")
    assert launcher["status"]["failed"] == 1


def test_a_killed_rank_fails_the_launcher_which_starts_again(cluster: Cluster, golden: str):
    cluster.apply(*mpijob())
    cluster.until("training", lambda: "logical replicas" in output(cluster))
    pod = cluster.store.get(Key("v1", "Pod", "default", "digits-mpi-worker-1"))
    namespace = os.readlink(f"/proc/{cluster.process_of(pod)}/ns/pid")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes()
            is_rank = re.match(rb"[^\0]*python[\d.]*\0[^\0]*digits\.py", words)
            if is_rank and os.readlink(process / "ns/pid") == namespace:
                os.kill(int(process.name), signal.SIGKILL)
    check_second_try(cluster, golden)


def test_a_lost_worker_comes_back_and_the_launcher_starts_again(cluster: Cluster, golden: str):
    cluster.apply(*mpijob())
    cluster.until("training", lambda: "logical replicas" in output(cluster))
    lost = cluster.store.get(Key("v1", "Pod", "default", "digits-mpi-worker-1"))
    cluster.store.delete(key_of(lost), grace_seconds=1)
    check_second_try(cluster, golden)


def test_workers_end_with_the_job(cluster: Cluster):
    cluster.apply(*mpijob())
    wait_for_success(cluster)
    cluster.until("no pods of workers", lambda: not [
        pod for pod in cluster.store.list("v1", "Pod") if "worker" in pod["metadata"]["name"]
    ])  # fmt: skip
