"""Makes a pod's volumes as folders, and reads the values that its environment refers to."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from tests.fakekube.store import Key, NotFound, Store

Pod = dict[str, Any]


class NotReady(Exception):
    """Something the pod needs is not there yet; the kubelet tries again."""


def make(store: Store, pod: Pod, folder: Path, claims: Path) -> dict[str, Path]:
    """Makes every volume of the pod below `folder` and returns it by name.

    A claim is a folder of its name below `claims`, which outlives the pod. Only the kinds of
    volumes that training jobs have are known: any other is an error.
    """
    made = {}
    security = pod["spec"].get("securityContext", {})
    group = security.get("fsGroup", -1)
    for volume in pod["spec"].get("volumes", []):
        path = folder / volume["name"]
        if "persistentVolumeClaim" in volume:
            path = claims / volume["persistentVolumeClaim"]["claimName"]
        path.mkdir(parents=True, exist_ok=True)
        if "configMap" in volume or "secret" in volume or "projected" in volume:
            for name, (data, mode) in _files(store, pod, volume).items():
                target = path / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                target.chmod(mode | (0o040 if group >= 0 else 0))
                os.chown(target, 0, max(group, 0))
        elif "emptyDir" in volume or "persistentVolumeClaim" in volume:
            path.chmod(0o777 if group < 0 else 0o2777)
            os.chown(path, 0, max(group, 0))
        else:
            raise ValueError(f"volume {sorted(volume)} is not known")
        made[volume["name"]] = path
    return made


def refresh(store: Store, pod: Pod, folder: Path) -> None:
    """Writes the files of ConfigMaps anew, as a kubelet does a while after those have changed."""
    for volume in pod["spec"].get("volumes", []):
        path = folder / volume["name"]
        if "configMap" not in volume or not path.is_dir():
            continue
        try:
            files = _files(store, pod, volume)
        except NotReady:  # it is deleted: the pod keeps what it has
            continue
        for name, (data, mode) in files.items():
            target, beside = path / name, path / f".{Path(name).name}.new"
            if target.exists() and target.read_bytes() != data:
                beside.write_bytes(data)
                beside.chmod(mode)
                os.chown(beside, 0, target.stat().st_gid)
                beside.rename(target)


def _files(store: Store, pod: Pod, volume: dict[str, Any]) -> dict[str, tuple[bytes, int]]:
    """The files of one volume with their modes."""
    if "projected" in volume:
        joined: dict[str, tuple[bytes, int]] = {}
        for source in volume["projected"]["sources"]:
            kind = next(iter(source))
            named = {**source[kind], "secretName": source[kind].get("name")}
            named.setdefault("defaultMode", volume["projected"].get("defaultMode", 0o644))
            joined |= _files(store, pod, {"name": "", kind: named})
        return joined
    kind, source = (
        ("ConfigMap", volume["configMap"])
        if "configMap" in volume
        else ("Secret", {**volume["secret"], "name": volume["secret"].get("secretName")})
    )
    data = contents(store, pod, kind, source["name"], optional=source.get("optional", False))
    mode = source.get("defaultMode", 0o644)
    if "items" not in source:
        return {name: (value, mode) for name, value in data.items()}
    lost = [item["key"] for item in source["items"] if item["key"] not in data]
    if lost:
        raise NotReady(f"{kind} {source['name']!r} has no key {lost[0]!r}")
    return {i["path"]: (data[i["key"]], i.get("mode", mode)) for i in source["items"]}


def contents(
    store: Store, pod: Pod, kind: str, name: str, *, optional: bool = False
) -> dict[str, bytes]:
    """Returns what a ConfigMap or a Secret of the pod's namespace holds."""
    try:
        found = store.get(Key("v1", kind, pod["metadata"]["namespace"], name))
    except NotFound:
        if optional:
            return {}
        raise NotReady(f"{kind} {name!r} not found") from None
    plain = found.get("data") or {}
    if kind == "ConfigMap":
        more = {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}
        return {k: v.encode() for k, v in plain.items()} | more
    more = {k: v.encode() for k, v in (found.get("stringData") or {}).items()}
    return {k: base64.b64decode(v) for k, v in plain.items()} | more


def environment(store: Store, pod: Pod, container: dict[str, Any]) -> dict[str, str]:
    """Returns the variables of a container: envFrom, then env, with $(NAME) replaced."""
    found: dict[str, str] = {}
    for entry in container.get("envFrom", []):
        kind, source = (
            ("ConfigMap", entry["configMapRef"])
            if "configMapRef" in entry
            else ("Secret", entry["secretRef"])
        )
        data = contents(store, pod, kind, source["name"], optional=source.get("optional", False))
        found |= {entry.get("prefix", "") + k: v.decode() for k, v in data.items()}
    for entry in container.get("env", []):
        value = expand(entry["value"], found) if "value" in entry else _value(store, pod, entry)
        if value is not None:
            found[entry["name"]] = value
    return found


def _value(store: Store, pod: Pod, entry: dict[str, Any]) -> str | None:
    origin = entry.get("valueFrom")
    if origin is None:
        return ""
    if "fieldRef" in origin:
        return _field(pod, origin["fieldRef"]["fieldPath"])
    kind, source = (
        ("Secret", origin["secretKeyRef"])
        if "secretKeyRef" in origin
        else ("ConfigMap", origin["configMapKeyRef"])
    )
    optional = source.get("optional", False)
    data = contents(store, pod, kind, source["name"], optional=optional)
    if source["key"] not in data:
        if optional:
            return None
        raise NotReady(f"{kind} {source['name']!r} has no key {source['key']!r}")
    return data[source["key"]].decode()


def _field(pod: Pod, path: str) -> str:
    """`metadata.name`, or `metadata.annotations['x']`."""
    head, _, rest = path.partition("['")
    value: Any = pod
    for step in head.split("."):
        value = (value or {}).get(step)
    return str((value or {}).get(rest.removesuffix("']"), "")) if rest else str(value or "")


def expand(text: str, variables: dict[str, str]) -> str:
    """Replaces $(NAME) of known variables, as Kubernetes does in env, command and args."""
    for name, value in variables.items():
        text = text.replace(f"$({name})", value)
    return text
