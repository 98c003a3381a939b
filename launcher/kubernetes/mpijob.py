"""The MPIJob (kubeflow.org/v2beta1): mpirun in a launcher pod, sshd without root in worker pods.

`distflow run` in the launcher starts mpirun on the workers that the operator's program names, and
again when they change: see `mpi_hosts`.
"""

from __future__ import annotations

import re
from typing import Any

from . import code
from .pods import MIB_64, common, confined, pod_labels, resources, settings, volumes
from .spec import Spec

Object = dict[str, Any]

# ~/.ssh of the image's user. The operator's default, /root/.ssh, is of no use to a user.
SSH_FOLDER = "/home/distflow/.ssh"
SSH_PORT = 2222
_SSHD = "/usr/sbin/sshd"
DISCOVERY = "/etc/mpi/discover_hosts.sh"
_LAUNCHER_MEMORY = "512Mi"
# What `distflow run` hands on to ranks by itself.
_HANDED_ON = re.compile("DISTFLOW_.*|.*_NUM_THREADS")
# From the end of the ranks' time to that of the pod's: for mpirun and for sshd.
_SPARE_SECONDS = 15


def mpijob(spec: Spec) -> Object:
    """Returns the MPIJob of kind mpijob.

    The operator adds to every pod the job's ssh key, to the launcher the program that prints the
    hosts of now, and the headless Service that gives workers their names.
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
                "Launcher": _role(
                    spec,
                    1,
                    launcher(spec, "launcher", ["--host-discovery-script", DISCOVERY]),
                    MIB_64,
                ),
                "Worker": _role(spec, spec.workers, worker(spec, "worker"), spec.shared_memory),
            },
        },
    }


def _role(spec: Spec, count: int, container: Object, shared_memory: str) -> Object:
    return {
        "replicas": count,
        # A dead sshd is started again where it is; a launcher that failed, as a new pod.
        "restartPolicy": "Never" if container["name"] == "launcher" else "OnFailure",
        "template": {
            "metadata": {"labels": pod_labels(spec, container["name"])},
            "spec": pod(spec, container, shared_memory),
        },
    }


def launcher(spec: Spec, name: str, hosts: list[str]) -> Object:
    """Returns the container that runs mpirun.

    Args:
      hosts: the option that says where the hosts stand.
    """
    environment = settings(spec, "mpi", None)
    low, high = spec.elastic or (spec.workers, spec.workers)
    arguments = ["--backend", "mpi", *hosts, "--elastic", f"{low}:{high}"]
    arguments += ["--replicas", "$(DISTFLOW_REPLICAS)"]
    arguments += ["--max-restarts", str(spec.backoff_limit)]
    arguments += ["--grace", str(max(1, spec.grace_seconds - _SPARE_SECONDS))]
    # sshd hands no environment of the worker's container to what it starts.
    for entry in environment:
        if not _HANDED_ON.fullmatch(entry["name"]):
            arguments += ["--env", entry["name"]]
    # The program is Python's, and the same one: `distflow run` starts its own.
    program = list(spec.command[1:] if spec.command[0] == "python" else spec.command)
    return {
        "name": name,
        "image": spec.image,
        "command": ["distflow", "run"],
        "args": [*arguments, *program],
        "env": environment,
        "resources": resources("1", _LAUNCHER_MEMORY),
        **confined(code.mounts(spec)),
    }


def pod(spec: Spec, container: Object, shared_memory: str) -> Object:
    """Returns the spec of a pod of either role."""
    # The pause process becomes PID 1. As PID 1, Python would not hear an early SIGTERM.
    is_python = container["command"] != [_SSHD]
    return {
        **common(spec),
        **({"shareProcessNamespace": True} if is_python else {}),
        "containers": [container],
        "volumes": [*volumes(shared_memory), *code.volumes(spec)],
    }


def worker(spec: Spec, name: str, *also: str) -> Object:
    """Returns the container that runs sshd, by which mpirun starts its ranks.

    Args:
      also: what the hook before its end is told besides.
    """
    probe = {"tcpSocket": {"port": "ssh"}}
    # The ranks of a pod that goes end first, with a backup: without it sshd takes them along.
    leave = ["python", "-m", "distflow_launcher.leave"]
    leave += [str(max(1, spec.grace_seconds - 2 * _SPARE_SECONDS)), *also]
    return {
        "name": name,
        "image": spec.image,
        "command": [_SSHD],
        "args": ["-D", "-e", "-f", "/etc/ssh/distflow_sshd_config"],
        "ports": [{"name": "ssh", "containerPort": SSH_PORT}],
        "startupProbe": {**probe, "periodSeconds": 1, "failureThreshold": 60},
        # WaitForWorkersReady means this probe: the launcher starts when every sshd listens.
        "readinessProbe": {**probe, "periodSeconds": 2},
        "livenessProbe": {**probe, "periodSeconds": 20, "failureThreshold": 6},
        "lifecycle": {"preStop": {"exec": {"command": leave}}},
        "resources": resources(spec.cpu, spec.memory),
        **confined(code.mounts(spec)),
    }
