"""The jobs of the overlays and what components add, as the renderer in Python is asked for them."""

from __future__ import annotations

from typing import Any

from distflow_launcher.kubernetes.spec import Spec

COMMAND = ("python", "/workspace/examples/multi_worker_digits.py")
IMAGE = "registry.example.com/distflow:0.1.0"


MPI_KINDS = ("mpijob", "trainjob-mpi")


def spec(name: str, kind: str, **fields: Any) -> Spec:
    """The job of the overlays: two workers, four replicas, the digits."""
    image = f"{IMAGE}-mpi" if kind in MPI_KINDS else IMAGE
    common = {"command": COMMAND, "workers": 2, "replicas": 4, "image": image}
    return Spec(name=name, kind=kind, **(common | fields))


SPECS = {
    "job-grpc": spec("digits", "job"),
    "job-grpc-elastic": spec("digits-elastic", "job", elastic=(1, 4)),
    "jobset": spec("digits-set", "jobset"),
    "mpijob": spec("digits-mpi", "mpijob", elastic=(1, 4)),
    "trainjob": spec("digits-train", "trainjob"),
    "trainjob-mpi": spec("digits-train-mpi", "trainjob-mpi"),
}
COMPONENTS: dict[str, dict[str, Any]] = {
    "tls": {"tls_secret": "distflow-tls"},
    "kueue": {"queue": "training"},
    "volcano": {"volcano_queue": "default"},
    "podmonitor": {"metrics_port": 9117},
    "pvc": {"claim": "checkpoints", "claim_size": "10Gi"},
}
GRPC_ONLY = ("tls", "podmonitor")
