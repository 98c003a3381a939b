"""Renders a spec: the objects that `kubectl apply` or `distflow submit` sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import addons, code, trainjob_mpi
from .job import job
from .jobset import jobset, train_job, training_runtime
from .mpijob import mpijob
from .network import disruption_budget, network_policy, service
from .pods import labels
from .spec import KINDS, Spec

Object = dict[str, Any]

# The objects of each kind, the one that runs the pods last: what it needs is there before.
_RENDERERS: dict[str, Callable[[Spec], list[Object]]] = {
    "job": lambda spec: [*disruption_budget(spec), service(spec), job(spec)],
    "jobset": lambda spec: [jobset(spec)],
    "mpijob": lambda spec: [mpijob(spec)],
    "trainjob": lambda spec: [training_runtime(spec), train_job(spec)],
    "trainjob-mpi": lambda spec: [trainjob_mpi.training_runtime(spec), train_job(spec)],
}
assert tuple(_RENDERERS) == KINDS


def render(spec: Spec) -> list[Object]:
    """Returns the objects of a job, in the order in which they should be made."""
    objects = [*code.config_map(spec), network_policy(spec), *_RENDERERS[spec.kind](spec)]
    objects = addons.apply(spec, objects)
    for manifest in objects:
        metadata = manifest["metadata"]
        metadata["labels"] = {**labels(spec), **metadata.get("labels", {})}
        if spec.namespace is not None:
            metadata["namespace"] = spec.namespace
    # What runs pods comes last: claims and monitors that addons made are there before.
    return sorted(objects, key=lambda m: m["kind"] in _STARTS)


_STARTS = ("Job", "JobSet", "MPIJob", "TrainJob")
