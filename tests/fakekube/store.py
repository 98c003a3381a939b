"""Holds the objects of a small cluster as an API server does: versions, conflicts, watches.

In memory, thread-safe. The HTTP server puts it on the network; controllers and the kubelet use it
directly. Objects go in and out as copies, so nobody changes what is stored by changing a dict.
"""

from __future__ import annotations

import copy
import datetime
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.fakekube.selectors import matches_fields, matches_labels

Object = dict[str, Any]

CLUSTER_WIDE = frozenset({"Namespace", "Node", "PersistentVolume", "CustomResourceDefinition"})
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # what generateName draws from


class Key(NamedTuple):
    """Names one object. `namespace` is "" for kinds of the whole cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Event:
    """One change: ADDED, MODIFIED or DELETED, and the object after it (before it, when deleted)."""

    type: str
    version: int
    object: Object


class StoreError(Exception):
    """A refusal, with the HTTP status and the reason that a Kubernetes Status carries."""

    code = 500
    reason = "InternalError"


class NotFound(StoreError):
    """There is no such object."""

    code, reason = 404, "NotFound"


class AlreadyExists(StoreError):
    """An object of that name is there."""

    code, reason = 409, "AlreadyExists"


class Conflict(StoreError):
    """The object changed since the caller read it."""

    code, reason = 409, "Conflict"


class Invalid(StoreError):
    """The object lacks what every object must have."""

    code, reason = 422, "Invalid"


def key_of(obj: Object, namespace: str | None = None) -> Key:
    """Returns the key of `obj`; without a namespace of its own, `namespace` or "default" is."""
    kind = obj.get("kind")
    version = obj.get("apiVersion")
    if not kind or not version:
        raise Invalid("kind and apiVersion are required")
    metadata = obj.get("metadata") or {}
    place = "" if kind in CLUSTER_WIDE else metadata.get("namespace") or namespace or "default"
    return Key(version, kind, place, metadata.get("name", ""))


def merge(target: Any, patch: Any) -> Any:
    """Returns `target` with a JSON merge patch applied. Source: RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def now() -> str:
    """Returns the time as Kubernetes writes it."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """The objects of one cluster."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._log: list[Event] = []
        self._version = 0
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    # Reading ------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The version of the latest change: where a watch starts after a list."""
        with self._changed:
            return self._version

    def get(self, key: Key) -> Object:
        """Returns the object; NotFound if there is none."""
        with self._changed:
            return copy.deepcopy(self._find(key))

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | dict[str, str] = "",
        fields: str = "",
    ) -> list[Object]:
        """Returns the objects of a kind, by namespace and name; None means every namespace.

        Args:
          labels: a selector as kubectl's -l writes it, or labels that must all be equal.
          fields: `metadata.name=x,status.phase!=y`.
        """
        with self._changed:
            found = [
                copy.deepcopy(obj)
                for key, obj in sorted(self._objects.items(), key=lambda pair: pair[0])
                if (key.api_version, key.kind) == (api_version, kind)
                and namespace in (None, key.namespace)
            ]
        return [o for o in found if matches_labels(o, labels) and matches_fields(o, fields)]

    def watch(
        self,
        api_version: str | None = None,
        kind: str | None = None,
        namespace: str | None = None,
        *,
        since: int | None = None,
        labels: str | dict[str, str] = "",
        fields: str = "",
        timeout_seconds: float | None = None,
    ) -> Iterator[Event]:
        """Yields changes after version `since` (default: from now on), as they come.

        Ends after `timeout_seconds` (None: never) or when the store is closed. None for the kind
        or the namespace means all.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        with self._changed:
            seen = self._version if since is None else since
            position = next(
                (i for i, event in enumerate(self._log) if event.version > seen), len(self._log)
            )
        return self._follow(position, end, api_version, kind, namespace, labels, fields)

    def _follow(
        self, position: int, end: float | None, api_version: str | None, kind: str | None,
        namespace: str | None, labels: str | dict[str, str], fields: str,
    ) -> Iterator[Event]:  # fmt: skip
        while True:
            with self._changed:
                while position == len(self._log):
                    left = None if end is None else end - time.monotonic()
                    if self._closed or (left is not None and left <= 0):
                        return
                    self._changed.wait(left)
                event = self._log[position]
            position += 1
            key = key_of(event.object)
            if (
                api_version in (None, key.api_version)
                and kind in (None, key.kind)
                and namespace in (None, key.namespace)
                and matches_labels(event.object, labels)
                and matches_fields(event.object, fields)
            ):
                yield Event(event.type, event.version, copy.deepcopy(event.object))

    # Writing ------------------------------------------------------------------------------

    def create(self, obj: Object, namespace: str | None = None) -> Object:
        """Stores a new object and returns it with what the server adds; AlreadyExists if it is."""
        obj = copy.deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        obj.pop("status", None)
        with self._changed:
            if not metadata.get("name") and metadata.get("generateName"):
                metadata["name"] = metadata["generateName"] + "".join(random.choices(_SUFFIX, k=5))
            key = key_of(obj, namespace)
            if not key.name:
                raise Invalid("metadata.name is required")
            if key in self._objects:
                raise AlreadyExists(f"{_plural(key)} {key.name!r} already exists")
            if key.namespace:
                metadata["namespace"] = key.namespace
            metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now(), generation=1)
            return self._put("ADDED", key, obj)

    def replace(self, obj: Object, *, subresource: str = "") -> Object:
        """Stores `obj` over the one of its name and returns it.

        Conflict if `obj` carries a resourceVersion that is not the stored one. Without
        subresource the status stays as it was; with "status" nothing but the status changes.
        """
        key = key_of(obj)
        given = (obj.get("metadata") or {}).get("resourceVersion")
        return self.modify(key, lambda _: obj, subresource=subresource, version=given)

    def patch(self, key: Key, patch: Object, *, subresource: str = "") -> Object:
        """Applies a JSON merge patch and returns the new object; Conflict as in replace."""
        given = (patch.get("metadata") or {}).get("resourceVersion")
        return self.modify(
            key, lambda old: merge(old, patch), subresource=subresource, version=given
        )

    def modify(
        self,
        key: Key,
        change: Callable[[Object], Object],
        *,
        subresource: str = "",
        version: str | None = None,
    ) -> Object:
        """Stores what `change` makes of the object, in one step; the ground of replace and patch.

        `change` gets a copy and may return it changed. An object that stays equal keeps its
        version, and no watch hears of it, as in Kubernetes.
        """
        with self._changed:
            old = self._find(key)
            if version and version != old["metadata"]["resourceVersion"]:
                raise Conflict(
                    f"Operation cannot be fulfilled on {_plural(key)} {key.name!r}: the object "
                    "has been modified; please apply your changes to the latest version and try "
                    "again"
                )
            new = copy.deepcopy(change(copy.deepcopy(old)))
            if subresource == "status":
                new = {**copy.deepcopy(old), "status": new.get("status", {})}
            else:
                new.pop("status", None)
                new.update({"status": copy.deepcopy(old["status"])} if "status" in old else {})
                new["metadata"] = _keep_identity(old["metadata"], new.get("metadata") or {})
            if new == old:
                return copy.deepcopy(old)
            if new.get("spec") != old.get("spec"):
                new["metadata"]["generation"] = old["metadata"]["generation"] + 1
            if "deletionTimestamp" in new["metadata"] and not _held(key, new):
                return self._remove(key, new)
            return self._put("MODIFIED", key, new)

    def delete(
        self, key: Key, *, propagation: str = "Background", grace_seconds: float | None = None
    ) -> Object:
        """Deletes the object, or begins to, and returns it as it is then.

        A pod that is bound to a node gets a deletionTimestamp and goes when its kubelet deletes
        it again with grace 0. An object with finalizers goes when the last one is taken off.
        Propagation is Background or Foreground (owned objects are deleted as well, here both at
        once) or Orphan (they lose their owner).
        """
        if propagation not in ("Background", "Foreground", "Orphan"):
            raise Invalid(f"propagationPolicy {propagation!r} is not known")
        with self._changed:
            obj = copy.deepcopy(self._find(key))
            for child in self._owned_by(obj["metadata"]["uid"]):
                if propagation == "Orphan":
                    self._disown(child, obj["metadata"]["uid"])
                else:
                    self.delete(child)
            metadata = obj["metadata"]
            grace = grace_seconds if grace_seconds is not None else _grace(key, obj)
            if grace == 0 or not _held(key, obj):
                metadata.setdefault("deletionTimestamp", now())
                metadata["deletionGracePeriodSeconds"] = 0
                if not metadata.get("finalizers"):
                    return self._remove(key, obj)
            elif "deletionTimestamp" in metadata and grace_seconds is None:
                return obj
            metadata.setdefault("deletionTimestamp", now())
            metadata["deletionGracePeriodSeconds"] = grace
            return self._put("MODIFIED", key, obj)

    def close(self) -> None:
        """Ends every watch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # Below: called with the lock held.

    def _find(self, key: Key) -> Object:
        if key not in self._objects:
            raise NotFound(f"{_plural(key)} {key.name!r} not found")
        return self._objects[key]

    def _put(self, change: str, key: Key, obj: Object) -> Object:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = obj
        self._tell(change, obj)
        return copy.deepcopy(obj)

    def _remove(self, key: Key, obj: Object) -> Object:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        del self._objects[key]
        self._tell("DELETED", obj)
        for child in self._owned_by(obj["metadata"]["uid"]):
            self.delete(child)
        return copy.deepcopy(obj)

    def _tell(self, change: str, obj: Object) -> None:
        self._log.append(Event(change, self._version, copy.deepcopy(obj)))
        self._changed.notify_all()

    def _owned_by(self, uid: str) -> list[Key]:
        return [
            key
            for key, obj in self._objects.items()
            if any(ref["uid"] == uid for ref in obj["metadata"].get("ownerReferences", []))
        ]

    def _disown(self, key: Key, uid: str) -> None:
        def change(obj: Object) -> Object:
            owners = obj["metadata"].get("ownerReferences", [])
            obj["metadata"]["ownerReferences"] = [o for o in owners if o["uid"] != uid]
            return obj

        self.modify(key, change)


def _plural(key: Key) -> str:
    """The resource's name as messages have it: jobs.batch, pods."""
    group = key.api_version.rpartition("/")[0]
    name = key.kind.lower() + ("" if key.kind.lower().endswith("s") else "s")
    return f"{name}.{group}" if group else name


def _keep_identity(old: Object, new: Object) -> Object:
    kept = ("name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion")
    return {**new, **{name: old[name] for name in kept if name in old}}


def _held(key: Key, obj: Object) -> bool:
    """Whether somebody must still act before a deleted object may go."""
    metadata = obj["metadata"]
    return bool(metadata.get("finalizers")) or (
        key.kind == "Pod" and metadata.get("deletionGracePeriodSeconds") != 0 and _running(obj)
    )


def _running(pod: Object) -> bool:
    bound = bool((pod.get("spec") or {}).get("nodeName"))
    return bound and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _grace(key: Key, obj: Object) -> float:
    if key.kind != "Pod" or not _running(obj):
        return 0
    return (obj.get("spec") or {}).get("terminationGracePeriodSeconds", 30)
