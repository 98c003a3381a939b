"""The kinds that the tests' API server knows, and how discovery tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """One kind: where it is, and what may be done with it."""

    api_version: str
    kind: str
    plural: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def root(self) -> str:
        """The path of its group and version."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"


STATUS = ("status",)
RESOURCES = [
    Resource("v1", "Namespace", "namespaces", ("ns",), namespaced=False),
    Resource("v1", "Node", "nodes", ("no",), namespaced=False, subresources=STATUS),
    Resource("v1", "Pod", "pods", ("po",), subresources=("status", "log")),
    Resource("v1", "Service", "services", ("svc",)),
    Resource("v1", "ConfigMap", "configmaps", ("cm",)),
    Resource("v1", "Secret", "secrets"),
    Resource("v1", "Event", "events", ("ev",)),
    Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims", ("pvc",)),
    Resource("batch/v1", "Job", "jobs", subresources=STATUS),
    Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", ("pdb",)),
    Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", ("netpol",)),
    Resource("jobset.x-k8s.io/v1alpha2", "JobSet", "jobsets", subresources=STATUS),
    Resource("kubeflow.org/v2beta1", "MPIJob", "mpijobs", subresources=STATUS),
    Resource("trainer.kubeflow.org/v1alpha1", "TrainingRuntime", "trainingruntimes"),
    Resource("trainer.kubeflow.org/v1alpha1", "TrainJob", "trainjobs", subresources=STATUS),
    Resource("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
]
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def discovery(path: str) -> Object | None:
    """Returns what discovery says at a path, None where it says nothing."""
    if path == "/version":
        return {"major": "1", "minor": "32", "gitVersion": "v1.32.0", "platform": "linux/amd64"}
    if path == "/api":
        return {"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"]}
    if path == "/apis":
        versions = sorted({r.api_version for r in RESOURCES if r.group})
        groups = [_group(version) for version in versions]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    if path == "/openapi/v3":
        roots = sorted({r.root for r in RESOURCES})
        urls = {root[1:]: {"serverRelativeURL": f"/openapi/v3{root}?hash=1"} for root in roots}
        return {"paths": urls}
    if path.startswith("/openapi/v3/"):
        return _openapi(path.removeprefix("/openapi/v3"))
    here = [r for r in RESOURCES if r.root == path]
    if not here:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": here[0].api_version,
        "resources": [entry for resource in here for entry in _entries(resource)],
    }


def _group(version: str) -> Object:
    group, _, number = version.partition("/")
    named = {"groupVersion": version, "version": number}
    return {"name": group, "versions": [named], "preferredVersion": named}


def _entries(resource: Resource) -> list[Object]:
    own = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": VERBS,
        "shortNames": list(resource.short),
    }
    return [own] + [
        {**own, "name": f"{resource.plural}/{name}", "verbs": ["get", "patch", "update"]}
        for name in resource.subresources
    ]


def _openapi(root: str) -> Object | None:
    """Returns just enough OpenAPI for kubectl to leave validation to the server."""
    paths = {}
    for resource in RESOURCES:
        if resource.root == root:
            group, _, version = resource.api_version.rpartition("/")
            kind = {"group": group, "version": version, "kind": resource.kind}
            parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
            operation = {"x-kubernetes-group-version-kind": kind, "parameters": [parameter]}
            place = "/namespaces/{namespace}" if resource.namespaced else ""
            path = f"{root}{place}/{resource.plural}/{{name}}"
            paths[path] = {"patch": {**operation, "responses": {"200": {"description": "OK"}}}}
    if not paths:
        return None
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.32.0"},
            "paths": paths, "components": {"schemas": {}}}  # fmt: skip
