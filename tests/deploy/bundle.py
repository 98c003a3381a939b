"""A rendered set of manifests, with the questions that the rules ask about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Manifest = dict[str, Any]

_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_UNITS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGT", start=1)}


@dataclass(frozen=True)
class Pods:
    """The pods that one template makes: `where` for messages, `count` how many run at once."""

    where: str
    owner: Manifest
    role: str
    count: int
    restart_policy: str | None
    template: Manifest

    @property
    def spec(self) -> Manifest:
        return self.template["spec"]

    @property
    def labels(self) -> dict[str, str]:
        return self.template.get("metadata", {}).get("labels", {})

    @property
    def containers(self) -> list[Manifest]:
        return self.spec.get("initContainers", []) + self.spec["containers"]

    @property
    def main(self) -> Manifest:
        return self.spec["containers"][0]


@dataclass(frozen=True)
class Bundle:
    """All objects that one `kubectl apply -k` sends."""

    manifests: list[Manifest]

    def of_kind(self, kind: str) -> list[Manifest]:
        return [m for m in self.manifests if m["kind"] == kind]

    def find(self, kind: str, name: str) -> Manifest | None:
        found = [m for m in self.of_kind(kind) if m["metadata"]["name"] == name]
        return found[0] if found else None

    def pods(self, kind: str = "") -> Iterator[Pods]:
        """Yields every pod template of Jobs and MPIJobs, or of one of the two kinds."""
        for manifest in self.manifests:
            name, spec = manifest["metadata"]["name"], manifest.get("spec", {})
            if manifest["kind"] == "Job" and kind in ("", "Job"):
                yield Pods(
                    f"Job/{name}",
                    manifest,
                    "Worker",
                    spec.get("parallelism", 1),
                    spec["template"]["spec"].get("restartPolicy"),
                    spec["template"],
                )
            if manifest["kind"] == "MPIJob" and kind in ("", "MPIJob"):
                for role, replica in spec["mpiReplicaSpecs"].items():
                    yield Pods(
                        f"MPIJob/{name} {role}",
                        manifest,
                        role,
                        replica.get("replicas", 1),
                        replica.get("restartPolicy"),
                        replica["template"],
                    )

    def workers(self) -> Iterator[Pods]:
        return (pods for pods in self.pods() if pods.role == "Worker")


def environment(container: Manifest) -> dict[str, Any]:
    """Returns name → literal value, or None where the value comes from elsewhere."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def quantity(text: str | int | float) -> float:
    """Returns a Kubernetes quantity ("500m", "1Gi") as a number."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text))
    if not match or match[2] not in _UNITS:
        raise ValueError(f"quantity: expected a number and a unit; received {text!r}")
    return float(match[1]) * _UNITS[match[2]]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Says whether a selector's matchLabels choose pods with these labels."""
    assert "matchExpressions" not in selector, "matchExpressions are not known here"
    return selector.get("matchLabels", {}).items() <= labels.items()


def option(arguments: list[str], name: str) -> list[str]:
    """Returns the values that follow each `name` in a command line."""
    return [value for key, value in pairwise(arguments) if key == name]
