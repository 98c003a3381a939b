"""The TrainingRuntime of a TrainJob with the trainer's MPI policy (trainer.kubeflow.org/v1alpha1).

A JobSet of two Jobs: a launcher, where `distflow run` starts mpirun, and nodes with sshd. The
trainer adds the job's ssh key to both, and to the launcher the file of hosts. Its size is fixed: a
TrainJob's numNodes cannot change.
"""

from __future__ import annotations

from typing import Any

from . import mpijob
from .job import job_rules
from .jobset import failure_policy
from .pods import MIB_64, labels, pod_labels
from .spec import Spec

Object = dict[str, Any]

HOSTFILE = "/etc/mpi/hostfile"
# The names that the trainer's controller looks for; the container's is the same in both Jobs.
LAUNCHER, NODE = "launcher", "node"
STEP = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
# Else a node that is drained counts as complete: its sshd exits with 0.
END_SSHD = "--end-sshd"
# How often a launcher starts again before the JobSet does.
_LAUNCHER_TRIES = 3


def training_runtime(spec: Spec) -> Object:
    """Returns the TrainingRuntime of kind trainjob-mpi."""
    launcher = mpijob.launcher(spec, NODE, ["--hostfile", HOSTFILE])
    rules = job_rules(NODE)
    # Whatever ends an sshd, its pod is made again: the launcher knows whether the job failed.
    lost = rules["podFailurePolicy"]["rules"][:1]
    node_rules = {**rules, "podFailurePolicy": {"rules": lost}}
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": spec.name},
        "spec": {
            "mlPolicy": {
                "numNodes": spec.workers,
                "mpi": {
                    "numProcPerNode": 1,
                    "mpiImplementation": "OpenMPI",
                    "sshAuthMountPath": mpijob.SSH_FOLDER,
                    "runLauncherAsNode": False,
                },
            },
            "template": {
                "metadata": {"labels": labels(spec)},
                "spec": {
                    "network": {
                        "enableDNSHostnames": True,
                        "subdomain": spec.name,
                        "publishNotReadyAddresses": True,
                    },
                    # The nodes' sshd ends with the JobSet.
                    "successPolicy": {"operator": "All", "targetReplicatedJobs": [LAUNCHER]},
                    "failurePolicy": failure_policy(spec),
                    "replicatedJobs": [
                        _job(spec, LAUNCHER, 1, _LAUNCHER_TRIES, rules, launcher, MIB_64),
                        _job(spec, NODE, spec.workers, spec.backoff_limit, node_rules,
                             mpijob.worker(spec, NODE, END_SSHD), spec.shared_memory),
                    ],
                },
            },
        },
    }  # fmt: skip


def _job(
    spec: Spec, name: str, count: int, tries: int, rules: Object, container: Object, memory: str
) -> Object:
    role = "launcher" if name == LAUNCHER else "worker"
    return {
        "name": name,
        "replicas": 1,
        "template": {
            **({"metadata": {"labels": STEP}} if name == LAUNCHER else {}),
            "spec": {
                "completionMode": "Indexed",
                "backoffLimit": tries,
                **rules,
                "completions": count,
                "parallelism": count,
                "template": {
                    "metadata": {"labels": pod_labels(spec, role)},
                    "spec": {"restartPolicy": "Never", **mpijob.pod(spec, container, memory)},
                },
            },
        },
    }
