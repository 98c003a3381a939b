"""What `distflow submit --k8s` is asked for: one record, checked before anything is rendered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..arguments import UsageError

KINDS = ("job", "jobset", "mpijob", "trainjob", "trainjob-mpi")
ELASTIC_KINDS = ("job", "mpijob")
LABEL_CHARACTERS = 63
# What the objects of a job set themselves: a value of the user's would break the job.
RESERVED = frozenset(
    "DISTFLOW_BACKEND DISTFLOW_COORDINATOR DISTFLOW_ELASTIC DISTFLOW_RANK DISTFLOW_REPLICAS "
    "DISTFLOW_TLS DISTFLOW_TOKEN DISTFLOW_WORLD_SIZE".split()
)
_NAMES = ("name", "namespace", "token_secret", "tls_secret", "queue", "volcano_queue", "claim")
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kKMGT]i?)?")
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGT", start=1)}


class SpecError(UsageError, ValueError):
    """A job that cannot be; the message says what was expected and what came."""


def quantity(text: str | int | float) -> float:
    """Returns a Kubernetes quantity ("500m", "1Gi") as a number.

    Raises:
      SpecError: if it is none.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([a-zA-Z]*)", str(text))
    if not match or match[2] not in _UNITS:
        raise SpecError(f"quantity: expected a number and a unit; received {text!r}.")
    return float(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True)
class Spec:
    """A job as its user describes it.

    Attributes:
      name: of the job and of all its objects; a DNS label.
      image: with its tag or digest.
      command: what each worker runs, in exec form.
      workers: number of pods (with `elastic`, at the start).
      kind: one of KINDS.
      replicas: logical replicas V, which fix the bits of the result; default: most workers.
      elastic: least and most workers of a job that may change its size.
      cpu, memory: of each worker, requested and limit; `cpu` also sets the threads of BLAS.
      shared_memory: size of /dev/shm, which counts as memory.
      variables: further environment variables of the workers.
      token_secret: Secret with the key `token`, which workers show each other over gRPC.
      tls_secret: Secret with ca.pem, worker.pem and worker.key: gRPC is encrypted.
      queue: Kueue's local queue; the job starts when Kueue admits it.
      volcano_queue: queue of the Volcano scheduler, which starts all pods or none.
      metrics_port: port of the workers' Prometheus endpoint; a PodMonitor is added.
      claim, claim_size: PersistentVolumeClaim at /checkpoints; made where a size is given.
      files: the user's code by path, shipped in a ConfigMap and mounted at `CODE`.
    """

    name: str
    image: str
    command: tuple[str, ...]
    workers: int
    kind: str = "job"
    namespace: str | None = None
    replicas: int | None = None
    elastic: tuple[int, int] | None = None
    cpu: str = "1"
    memory: str = "1Gi"
    shared_memory: str = "256Mi"
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    port: int = 7117
    grace_seconds: int = 60
    backoff_limit: int = 12
    keep_seconds: int = 86400
    token_secret: str = "distflow-token"
    tls_secret: str | None = None
    queue: str | None = None
    volcano_queue: str | None = None
    metrics_port: int | None = None
    claim: str | None = None
    claim_size: str | None = None
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        _check_names(self)
        _check_numbers(self)
        _check_combinations(self)

    @property
    def is_mpi(self) -> bool:
        """Whether a launcher starts the workers, with mpirun and ssh."""
        return self.kind in ("mpijob", "trainjob-mpi")

    @property
    def most_workers(self) -> int:
        """The largest number of workers that the job may have."""
        return self.elastic[1] if self.elastic else self.workers

    @property
    def num_replicas(self) -> int:
        """V."""
        return self.replicas or self.most_workers

    @property
    def threads(self) -> str:
        """Threads of BLAS: as many as whole CPUs, at least one."""
        return str(max(1, int(quantity(self.cpu))))


def longest_hostname(kind: str, name: str, workers: int) -> str:
    """Returns the longest name of a pod of the job: it must be a DNS label too."""
    last = workers - 1
    return {
        "job": f"{name}-{last}",
        "jobset": f"{name}-worker-0-{last}",
        "trainjob": f"{name}-node-0-{last}",
        "trainjob-mpi": f"{name}-{'launcher-0-0' if last < 10**5 else f'node-0-{last}'}",
        "mpijob": f"{name}-{'launcher' if last < 10 else f'worker-{last}'}",
    }[kind]


def _check_names(spec: Spec) -> None:
    if spec.kind not in KINDS:
        raise SpecError(f"kind: expected one of {', '.join(KINDS)}; received {spec.kind!r}.")
    for what in _NAMES:
        value = getattr(spec, what)
        if value is not None and not _LABEL.fullmatch(value):
            raise SpecError(
                f"{what.replace('_', ' ')}: expected lower-case letters, digits and -, beginning "
                f"with a letter; received {value!r}."
            )
    longest = longest_hostname(spec.kind, spec.name, spec.most_workers)
    if len(longest) > LABEL_CHARACTERS:
        raise SpecError(
            f"name: expected one short enough for the pods' hostnames ({LABEL_CHARACTERS} "
            f"characters); received {spec.name!r}, which makes {longest!r} ({len(longest)}).\n"
            "Give a shorter --name."
        )
    tag = spec.image.rpartition("/")[2].partition(":")[2]
    if not re.fullmatch(r"[^\s]+", spec.image) or ("@" not in spec.image and tag in ("", "latest")):
        raise SpecError(
            f"image: expected one with a tag other than latest, or a digest; received "
            f"{spec.image!r}.\n`latest` is another image tomorrow, and workers would differ."
        )
    if not spec.command:
        raise SpecError("command: expected a program; received none.")
    for name in spec.variables:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in RESERVED:
            raise SpecError(
                f"variable: expected a name that the job does not set itself; received {name!r}."
            )
        if re.search("TOKEN|PASSWORD|SECRET", name):
            raise SpecError(
                f"variable: expected no secrets in manifests, which get printed and committed; "
                f"received {name!r}.\nKeep it in a Secret and mount that."
            )


def _check_numbers(spec: Spec) -> None:
    if spec.workers < 1:
        raise SpecError(f"workers: expected 1 or more; received {spec.workers}.")
    for what in ("cpu", "memory", "shared_memory", "claim_size"):
        value = getattr(spec, what)
        if value is not None and not (_QUANTITY.fullmatch(value) and quantity(value) > 0):
            raise SpecError(
                f"{what.replace('_', ' ')}: expected a quantity such as 500m, 2 or 1Gi; received "
                f"{value!r}."
            )
    if quantity(spec.shared_memory) >= quantity(spec.memory):
        raise SpecError(
            f"shared memory: expected less than the memory ({spec.memory}), as it counts as "
            f"memory; received {spec.shared_memory}."
        )
    for what in ("port", "metrics_port"):
        value = getattr(spec, what)
        if value is not None and not 1024 <= value <= 65535:
            raise SpecError(
                f"{what.replace('_', ' ')}: expected 1024 to 65535, where a user without rights "
                f"may listen; received {value}."
            )
    if spec.port == spec.metrics_port:
        raise SpecError(f"metrics port: expected another than the port; received {spec.port}.")
    if spec.num_replicas < spec.most_workers:
        raise SpecError(
            f"replicas: expected at least as many as workers ({spec.most_workers}); received "
            f"{spec.num_replicas}."
        )


def _check_combinations(spec: Spec) -> None:
    if spec.elastic is not None:
        low, high = spec.elastic
        if spec.kind not in ELASTIC_KINDS:
            raise SpecError(
                f"elastic: expected the kind {' or '.join(ELASTIC_KINDS)}, whose size can change; "
                f"received {spec.kind}."
            )
        if not 1 <= low <= spec.workers <= high:
            raise SpecError(
                f"elastic: expected {low} <= workers <= {high}; received {spec.workers} workers."
            )
    if spec.claim_size is not None and spec.claim is None:
        raise SpecError("claim size: expected a claim's name beside it; received none.")
    if spec.is_mpi and spec.command[0] != "python":
        raise SpecError(
            f"{spec.kind}: expected a program of Python's, which distflow run starts; received "
            f"{spec.command[0]!r}."
        )
    if spec.is_mpi and (spec.tls_secret or spec.metrics_port):
        raise SpecError(
            f"{spec.kind}: MPI's connections are not encrypted, and sshd's pods have no metrics; "
            "received TLS or a metrics port.\nUse --kind job, whose workers talk gRPC."
        )
