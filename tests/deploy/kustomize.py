"""Renders the part of Kustomize that deploy/k8s uses, so that its tests need no kubectl.

Known: resources, components, patches (strategic merge and JSON6902, with target and
allowNameChange), labels (pairs, includeSelectors, fields) and images. Anything else in a
kustomization.yaml is an error, never ignored. Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_FIELDS = {"apiVersion", "kind", "resources", "components", "patches", "labels", "images"}
_BUILT_IN_GROUPS = ("", "apps", "batch", "policy", "autoscaling")

# The merge keys of lists in strategic merge patches; lists not named here are replaced.
_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}

# Where `includeSelectors` writes besides metadata.labels: kind, path, create what is missing.
_SELECTORS = [
    ("Service", "spec/selector", True),
    ("Job", "spec/template/metadata/labels", True),
    ("Job", "spec/selector/matchLabels", False),
    ("NetworkPolicy", "spec/podSelector/matchLabels", False),
    ("NetworkPolicy", "spec/ingress/from/podSelector/matchLabels", False),
    ("NetworkPolicy", "spec/egress/to/podSelector/matchLabels", False),
    ("PodDisruptionBudget", "spec/selector/matchLabels", False),
]


class RenderError(ValueError):
    """A kustomization that cannot be rendered, or that this renderer does not know."""


def render(folder: Path) -> list[Manifest]:
    """Returns the manifests of the kustomization in `folder`, as `kubectl kustomize` would."""
    manifests: list[Manifest] = []
    _transform(manifests, folder, "Kustomization")
    identities = [identity(manifest) for manifest in manifests]
    if len(set(identities)) != len(identities):
        raise RenderError(f"{folder}: expected each object once; received {identities}")
    return manifests


def _transform(manifests: list[Manifest], folder: Path, kind: str) -> None:
    """Adds the folder's resources and changes all as it says; a component sees what was before."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = set(kustomization) - _FIELDS
    if unknown:
        raise RenderError(f"{folder}: expected fields {sorted(_FIELDS)}; received {unknown}")
    if kustomization["kind"] != kind:
        raise RenderError(f"{folder}: expected a {kind}; received {kustomization['kind']}")
    for entry in kustomization.get("resources", []):
        path = folder / entry
        manifests += render(path) if path.is_dir() else _load(path)
    for entry in kustomization.get("components", []):
        _transform(manifests, folder / entry, "Component")
    for patch in kustomization.get("patches", []):
        _patch(manifests, patch, folder, may_miss=kind == "Component")
    for label in kustomization.get("labels", []):
        _label(manifests, label, folder)
    for image in kustomization.get("images", []):
        _set_image(manifests, image)


def identity(manifest: Manifest) -> tuple[str, str, str, str]:
    """Returns what makes an object one object: apiVersion, kind, namespace and name."""
    metadata = manifest["metadata"]
    return (
        manifest["apiVersion"],
        manifest["kind"],
        metadata.get("namespace", ""),
        metadata["name"],
    )


def _load(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


# Patches


def _patch(
    manifests: list[Manifest], entry: dict[str, Any], folder: Path, *, may_miss: bool = False
) -> None:
    """Applies one patch. A component (`may_miss`) knows more kinds than an overlay has."""
    if set(entry) - {"path", "patch", "target", "options"}:
        raise RenderError(f"{folder}: unknown field in patch {sorted(entry)}")
    text = entry["patch"] if "patch" in entry else (folder / entry["path"]).read_text()
    body = yaml.safe_load(text)
    target = entry.get("target")
    if target is None:
        if not isinstance(body, dict):
            raise RenderError(f"{folder}: a JSON6902 patch needs a target")
        target = {"kind": body["kind"], "name": body["metadata"]["name"]}
    chosen = [m for m in manifests if _is_target(m, target)]
    if not chosen and not may_miss:
        raise RenderError(f"{folder}: no object matches the patch target {target}")
    rename = entry.get("options", {}).get("allowNameChange", False)
    for manifest in chosen:
        name, kind = manifest["metadata"]["name"], manifest["kind"]
        patched = copy.deepcopy(manifest)
        if isinstance(body, dict):
            group = manifest["apiVersion"].rpartition("/")[0]
            built_in = group in _BUILT_IN_GROUPS or group.endswith(".k8s.io")
            patched = _merge(patched, body, by_key=built_in)
        else:
            for operation in body:
                apply_operation(patched, operation)
        if not rename:
            patched["metadata"]["name"] = name
        patched["kind"] = kind
        manifest.clear()
        manifest.update(patched)


def _is_target(manifest: Manifest, target: dict[str, str]) -> bool:
    unknown = set(target) - {"kind", "name"}
    if unknown:
        raise RenderError(f"patch target: expected kind and name; received {sorted(unknown)}")
    given = {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}
    return all(re.fullmatch(pattern, given[key]) for key, pattern in target.items())


def _merge(base: Any, patch: Any, *, by_key: bool, field: str = "") -> Any:
    """Merges a strategic merge patch; for custom resources (`by_key` false) lists are replaced."""
    if isinstance(base, dict) and isinstance(patch, dict):
        if any(key.startswith("$") for key in patch):
            raise RenderError(f"patch directives are not supported: {sorted(patch)}")
        merged = dict(base)
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            elif key in merged:
                merged[key] = _merge(merged[key], value, by_key=by_key, field=key)
            else:
                merged[key] = copy.deepcopy(value)
        return merged
    if by_key and field in _MERGE_KEYS and isinstance(base, list) and isinstance(patch, list):
        key = _MERGE_KEYS[field]
        changes = {item[key]: item for item in patch}
        known = {item[key] for item in base}
        # Kustomize puts new items first.
        new = [copy.deepcopy(item) for item in patch if item[key] not in known]
        return new + [
            _merge(item, changes[item[key]], by_key=True) if item[key] in changes else item
            for item in base
        ]
    return copy.deepcopy(patch)


def apply_operation(manifest: Manifest, operation: dict[str, Any]) -> None:
    """Applies one operation of RFC 6902: add, replace, remove or test."""
    verb, pointer = operation["op"], operation["path"]
    keys = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
    try:
        parent: Any = manifest
        for key in keys[:-1]:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        last: Any = keys[-1]
        if isinstance(parent, list):
            last = len(parent) if last == "-" else int(last)
        if verb == "test":
            if parent[last] != operation["value"]:
                raise RenderError(f"patch test failed at {pointer}: {parent[last]!r}")
        elif verb == "add" and isinstance(parent, list):
            parent.insert(last, operation["value"])
        elif verb == "add":
            parent[last] = operation["value"]
        elif verb == "replace":
            _ = parent[last]  # a missing target is an error
            parent[last] = operation["value"]
        elif verb == "remove":
            del parent[last]
        else:
            raise RenderError(f"patch: expected add, replace, remove or test; received {verb}")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, RenderError):
            raise
        raise RenderError(f"patch: {verb} {pointer} has no target") from error


# Transformers


def _label(manifests: list[Manifest], entry: dict[str, Any], folder: Path) -> None:
    unknown = set(entry) - {"pairs", "includeSelectors", "fields"}
    if unknown:
        raise RenderError(f"{folder}: unknown field in labels {sorted(unknown)}")
    paths = [("", "metadata/labels", True)]
    if entry.get("includeSelectors"):
        paths += _SELECTORS
    for field in entry.get("fields", []):
        paths.append((field.get("kind", ""), field["path"], field.get("create", False)))
    for manifest in manifests:
        for kind, path, create in paths:
            if kind in ("", manifest["kind"]):
                _update(manifest, path.split("/"), entry["pairs"], create=create)


def _update(node: Any, keys: list[str], pairs: dict[str, str], *, create: bool) -> None:
    if isinstance(node, list):
        for item in node:
            _update(item, keys, pairs, create=create)
    elif not keys:
        node.update(pairs)
    elif isinstance(node, dict):
        if keys[0] not in node and create:
            node[keys[0]] = {}
        if keys[0] in node:
            _update(node[keys[0]], keys[1:], pairs, create=create)


def _set_image(node: Any, image: dict[str, str]) -> None:
    """Rewrites the images of every `containers` list, custom resources included."""
    unknown = set(image) - {"name", "newName", "newTag", "digest"}
    if unknown:
        raise RenderError(f"images: unknown field {sorted(unknown)}")
    if isinstance(node, list):
        for item in node:
            _set_image(item, image)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key not in ("containers", "initContainers"):
                _set_image(value, image)
                continue
            for container in value:
                name, _, tag = container.get("image", "").partition(":")
                if name != image["name"]:
                    continue
                name = image.get("newName", name)
                if "digest" in image:
                    container["image"] = f"{name}@{image['digest']}"
                else:
                    tag = image.get("newTag", tag)
                    container["image"] = f"{name}:{tag}" if tag else name
