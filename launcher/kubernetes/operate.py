"""What may be done with a job on a cluster: submit, scale, cancel. Each says what it did."""

from __future__ import annotations

import base64
import importlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import light
from ..arguments import UsageError
from .cluster import KINDS, Cluster, RefusedError
from .lint.bundle import bounds, environment, worker_bounds
from .pods import INSTANCE, labels
from .render import render
from .spec import Spec
from .view import STARTS, JobView, look

Object = dict[str, Any]
Say = Callable[[str], None]

# Data outlives its job: a claim goes when its user deletes it.
_KEPT = ("PersistentVolumeClaim",)
CANCEL_SECONDS = 180.0
POLL_SECONDS = 0.5


def token_secret(spec: Spec) -> Object:
    """Returns the Secret that a job's workers show each other: new for each job, never printed."""
    return _secret(spec, spec.token_secret, {"token": secrets.token_hex(32).encode()})


def tls_secret(spec: Spec) -> Object:
    """Returns the Secret with certificates made for this job alone.

    Raises:
      UsageError: without the package `cryptography` (extra tls).
    """
    assert spec.tls_secret is not None
    tls, files = light.load("base.tls"), {}
    with tempfile.TemporaryDirectory(prefix="distflow-tls-") as folder:
        try:
            # As for `distflow run --tls auto`; loaded when it is wanted, as it loads much itself.
            importlib.import_module("..tls", __package__).make(Path(folder))
        except ImportError as error:
            raise UsageError(str(error)) from error
        for name in tls.FILES:
            files[name] = (Path(folder) / name).read_bytes()
    return _secret(spec, spec.tls_secret, files)


def _secret(spec: Spec, name: str, data: dict[str, bytes]) -> Object:
    encoded = {key: base64.b64encode(value).decode("ascii") for key, value in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels(spec)},
        "type": "Opaque",
        "immutable": True,
        "data": encoded,
    }


def submit(cluster: Cluster, spec: Spec, own_secrets: list[Object]) -> str:
    """Makes a job's objects, all or none, and returns the kind and name of the one that runs it.

    The job's other objects are made its own, so that they go when it goes.

    Raises:
      RefusedError: if the cluster refuses one; what was made before is deleted again.
    """
    objects = [*own_secrets, *render(spec)]
    made: list[Object] = []
    try:
        for manifest in objects:
            made.append(cluster.create(manifest))
    except BaseException as error:
        for manifest in reversed(objects[: len(made)]):
            if manifest["kind"] not in _KEPT:
                cluster.delete(manifest["kind"], manifest["metadata"]["name"])
        if isinstance(error, RefusedError) and error.status == 409:
            hint = "Give the job another --name, or cancel that one."
            raise RefusedError(409, f"{error}\n{hint}") from None
        raise
    main = objects[-1]
    owner = {
        "apiVersion": main["apiVersion"],
        "kind": main["kind"],
        "name": spec.name,
        "uid": made[-1]["metadata"]["uid"],
    }
    for manifest in objects[:-1]:
        if manifest["kind"] not in _KEPT:
            patch = {"metadata": {"ownerReferences": [owner]}}
            cluster.patch(manifest["kind"], manifest["metadata"]["name"], patch)
    return f"{main['kind']}/{spec.name}"


def find(cluster: Cluster, name: str) -> JobView:
    """Returns a job.

    Raises:
      UsageError: if there is none of that name.
    """
    found = look(cluster, name)
    if found is None:
        raise UsageError(
            f"expected a job of the namespace {cluster.namespace}; received {name!r}, which is not "
            "there.\n`distflow status` lists them."
        )
    return found


def bounds_of(job: JobView) -> tuple[int, int] | None:
    """Returns the least and most workers of an elastic job, None for one of fixed size."""
    if job.main["kind"] == "MPIJob":
        found = worker_bounds(job.main)
        return found if found is not None and found[0] < found[1] else None
    if job.main["kind"] != "Job":
        return None
    container = job.main["spec"]["template"]["spec"]["containers"][0]
    return bounds(str(environment(container).get("DISTFLOW_ELASTIC") or ""))


def scale(cluster: Cluster, job: JobView, workers: int, *, dry_run: bool = False) -> None:
    """Changes the number of workers of an elastic job, while it runs.

    Args:
      dry_run: look whether it may be, and change nothing.

    Raises:
      UsageError: if its size is fixed, it is over, or the number is outside its bounds.
    """
    allowed = bounds_of(job)
    if allowed is None:
        raise UsageError(
            f"expected an elastic job; received {job.main['kind']}/{job.name} of fixed size.\n"
            "Submit it with --elastic MIN:MAX; with the same --replicas the bits stay the same."
        )
    if job.is_over:
        raise UsageError(f"expected a job that runs; received {job.name}, which has {job.state}.")
    if not allowed[0] <= workers <= allowed[1]:
        raise UsageError(
            f"expected {allowed[0]} to {allowed[1]} workers, the bounds of {job.name}; received "
            f"{workers}."
        )
    if dry_run:
        return
    if job.main["kind"] == "MPIJob":
        patch = {"spec": {"mpiReplicaSpecs": {"Worker": {"replicas": workers}}}}
        cluster.patch("MPIJob", job.name, patch)
        return
    # Both at once: an Indexed Job's completions may change with its parallelism only.
    cluster.patch("Job", job.name, {"spec": {"completions": workers, "parallelism": workers}})


def owned(cluster: Cluster, job: JobView) -> list[str]:
    """Returns what `cancel` deletes, as KIND/NAME."""
    main = f"{job.main['kind']}/{job.name}"
    return [main, *(f"{kind}/{name}" for kind, name in _own(cluster, job.name))]


def _own(cluster: Cluster, job: str) -> Iterator[tuple[str, str]]:
    """Yields kind and name of what goes with a job, besides what starts its pods."""
    for kind in KINDS:
        if kind not in STARTS and kind != "Pod" and kind not in _KEPT:
            for manifest in cluster.list(kind, f"{INSTANCE}={job}"):
                yield kind, manifest["metadata"]["name"]


def cancel(cluster: Cluster, name: str, say: Say, timeout_seconds: float = CANCEL_SECONDS) -> bool:
    """Deletes a job and all that is its own, and waits for its pods to end.

    Returns:
      Whether there was anything, and all of it is gone in time.
    """
    found = [kind for kind in STARTS if cluster.delete(kind, name, "Foreground")]
    label, gone = f"{INSTANCE}={name}", [f"{kind}/{name}" for kind in found]
    gone += [f"{kind}/{own}" for kind, own in _own(cluster, name) if cluster.delete(kind, own)]
    for one in gone:
        say(f"{one} deleted")
    kept = [claim["metadata"]["name"] for kind in _KEPT for claim in cluster.list(kind, label)]
    for claim in kept:
        say(f"PersistentVolumeClaim/{claim} kept: delete it when its data is no longer needed")
    over, last = time.monotonic() + timeout_seconds, -1
    while True:
        pods = cluster.list("Pod", label)
        if not pods:
            return bool(gone)
        if len(pods) != last:
            say(f"{len(pods)} pods end")
            last = len(pods)
        if time.monotonic() > over:
            say(f"{len(pods)} pods have not ended after {timeout_seconds:.0f} s")
            return False
        time.sleep(POLL_SECONDS)
