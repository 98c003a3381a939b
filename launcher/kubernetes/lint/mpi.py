"""Rules about MPIJobs, most of which the operator checks only after the manifest is accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .bundle import Bundle, Manifest, Pods, environment, option

_ROOT_HOME = "/root"


def _roles(bundle: Bundle, job: Manifest) -> dict[str, Pods]:
    return {pods.role: pods for pods in bundle.pods("MPIJob") if pods.owner is job}


def _replicas(bundle: Bundle) -> Iterator[str]:
    for job in bundle.of_kind("MPIJob"):
        name, roles = job["metadata"]["name"], _roles(bundle, job)
        if set(roles) != {"Launcher", "Worker"}:
            yield f"MPIJob/{name}: expected Launcher and Worker; received {sorted(roles)}"
            continue
        if roles["Launcher"].count != 1:
            yield f"MPIJob/{name}: Launcher replicas must be 1"
        if roles["Worker"].count < 1:
            yield f"MPIJob/{name}: Worker replicas must be 1 or more"


def _slots(bundle: Bundle) -> Iterator[str]:
    for job in bundle.of_kind("MPIJob"):
        roles = _roles(bundle, job)
        if set(roles) != {"Launcher", "Worker"}:
            continue  # reported by mpi-replicas
        slots = job["spec"].get("slotsPerWorker", 1) * roles["Worker"].count
        given = option(roles["Launcher"].main.get("args", []), "-n")
        if given != [str(slots)]:
            yield f"MPIJob/{job['metadata']['name']}: mpirun -n {given}, but {slots} slots"


def _launcher(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods("MPIJob"):
        if pods.role != "Launcher":
            continue
        arguments, settings = pods.main.get("args", []), environment(pods.main)
        if pods.main.get("command") != ["mpirun"]:
            yield f"{pods.where}: command must be mpirun"
        if option(arguments, "--bind-to") != ["none"]:
            yield f"{pods.where}: mpirun needs --bind-to none"
        if option(arguments, "--hostfile") != ["/etc/mpi/hostfile"]:
            yield f"{pods.where}: mpirun needs --hostfile /etc/mpi/hostfile"
        forwarded = set(option(arguments, "-x"))
        needed = {n for n in settings if re.match("DISTFLOW_|O.*_NUM_THREADS", n)}
        for name in sorted(needed - forwarded):
            yield f"{pods.where}: {name} reaches no worker without -x {name}"
        for name in sorted(forwarded - set(settings)):
            yield f"{pods.where}: -x {name} forwards what is not set"


def _ssh(bundle: Bundle) -> Iterator[str]:
    for job in bundle.of_kind("MPIJob"):
        spec, where = job["spec"], f"MPIJob/{job['metadata']['name']}"
        path = spec.get("sshAuthMountPath", f"{_ROOT_HOME}/.ssh")
        if not re.fullmatch(r"/home/[a-z]+/\.ssh", path):
            yield f"{where}: sshAuthMountPath {path} must be the .ssh of a non-root user"
        if spec.get("launcherCreationPolicy") != "WaitForWorkersReady":
            yield f"{where}: launcherCreationPolicy must be WaitForWorkersReady"
        if spec.get("mpiImplementation") != "OpenMPI":
            yield f"{where}: mpiImplementation must be OpenMPI"
    for pods in bundle.pods("MPIJob"):
        if pods.role != "Worker":
            continue
        if pods.main.get("command") != ["/usr/sbin/sshd"] or "-D" not in pods.main.get("args", []):
            yield f"{pods.where}: must run /usr/sbin/sshd -D"
        ports = {p.get("name"): p["containerPort"] for p in pods.main.get("ports", [])}
        probe = pods.main.get("readinessProbe", {}).get("tcpSocket", {}).get("port")
        if ports.get(probe, probe) != 2222:
            yield f"{pods.where}: readiness must be sshd's port 2222; received {probe}"


ROWS = [
    ("mpi-replicas", "the operator wants one launcher and some workers", _replicas),
    ("mpi-slots", "mpirun waits for, or leaves idle, what does not match", _slots),
    ("mpi-launcher", "sshd passes on no environment; pods share a node's cores", _launcher),
    ("mpi-ssh", "a non-root sshd, found by the operator and up before mpirun", _ssh),
]
