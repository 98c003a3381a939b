"""A rendered set of manifests, with the questions that the rules ask about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Manifest = dict[str, Any]

# Made before the first job, as deploy/kubernetes.md says; never part of a bundle.
EXTERNAL = frozenset({"Secret/distflow-token", "Secret/distflow-tls"})
STARTS = ("Job", "JobSet", "TrainingRuntime", "MPIJob")


@dataclass(frozen=True)
class Pods:
    """The pods that one template makes.

    Attributes:
      where: what messages call them.
      owner: the object that makes them.
      kind: of the owner; a JobSet's and a TrainingRuntime's pods come from an inner Job.
      role: Worker or Launcher.
      count: how many run at once.
      restart_policy: what the owner says of it.
      template: their template.
      job: the spec of their Job, None for an MPIJob's.
      hostname: of each, without the index at its end.
      subdomain: the headless Service of their names, None where there is none.
    """

    where: str
    owner: Manifest
    kind: str
    role: str
    count: int
    restart_policy: str | None
    template: Manifest
    job: Manifest | None
    hostname: str
    subdomain: str | None

    @property
    def spec(self) -> Manifest:
        """The pods' spec."""
        spec: Manifest = self.template["spec"]
        return spec

    @property
    def labels(self) -> dict[str, str]:
        """The pods' labels."""
        labels: dict[str, str] = self.template.get("metadata", {}).get("labels", {})
        return labels

    @property
    def containers(self) -> list[Manifest]:
        """All containers, those that run first included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def main(self) -> Manifest:
        """The container that trains."""
        main: Manifest = self.spec["containers"][0]
        return main

    @property
    def is_mpi(self) -> bool:
        """Whether a launcher starts the workers, with mpirun and ssh."""
        policy = self.owner["spec"].get("mlPolicy", {}) if self.kind == "TrainingRuntime" else {}
        return self.kind == "MPIJob" or "mpi" in policy

    @property
    def trains(self) -> bool:
        """Whether its environment is that of the training processes: not so for sshd's."""
        return not self.is_mpi or self.role == "Launcher"

    @property
    def elastic(self) -> tuple[int, int] | None:
        """The least and most workers of an elastic job; None for others, and for nonsense."""
        if self.kind != "MPIJob":
            return bounds(str(environment(self.main).get("DISTFLOW_ELASTIC") or ""))
        return worker_bounds(self.owner) if self.role == "Worker" else None


@dataclass(frozen=True)
class Bundle:
    """All objects that one `kubectl apply` sends.

    Attributes:
      manifests: the objects.
      external: "Kind/name" of what is in the cluster already.
    """

    manifests: list[Manifest]
    external: frozenset[str] = EXTERNAL

    def of_kind(self, kind: str) -> list[Manifest]:
        """Returns the objects of a kind."""
        return [m for m in self.manifests if m["kind"] == kind]

    def find(self, kind: str, name: str) -> Manifest | None:
        """Returns an object by its name."""
        found = [m for m in self.of_kind(kind) if m["metadata"]["name"] == name]
        return found[0] if found else None

    def is_external(self, kind: str, name: str) -> bool:
        """Says whether an object is known to be there, or made by `distflow submit`."""
        instances = {m["metadata"].get("labels", {}).get(INSTANCE) for m in self.manifests}
        made = {f"Secret/{i}-{what}" for i in instances if i for what in ("token", "tls")}
        return f"{kind}/{name}" in self.external | made

    def pods(self, *kinds: str) -> Iterator[Pods]:
        """Yields every pod template, or those of some kinds of owners."""
        for manifest in self.manifests:
            if manifest["kind"] in (kinds or STARTS):
                if manifest["kind"] == "Job":
                    yield _of_job(manifest)
                elif manifest["kind"] == "MPIJob":
                    yield from _of_mpijob(manifest)
                elif manifest["kind"] in STARTS:
                    yield from self._of_jobset(manifest)

    def workers(self) -> Iterator[Pods]:
        """Yields the templates of workers."""
        return (pods for pods in self.pods() if pods.role == "Worker")

    def train_job(self, runtime: Manifest) -> Manifest | None:
        """Returns the TrainJob that starts a TrainingRuntime."""
        name = runtime["metadata"]["name"]
        for job in self.of_kind("TrainJob"):
            if job["spec"]["runtimeRef"]["name"] == name:
                return job
        return None

    def _of_jobset(self, manifest: Manifest) -> Iterator[Pods]:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        spec, where = manifest["spec"], f"{kind}/{name}"
        if kind == "TrainingRuntime":
            job = self.train_job(manifest)
            name = name if job is None else job["metadata"]["name"]
            spec = spec["template"]["spec"]
        subdomain = spec.get("network", {}).get("subdomain", name)
        for replicated in spec["replicatedJobs"]:
            inner, role = replicated["template"]["spec"], replicated["name"]
            is_launcher = role == "launcher" and kind == "TrainingRuntime"
            yield Pods(
                where=f"{where} {role}",
                owner=manifest,
                kind=kind,
                role="Launcher" if is_launcher else "Worker",
                count=inner.get("parallelism", 1),
                restart_policy=inner["template"]["spec"].get("restartPolicy"),
                template=inner["template"],
                job=inner,
                hostname=f"{name}-{role}-0",
                subdomain=subdomain,
            )


INSTANCE = "app.kubernetes.io/instance"


def _of_job(manifest: Manifest) -> Pods:
    name, spec = manifest["metadata"]["name"], manifest["spec"]
    return Pods(
        where=f"Job/{name}",
        owner=manifest,
        kind="Job",
        role="Worker",
        count=spec.get("parallelism", 1),
        restart_policy=spec["template"]["spec"].get("restartPolicy"),
        template=spec["template"],
        job=spec,
        hostname=name,
        subdomain=spec["template"]["spec"].get("subdomain"),
    )


def _of_mpijob(manifest: Manifest) -> Iterator[Pods]:
    name = manifest["metadata"]["name"]
    for role, replica in manifest["spec"]["mpiReplicaSpecs"].items():
        yield Pods(
            where=f"MPIJob/{name} {role}",
            owner=manifest,
            kind="MPIJob",
            role=role,
            count=replica.get("replicas", 1),
            restart_policy=replica.get("restartPolicy"),
            template=replica["template"],
            job=None,
            hostname=f"{name}-{role.lower()}",
            subdomain=name,
        )


def environment(container: Manifest) -> dict[str, Any]:
    """Returns name → literal value, or None where the value comes from elsewhere."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Says whether a selector's matchLabels choose pods with these labels."""
    if "matchExpressions" in selector:
        return False  # ours have none: what they would choose is not looked into
    return selector.get("matchLabels", {}).items() <= labels.items()


def option(arguments: list[str], name: str) -> list[str]:
    """Returns the values that follow each `name` in a command line."""
    return [value for key, value in pairwise(arguments) if key == name]


def bounds(text: str) -> tuple[int, int] | None:
    """Returns the two numbers of MIN:MAX; None for anything else."""
    low, _, high = text.partition(":")
    return (int(low), int(high)) if low.isdigit() and high.isdigit() else None


def worker_bounds(job: Manifest) -> tuple[int, int] | None:
    """Returns the least and most workers of an MPIJob; None where its launcher has no bounds."""
    launcher = job["spec"]["mpiReplicaSpecs"].get("Launcher", {}).get("template", {})
    containers = launcher.get("spec", {}).get("containers") or [{}]
    found = option(containers[0].get("args", []), "--elastic")
    return bounds(found[0]) if found else None
