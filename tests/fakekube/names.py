"""The cluster's DNS as a hosts file: who is called what, by the Services that select the pods."""

from __future__ import annotations

from typing import Any

from tests.fakekube.selectors import matches_labels
from tests.fakekube.store import Store


def hosts(store: Store, namespace: str) -> str:
    """Returns the lines of /etc/hosts that every pod of a namespace sees.

    A pod has `<hostname>.<subdomain>` if a headless Service of the subdomain's name selects it,
    and if it is ready or the Service publishes addresses that are not.
    """
    services = store.list("v1", "Service", namespace)
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost"]
    for pod in store.list("v1", "Pod", namespace):
        ip = pod.get("status", {}).get("podIP")
        if not ip or pod["status"].get("phase") != "Running":
            continue
        names = [n for service in services for n in _names(pod, service, namespace)]
        if names:
            lines.append(" ".join([ip, *names]))
    return "\n".join(lines) + "\n"


def _names(pod: dict[str, Any], service: dict[str, Any], namespace: str) -> list[str]:
    spec, name = service["spec"], service["metadata"]["name"]
    headless = spec.get("clusterIP") == "None"
    if not headless or not spec.get("selector") or not matches_labels(pod, spec["selector"]):
        return []
    if not (spec.get("publishNotReadyAddresses") or is_ready(pod)):
        return []
    if pod["spec"].get("subdomain") != name or not pod["spec"].get("hostname"):
        return []
    short = f"{pod['spec']['hostname']}.{name}"
    full = f"{short}.{namespace}"
    return [short, full, f"{full}.svc", f"{full}.svc.cluster.local"]


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether the pod's condition Ready is True."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
