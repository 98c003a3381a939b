"""What the tests' API server refuses to store: schemas, names, and what may not change."""

from __future__ import annotations

import copy
import re
from typing import Any

from tests.deploy import schemas, sources
from tests.fakekube.store import Invalid, Object

SCHEMA_VERSION = "1.32"
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
# Of a Service and of what makes pods: a name becomes a DNS label.
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABELLED = ("Service", "JobSet", "MPIJob", "TrainJob")


def check(new: Object, old: Object | None) -> None:
    """Raises Invalid for an object that a real API server would refuse.

    Built-in kinds are held against the strict schema (as with --validate=strict), custom ones
    against their CRD where it is at hand.
    """
    kind, name = new["kind"], new["metadata"].get("name") or ""
    if not _NAME.fullmatch(name) or (kind in _LABELLED and not _LABEL.fullmatch(name)):
        raise Invalid(f'{kind} "{name}" is invalid: metadata.name: must be a DNS name')
    # A created object is held against its schema whole; a changed one has the server's fields too.
    if old is None:
        given = copy.deepcopy(new)
        given.pop("status", None)
        metadata = given["metadata"]
        given["metadata"] = {
            k: metadata[k] for k in ("name", "namespace", "labels", "annotations") if k in metadata
        }
        if (given["apiVersion"], kind) not in schemas.WITHOUT_SCHEMA and not (
            schemas.is_custom(given) and sources.crds() is None
        ):
            found = schemas.errors(given, SCHEMA_VERSION, sources.crds())
            if found:
                raise Invalid(f'{kind} "{name}" is invalid: {found[0]}')
    if kind == "Job":
        _check_job(new["spec"], None if old is None else old["spec"], name)
    if kind in ("Secret", "ConfigMap") and old is not None and old.get("immutable"):
        if any(new.get(part) != old.get(part) for part in ("data", "binaryData", "immutable")):
            raise Invalid(f'{kind} "{name}" is invalid: data: field is immutable')


def _check_job(spec: Object, old: Object | None, name: str) -> None:
    where = f'Job.batch "{name}" is invalid: spec'
    pod = spec["template"]["spec"]
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        raise Invalid(f"{where}.template.spec.restartPolicy: Required value: valid values: Never")
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        raise Invalid(f"{where}.completions: Required value: with Indexed completion mode")
    mounted = {m["name"] for c in pod["containers"] for m in c.get("volumeMounts", [])}
    missing = mounted - {volume["name"] for volume in pod.get("volumes", [])}
    if missing:
        raise Invalid(f"{where}.template.spec.containers[0].volumeMounts: Not found: {missing}")
    if old is None:
        return
    for field in ("template", "selector", "completionMode", "podFailurePolicy"):
        # The scheduling part of a suspended Job's template may change; ours never does.
        if spec.get(field) != old.get(field):
            raise Invalid(f"{where}.{field}: Invalid value: field is immutable")
    if spec.get("completions") != old.get("completions") and not _resizes(spec):
        raise Invalid(
            f"{where}.completions: Invalid value: field is immutable: may only change together "
            "with parallelism, to the same number, in an Indexed Job"
        )


def _resizes(spec: dict[str, Any]) -> bool:
    return (
        spec.get("completionMode") == "Indexed"
        and spec.get("completions") == spec.get("parallelism") is not None
    )
