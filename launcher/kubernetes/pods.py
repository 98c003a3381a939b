"""The pod of a worker: its container, its rights, where it may write."""

from __future__ import annotations

from typing import Any

from . import code
from .spec import Spec

Object = dict[str, Any]

NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
INSTANCE = "app.kubernetes.io/instance"
PART_OF = "app.kubernetes.io/part-of"
# uid and gid of the image's user, `distflow`.
USER = 10001
# Pods start when their nodes are ready, images are pulled and DNS has caught up.
JOIN_SECONDS = "600"
MIB_64 = "64Mi"


def labels(spec: Spec) -> dict[str, str]:
    """Returns what every object of the job carries: by it they are found again."""
    return {INSTANCE: spec.name, PART_OF: "distflow"}


def pod_labels(spec: Spec, component: str = "worker") -> dict[str, str]:
    """Returns what every pod of the job carries."""
    return {NAME: "distflow", COMPONENT: component, INSTANCE: spec.name}


def common(spec: Spec) -> Object:
    """Returns the fields of a pod's spec that have nothing to do with what it runs."""
    return {
        "terminationGracePeriodSeconds": spec.grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def spread(spec: Spec) -> Object:
    """Returns the wish that pods go to different nodes, where there are enough."""
    return {
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {INSTANCE: spec.name}},
            }
        ]
    }


def resources(cpu: str, memory: str) -> Object:
    """Returns equal requests and limits: such a pod is evicted last."""
    return {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"cpu": cpu, "memory": memory},
    }


def confined(mounts: list[Object]) -> Object:
    """Returns the fields of a container that take its rights, and say where it may write."""
    return {
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
            *mounts,
        ],
    }


def volumes(shared_memory: str) -> list[Object]:
    """Returns the two volumes that every pod has: scratch space, and memory to share."""
    return [
        {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory}},
    ]


def settings(spec: Spec, backend: str, coordinator: str | None) -> list[Object]:
    """Returns the environment of a process that trains."""
    table: dict[str, str | Object] = {}
    if spec.elastic is not None and backend == "grpc":
        table["DISTFLOW_ELASTIC"] = f"{spec.elastic[0]}:{spec.elastic[1]}"
        # A little less than Kubernetes' own, so that it is the worker who ends in time.
        table["DISTFLOW_GRACE"] = str(max(1, spec.grace_seconds - 10))
    if backend == "grpc":
        table["DISTFLOW_WORLD_SIZE"] = str(spec.most_workers)
    table["DISTFLOW_REPLICAS"] = str(spec.num_replicas)
    table["DISTFLOW_BACKEND"] = backend
    if coordinator is not None:
        reference = {"name": spec.token_secret, "key": "token"}
        table["DISTFLOW_COORDINATOR"] = coordinator
        table["DISTFLOW_TOKEN"] = {"valueFrom": {"secretKeyRef": reference}}
    table |= {
        "DISTFLOW_JOIN_TIMEOUT": JOIN_SECONDS,
        "OPENBLAS_NUM_THREADS": spec.threads,
        "OMP_NUM_THREADS": spec.threads,
        # The root file system is read-only; caches go where the pod may write.
        "HOME": "/tmp",
        **spec.variables,
    }
    return [
        {"name": name, **(value if isinstance(value, dict) else {"value": value})}
        for name, value in table.items()
    ]


def worker_container(spec: Spec, name: str, coordinator: str) -> Object:
    """Returns the container of a worker that talks gRPC."""
    return {
        "name": name,
        "image": spec.image,
        "command": list(spec.command),
        "env": settings(spec, "grpc", coordinator),
        "ports": [{"name": "coordinator", "containerPort": spec.port}],
        "resources": resources(spec.cpu, spec.memory),
        **confined(code.mounts(spec)),
    }


def worker_template(
    spec: Spec, *, container: str, coordinator: str, subdomain: str | None
) -> Object:
    """Returns the pod template of workers that talk gRPC.

    Args:
      subdomain: the headless Service of the job; None where its controller sets that.
    """
    return {
        "metadata": {"labels": pod_labels(spec)},
        "spec": {
            **({} if subdomain is None else {"subdomain": subdomain}),
            "restartPolicy": "Never",
            **common(spec),
            # The pause process becomes PID 1. As PID 1, Python would not hear SIGTERM.
            "shareProcessNamespace": True,
            **spread(spec),
            "containers": [worker_container(spec, container, coordinator)],
            "volumes": [*volumes(spec.shared_memory), *code.volumes(spec)],
        },
    }
