"""The MPIJob (kubeflow.org/v2beta1): mpirun in a launcher pod, sshd without root in worker pods."""

from __future__ import annotations

from typing import Any

from . import code
from .pods import MIB_64, common, confined, pod_labels, resources, settings, volumes
from .spec import Spec

Object = dict[str, Any]

# ~/.ssh of the image's user. The operator's default, /root/.ssh, is of no use to a user.
SSH_FOLDER = "/home/distflow/.ssh"
SSH_PORT = 2222
_LAUNCHER_MEMORY = "512Mi"


def mpijob(spec: Spec) -> Object:
    """Returns the MPIJob of kind mpijob.

    The operator adds to every pod the job's ssh key, to the launcher the hostfile, and the headless
    Service that gives workers their names.
    """
    return {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": {"name": spec.name},
        "spec": {
            "slotsPerWorker": 1,
            "mpiImplementation": "OpenMPI",
            "launcherCreationPolicy": "WaitForWorkersReady",
            "sshAuthMountPath": SSH_FOLDER,
            "runPolicy": {
                "backoffLimit": 3,
                "cleanPodPolicy": "Running",
                "ttlSecondsAfterFinished": spec.keep_seconds,
            },
            "mpiReplicaSpecs": {
                "Launcher": _role(spec, 1, _launcher(spec), MIB_64),
                "Worker": _role(spec, spec.workers, _worker(spec), spec.shared_memory),
            },
        },
    }


def _role(spec: Spec, count: int, container: Object, shared_memory: str) -> Object:
    return {
        "replicas": count,
        "restartPolicy": "Never",
        "template": {
            "metadata": {"labels": pod_labels(spec, container["name"])},
            "spec": {
                **common(spec),
                "containers": [container],
                "volumes": [*volumes(shared_memory), *code.volumes(spec)],
            },
        },
    }


def _launcher(spec: Spec) -> Object:
    environment = settings(spec, "mpi", None)
    arguments = ["-n", str(spec.workers), "--hostfile", "/etc/mpi/hostfile"]
    # Each pod would bind its first rank to the node's first core.
    arguments += ["--bind-to", "none"]
    # sshd hands no environment of the worker's container to what it starts.
    for entry in environment:
        arguments += ["-x", entry["name"]]
    return {
        "name": "launcher",
        "image": spec.image,
        "command": ["mpirun"],
        "args": [*arguments, *spec.command],
        "env": environment,
        "resources": resources("1", _LAUNCHER_MEMORY),
        **confined(code.mounts(spec)),
    }


def _worker(spec: Spec) -> Object:
    return {
        "name": "worker",
        "image": spec.image,
        "command": ["/usr/sbin/sshd"],
        "args": ["-D", "-e", "-f", "/etc/ssh/distflow_sshd_config"],
        "ports": [{"name": "ssh", "containerPort": SSH_PORT}],
        # WaitForWorkersReady means this probe: the launcher starts when every sshd listens.
        "readinessProbe": {"tcpSocket": {"port": "ssh"}, "periodSeconds": 2},
        "resources": resources(spec.cpu, spec.memory),
        **confined(code.mounts(spec)),
    }
