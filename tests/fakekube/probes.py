"""Asks a container whether it has started, is ready and alive: tcpSocket, httpGet or exec."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from typing import Any

from tests.fakekube.network import Sandbox

# Runs a command in the container, for so many seconds at most.
Execute = Callable[[list[str], float], int | None]
KINDS = ("startupProbe", "readinessProbe", "livenessProbe")


def watch(
    container: dict[str, Any],
    router: Sandbox,
    ip: str,
    execute: Execute,
    stop: threading.Event,
    report: Callable[[str, bool], None],
) -> None:
    """Starts the probes of a container; `report(kind, result)` hears of every change of mind.

    Readiness and liveness begin when the startup probe has succeeded. Without a readiness probe
    the container is ready at once. Probes end with `stop`.
    """
    threading.Thread(
        target=_run, args=(container, router, ip, execute, stop, report), daemon=True
    ).start()


def _run(
    container: dict[str, Any], router: Sandbox, ip: str, execute: Execute,
    stop: threading.Event, report: Callable[[str, bool], None],
) -> None:  # fmt: skip
    router.enter()
    ports = {p["name"]: p["containerPort"] for p in container.get("ports", []) if "name" in p}
    ask = lambda probe: _ask(probe, ip, ports, execute)
    startup = container.get("startupProbe")
    if startup is not None:
        _until_decided(startup, ask, stop, lambda result: report("startupProbe", result))
        if stop.is_set():
            return
    if "readinessProbe" not in container:
        report("readinessProbe", True)
    for kind in ("readinessProbe", "livenessProbe"):
        if kind in container:
            threading.Thread(
                target=_forever, daemon=True,
                args=(container[kind], router, ask, stop, lambda r, k=kind: report(k, r)),
            ).start()  # fmt: skip


def _until_decided(
    probe: dict[str, Any], ask: Callable[[dict[str, Any]], bool], stop: threading.Event,
    report: Callable[[bool], None],
) -> None:  # fmt: skip
    stop.wait(probe.get("initialDelaySeconds", 0))
    failures = 0
    while not stop.is_set():
        if ask(probe):
            report(True)
            return
        failures += 1
        if failures >= probe.get("failureThreshold", 3):
            report(False)
            stop.set()
        stop.wait(probe.get("periodSeconds", 10))


def _forever(
    probe: dict[str, Any], router: Sandbox, ask: Callable[[dict[str, Any]], bool],
    stop: threading.Event, report: Callable[[bool], None],
) -> None:  # fmt: skip
    router.enter()
    stop.wait(probe.get("initialDelaySeconds", 0))
    told: bool | None = None
    failures = 0
    while not stop.is_set():
        result = ask(probe)
        failures = 0 if result else failures + 1
        if (result or failures >= probe.get("failureThreshold", 3)) and result is not told:
            told = result
            report(result)
        stop.wait(probe.get("periodSeconds", 10))


def _ask(probe: dict[str, Any], ip: str, ports: dict[str, int], execute: Execute) -> bool:
    timeout = probe.get("timeoutSeconds", 1)
    if "exec" in probe:
        return execute(probe["exec"]["command"], timeout) == 0
    where = probe.get("tcpSocket") or probe.get("httpGet")
    if where is None:
        raise ValueError(f"probe {sorted(probe)} is not known")
    port = ports.get(where["port"], where["port"])
    try:
        if "tcpSocket" in probe:
            socket.create_connection((ip, port), timeout=timeout).close()
            return True
        connection = http.client.HTTPConnection(ip, port, timeout=timeout)
        try:
            connection.request("GET", where.get("path", "/"))
            return 200 <= connection.getresponse().status < 400
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False
