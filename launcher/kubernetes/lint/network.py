"""Rules about how pods find each other, and who else may reach them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..addons import MONITORING
from .bundle import INSTANCE, Bundle, environment, selects


def _headless_service(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods("Job"):
        service = bundle.find("Service", pods.spec.get("subdomain", ""))
        if service is None:
            yield f"{pods.where}: subdomain {pods.spec.get('subdomain')} names no Service"
            continue
        spec = service["spec"]
        if spec.get("clusterIP") != "None":
            yield f"{pods.where}: its Service must be headless (clusterIP: None)"
        if not spec.get("publishNotReadyAddresses"):
            yield f"{pods.where}: its Service must publish addresses that are not ready"
        if not spec.get("selector") or not spec["selector"].items() <= pods.labels.items():
            yield f"{pods.where}: its Service selects {spec.get('selector')}, not {pods.labels}"
        names = {port.get("name"): port["containerPort"] for port in pods.main.get("ports", [])}
        for port in spec.get("ports", []):
            target = port.get("targetPort", port["port"])
            if target not in names and target not in names.values():
                yield f"{pods.where}: Service port {target} is no port of the container"


def _coordinator(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods("Job", "JobSet", "TrainingRuntime"):
        if pods.is_mpi:
            continue  # mpirun brings its ranks together
        address = str(environment(pods.main).get("DISTFLOW_COORDINATOR"))
        host, _, port = address.partition(":")
        expected = f"{pods.hostname}-0.{pods.subdomain}"
        if host != expected:
            yield f"{pods.where}: DISTFLOW_COORDINATOR {address} must name {expected}"
        ports = [str(p["containerPort"]) for p in pods.main.get("ports", [])]
        if port not in ports:
            yield f"{pods.where}: DISTFLOW_COORDINATOR's port {port} must be one of {ports}"


def _network_policy(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        labels = pods.labels
        policies = [
            policy["spec"]
            for policy in bundle.of_kind("NetworkPolicy")
            if selects(policy["spec"]["podSelector"], labels)
        ]
        kinds = {kind for policy in policies for kind in policy.get("policyTypes", [])}
        if kinds != {"Ingress", "Egress"}:
            yield f"{pods.where}: a NetworkPolicy must close ingress and egress, not {kinds}"
        ingress = [rule for policy in policies for rule in policy.get("ingress", [])]
        if not any(_allows(rule, "from", labels) for rule in ingress):
            yield f"{pods.where}: the job's own pods must be let in"
        if not all(_only_own(rule, labels) or _is_scrape(rule) for rule in ingress):
            yield f"{pods.where}: only the job's own pods may be let in"
        egress = [rule for policy in policies for rule in policy.get("egress", [])]
        if not any(_allows(rule, "to", labels) for rule in egress):
            yield f"{pods.where}: the job's own pods must be reachable"
        dns = {(p.get("protocol"), p.get("port")) for rule in egress for p in rule.get("ports", [])}
        if not {("UDP", 53), ("TCP", 53)} <= dns:
            yield f"{pods.where}: DNS must be reachable over UDP and TCP"


def _allows(rule: dict[str, Any], side: str, labels: dict[str, str]) -> bool:
    """Says whether a NetworkPolicy rule lets pods with these labels through on every port."""
    peers = rule.get(side, [])
    chosen = [p["podSelector"] for p in peers if set(p) == {"podSelector"}]
    return "ports" not in rule and any(selects(selector, labels) for selector in chosen)


def _only_own(rule: dict[str, Any], labels: dict[str, str]) -> bool:
    """Says whether an ingress rule names pods of this job (by its instance) and no others."""
    peers = rule.get("from", [])
    return bool(peers) and all(
        set(p) == {"podSelector"}
        and p["podSelector"].get("matchLabels", {}).get(INSTANCE) == labels.get(INSTANCE, "")
        for p in peers
    )


def _is_scrape(rule: dict[str, Any]) -> bool:
    """Says whether an ingress rule lets Prometheus read the metrics, and nothing else."""
    monitoring = {"namespaceSelector": {"matchLabels": MONITORING}}
    return rule.get("from") == [monitoring] and [p.get("port") for p in rule["ports"]] == [
        "metrics"
    ]


def _pod_monitor(bundle: Bundle) -> Iterator[str]:
    for monitor in bundle.of_kind("PodMonitor"):
        where, spec = f"PodMonitor/{monitor['metadata']['name']}", monitor["spec"]
        chosen = [pods for pods in bundle.pods() if selects(spec["selector"], pods.labels)]
        if not chosen:
            yield f"{where}: selects no pods of this bundle"
        for pods in chosen:
            settings = environment(pods.main)
            ports = {p.get("name"): str(p["containerPort"]) for p in pods.main.get("ports", [])}
            if settings.get("DISTFLOW_METRICS_HOST") != "0.0.0.0":
                yield f"{where}: {pods.where} serves its own host: set DISTFLOW_METRICS_HOST"
            ready = pods.main.get("readinessProbe", {}).get("httpGet", {}).get("port")
            if ready not in ports or ports[ready] != settings.get("DISTFLOW_METRICS_PORT"):
                yield f"{where}: {pods.where} is ready when its metrics answer; probe {ready}"
            for endpoint in spec.get("podMetricsEndpoints", []):
                if ports.get(endpoint.get("port")) != settings.get("DISTFLOW_METRICS_PORT"):
                    yield f"{where}: port {endpoint.get('port')} must be DISTFLOW_METRICS_PORT"


ROWS = [
    ("pod-monitor", "Prometheus says nothing about a port that is not there", _pod_monitor),
    ("headless-service", "<job>-<index>.<service> must resolve early", _headless_service),
    ("coordinator", "workers meet at index 0", _coordinator),
    ("network-policy", "the job, DNS, and nothing else", _network_policy),
]
