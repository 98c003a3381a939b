"""The four kinds of patches that an API server takes.

A strategic merge joins lists by the key of their items, with the directives that kubectl writes:
`$patch: delete`, `$patch: replace`, `$retainKeys` and `$setElementOrder`. A server-side apply is
taken as a strategic merge: who owns which field is not kept.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml

from tests.deploy import kustomize
from tests.fakekube.store import Object, merge

# The keys of Kubernetes' own types; lists not named here are replaced.
MERGE_KEYS = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name",
    "volumeMounts": "mountPath", "ownerReferences": "uid", "imagePullSecrets": "name",
    "conditions": "type", "topologySpreadConstraints": "topologyKey",
}  # fmt: skip
# `ports` of a container and of a Service are joined by different keys.
_PORTS = ("containerPort", "port")


class UnknownPatch(ValueError):
    """A content type that is no patch."""


def read(body: bytes, content_type: str) -> Any:
    """Returns the patch in a request's body."""
    if content_type.partition(";")[0] == "application/apply-patch+yaml":
        return yaml.safe_load(body)
    return json.loads(body)


def apply(old: Object, patch: Any, content_type: str) -> Object:
    """Returns the object with a patch applied.

    Raises:
      UnknownPatch: for another content type.
    """
    kind = content_type.partition(";")[0]
    if kind == "application/merge-patch+json":
        return dict(merge(old, patch))
    if kind == "application/json-patch+json":
        new = copy.deepcopy(old)
        for operation in patch:
            kustomize.apply_operation(new, operation)
        return new
    if kind in ("application/strategic-merge-patch+json", "application/apply-patch+yaml"):
        return dict(strategic(old, patch))
    raise UnknownPatch(content_type)


def strategic(old: Any, patch: Any, field: str = "") -> Any:
    """Returns a value with a strategic merge patch applied."""
    if isinstance(patch, dict):
        return _table(old if isinstance(old, dict) else {}, patch)
    if isinstance(patch, list) and patch and all(isinstance(item, dict) for item in patch):
        key = _key(field, patch)
        if key is not None:
            return _list(old if isinstance(old, list) else [], patch, key)
    return copy.deepcopy(patch)


def _table(old: Object, patch: Object) -> Object:
    if patch.get("$patch") == "replace":
        return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
    kept = patch.get("$retainKeys")
    new = {k: v for k, v in old.items() if kept is None or k in kept}
    for name, value in patch.items():
        if name.startswith("$"):
            continue  # the order of elements is kept as it is
        if value is None:
            new.pop(name, None)
        else:
            new[name] = strategic(new.get(name), value, name)
    return new


def _list(old: list[Object], patch: list[Object], key: str) -> list[Object]:
    if any(item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if "$patch" not in item]
    gone = {item[key] for item in patch if item.get("$patch") == "delete"}
    changes = {item[key]: item for item in patch if item[key] not in gone}
    new = [
        strategic(item, changes.pop(item[key])) if item.get(key) in changes else item
        for item in old
        if item.get(key) not in gone
    ]
    return new + [_table({}, item) for item in changes.values()]


def _key(field: str, items: list[Object]) -> str | None:
    if field == "ports":
        return next((k for k in _PORTS if all(k in item for item in items)), None)
    key = MERGE_KEYS.get(field)
    return key if key and all(key in item for item in items) else None
