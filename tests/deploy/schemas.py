"""Checks manifests against the strict schemas of Kubernetes and of the operators' CRDs.

The library's command line only warns about kinds that it does not know; here they are errors.
"""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

CRD_FILES = {
    ("kubeflow.org/v2beta1", "MPIJob"): "kubeflow.org_mpijobs.yaml",
    ("jobset.x-k8s.io/v1alpha2", "JobSet"): "jobset.x-k8s.io_jobsets.yaml",
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"): (
        "trainer.kubeflow.org_trainingruntimes.yaml"
    ),
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): "trainer.kubeflow.org_trainjobs.yaml",
}
# The Prometheus operator's CRD is at hand nowhere: the linter's rule `pod-monitor` checks it.
WITHOUT_SCHEMA = {("monitoring.coreos.com/v1", "PodMonitor")}
# Oldest and middle as deploy/kubernetes.md promises them, and the newest that the library has.
VERSIONS = ["1.29", "1.32", ".".join(kubernetes_validate.latest_version().split(".")[:2])]
_METADATA = {"name", "namespace", "labels", "annotations"}


def is_custom(manifest: dict[str, Any]) -> bool:
    """Says whether the manifest's schema comes from a CRD."""
    return (manifest["apiVersion"], manifest["kind"]) in CRD_FILES


def errors(manifest: dict[str, Any], version: str, crds: Path | None) -> list[str]:
    """Returns what the schema of `version` (or of the CRD in `crds`) refuses, as messages.

    A custom kind with `crds` None is refused: the caller decides what to skip, not this function.
    """
    where = f"{manifest.get('kind')}/{manifest.get('metadata', {}).get('name')}"
    if not is_custom(manifest):
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return [f"{where} {error.json_path}: {error.message}"]
        except kubernetes_validate.SchemaNotFoundError as error:
            return [f"{where}: unknown kind: {error.message}"]
        return []
    if crds is None:
        return [f"{where}: no CRD at hand"]
    schema = crd_schema(crds / CRD_FILES[manifest["apiVersion"], manifest["kind"]])
    found = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    # A CRD leaves metadata open: the API server prunes what it does not know, silently.
    return [f"{where} {e.json_path}: {e.message}" for e in found] + [
        f"{where}: metadata: unknown field {key!r}"
        for metadata in _metadata(manifest)
        for key in sorted(set(metadata) - _METADATA)
    ]


@functools.lru_cache
def crd_schema(path: Path) -> dict[str, Any]:
    """Returns the CRD's openAPIV3Schema, closed: fields that it does not name are refused."""
    versions = yaml.load(path.read_text(), Loader=_LOADER)["spec"]["versions"]
    (version,) = [v for v in versions if v["storage"]]
    return _closed(copy.deepcopy(version["schema"]["openAPIV3Schema"]))


# The C loader is ten times faster on a CRD of 600 KB, where PyYAML has it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        for item in schema:
            _closed(item)
    elif isinstance(schema, dict):
        for value in schema.values():
            _closed(value)
        is_open = schema.get("x-kubernetes-preserve-unknown-fields")
        if isinstance(schema.get("properties"), dict) and not is_open:
            schema.setdefault("additionalProperties", False)
    return schema


def _metadata(node: Any) -> list[dict[str, Any]]:
    """Returns every `metadata` in the manifest: its own and its pod templates'."""
    if isinstance(node, list):
        return [found for item in node for found in _metadata(item)]
    if not isinstance(node, dict):
        return []
    own = [node["metadata"]] if isinstance(node.get("metadata"), dict) else []
    return own + [found for value in node.values() for found in _metadata(value)]
