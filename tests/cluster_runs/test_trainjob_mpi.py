"""The TrainJob of deploy/k8s/overlays/trainjob-mpi: the pods that its JobSet would have.

What the trainer and JobSet do is done here by hand: two Jobs, the headless Service, the job's ssh
key in both, the file of hosts in the launcher. Source: pkg/runtime/framework/plugins/mpi/mpi.go of
kubeflow/trainer, v2.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cluster_runs import manifests
from tests.cluster_runs.cluster import Cluster
from tests.cluster_runs.test_mpijob import DIGEST, _programs, golden, steps
from tests.fakekube.jobs import API, evict
from tests.fakekube.mpijobs import with_keys
from tests.fakekube.store import key_of

__all__ = ["_programs", "golden"]
pytestmark = [pytest.mark.spawn, pytest.mark.soak]
NAME = "digits-train-mpi"


def start(cluster: Cluster, folder: Path, seconds: float) -> None:
    """Makes what becomes of the overlay with its volume, running the job that keeps its state."""
    rendered = manifests.with_claim("trainjob-mpi", folder)
    runtime = manifests.the(rendered, "TrainingRuntime")["spec"]
    place = runtime["mlPolicy"]["mpi"]["sshAuthMountPath"]
    metadata = {"name": NAME, "namespace": "default", "uid": "0"}
    job: dict[str, Any] = {"metadata": metadata, "spec": {"sshAuthMountPath": place}}
    cluster.operator.make_secret(job)
    count = manifests.the(rendered, "TrainJob")["spec"]["trainer"]["numNodes"]
    lines = "".join(f"{NAME}-node-0-{i}.{NAME} slots=1\n" for i in range(count))
    own = {"app.kubernetes.io/instance": NAME}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hosts"},
         "data": {"hostfile": lines}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
         "spec": {"clusterIP": "None", "selector": own, "publishNotReadyAddresses": True}},
    )  # fmt: skip
    for replicated in runtime["template"]["spec"]["replicatedJobs"]:
        spec = copy.deepcopy(replicated["template"]["spec"])
        pod = with_keys(job, spec["template"]["spec"])
        pod["subdomain"] = NAME
        if replicated["name"] == "launcher":
            box = pod["containers"][0]
            box["args"][-1:] = [str(manifests.KEPT_JOB), "/checkpoints/kept", str(seconds)]
            pod["volumes"].append({"name": "mpi-hostfile", "configMap": {"name": "hosts"}})
            box["volumeMounts"].append({"name": "mpi-hostfile", "mountPath": "/etc/mpi"})
        made = {"name": f"{NAME}-{replicated['name']}-0"}
        cluster.apply({"apiVersion": API, "kind": "Job", "metadata": made, "spec": spec})


def output(cluster: Cluster) -> str:
    return "".join(cluster.log(pod) for pod in cluster.pods(f"{NAME}-launcher-0").values())


def test_two_nodes_train_to_the_bits_of_one_process_though_one_is_drained(
    cluster: Cluster, golden: str, tmp_path: Path
):
    start(cluster, tmp_path, 0.2)
    cluster.until("some steps", lambda: 5 in steps(output(cluster)))
    evict(cluster.store, key_of(cluster.pods(f"{NAME}-node-0")[1]))
    assert cluster.wait_for_end(f"{NAME}-launcher-0") == "Complete", cluster.report()
    assert re.findall(DIGEST, output(cluster)) == [golden], cluster.report()
    assert re.search(r"2 -> 2 hosts: started again from step \d+", output(cluster))
    assert steps(output(cluster)) == list(range(1, 37)), cluster.report()
