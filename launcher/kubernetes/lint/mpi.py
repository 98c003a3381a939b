"""Rules about MPIJobs, most of which the operator checks only after the manifest is accepted, and
about TrainJobs with the trainer's MPI policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .bundle import Bundle, Manifest, Pods, environment, option

_ROOT_HOME = "/root"
# Where the launcher finds its hosts, by what makes it.
_HOSTS = {
    "MPIJob": ("--host-discovery-script", "/etc/mpi/discover_hosts.sh"),
    "TrainingRuntime": ("--hostfile", "/etc/mpi/hostfile"),
}
# For mpirun and sshd to end in, after the ranks.
_SPARE_SECONDS = 10


def _roles(bundle: Bundle, job: Manifest) -> dict[str, Pods]:
    return {pods.role: pods for pods in bundle.pods("MPIJob") if pods.owner is job}


def _pods(bundle: Bundle) -> Iterator[Pods]:
    return (pods for pods in bundle.pods() if pods.is_mpi)


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
        roles, where = _roles(bundle, job), f"MPIJob/{job['metadata']['name']}"
        if set(roles) != {"Launcher", "Worker"}:
            continue  # reported by mpi-replicas
        slots = job["spec"].get("slotsPerWorker", 1)
        if slots != 1:  # discover_hosts.sh tells names alone
            yield f"{where}: slotsPerWorker {slots} must be 1: a pod is a worker"
        given, workers = roles["Worker"].elastic, roles["Worker"].count
        if given is None or not 1 <= given[0] <= workers <= given[1]:
            yield f"{where}: Worker replicas {workers} must be within --elastic {given}"

    for pods in _pods(bundle):
        if pods.kind == "MPIJob" or pods.role != "Launcher":
            continue
        nodes = pods.owner["spec"]["mlPolicy"].get("numNodes", 1)
        if option(pods.main.get("args", []), "--elastic") != [f"{nodes}:{nodes}"]:
            yield f"{pods.where}: --elastic must be numNodes, {nodes}:{nodes}: its size is fixed"
        if pods.owner["spec"]["mlPolicy"]["mpi"].get("numProcPerNode", 1) != 1:
            yield f"{pods.where}: numProcPerNode must be 1: a pod is a worker"


def _launcher(bundle: Bundle) -> Iterator[str]:
    for pods in _pods(bundle):
        if pods.role != "Launcher":
            continue
        arguments, settings = pods.main.get("args", []), environment(pods.main)
        if pods.main.get("command") != ["distflow", "run"]:
            yield f"{pods.where}: command must be distflow run, which starts mpirun again"
        if option(arguments, "--backend") != ["mpi"]:
            yield f"{pods.where}: distflow run needs --backend mpi"
        name, place = _HOSTS[pods.kind]
        if option(arguments, name) != [place]:
            yield f"{pods.where}: distflow run needs {name} {place}"
        if option(arguments, "--replicas") != ["$(DISTFLOW_REPLICAS)"]:
            yield f"{pods.where}: distflow run needs --replicas $(DISTFLOW_REPLICAS)"
        forwarded = set(option(arguments, "--env"))
        needed = {n for n in settings if not re.fullmatch("DISTFLOW_.*|.*_NUM_THREADS", n)}
        for name in sorted(needed - forwarded):
            yield f"{pods.where}: {name} reaches no worker without --env {name}"
        for name in sorted(n for n in forwarded - set(settings) if "=" not in n):
            yield f"{pods.where}: --env {name} hands on what is not set"


def _stop(bundle: Bundle) -> Iterator[str]:
    for pods in _pods(bundle):
        grace = pods.spec.get("terminationGracePeriodSeconds", 30)
        if pods.role == "Launcher":
            (given,) = option(pods.main.get("args", []), "--grace") or ["25"]
            if not float(given) + _SPARE_SECONDS <= grace:
                yield f"{pods.where}: --grace {given} leaves mpirun no time within {grace} s"
            continue
        hook = pods.main.get("lifecycle", {}).get("preStop", {}).get("exec", {})
        command = hook.get("command", [])
        also = ["--end-sshd"] if pods.job is not None else []  # else its index is complete
        if command[1:3] != ["-m", "distflow_launcher.leave"] or command[4:] != also:
            words = " ".join(["python -m distflow_launcher.leave SECONDS", *also])
            yield f"{pods.where}: preStop must run {words}"
        elif not float(command[3]) + _SPARE_SECONDS <= grace:
            yield f"{pods.where}: preStop of {command[3]} s leaves sshd no time within {grace} s"


def _ssh(bundle: Bundle) -> Iterator[str]:
    for job in bundle.of_kind("MPIJob"):
        if job["spec"].get("launcherCreationPolicy") != "WaitForWorkersReady":
            name = job["metadata"]["name"]
            yield f"MPIJob/{name}: launcherCreationPolicy must be WaitForWorkersReady"
    for pods in _pods(bundle):
        policy = pods.owner["spec"]
        policy = policy if pods.kind == "MPIJob" else policy["mlPolicy"]["mpi"]
        path = policy.get("sshAuthMountPath", f"{_ROOT_HOME}/.ssh")
        if not re.fullmatch(r"/home/[a-z]+/\.ssh", path):
            yield f"{pods.where}: sshAuthMountPath {path} must be the .ssh of a non-root user"
        if policy.get("mpiImplementation") != "OpenMPI":
            yield f"{pods.where}: mpiImplementation must be OpenMPI"
        if pods.role != "Worker":
            continue
        if pods.kind == "MPIJob" and pods.restart_policy != "OnFailure":
            yield f"{pods.where}: restartPolicy must be OnFailure: no failed pod is replaced"
        if pods.main.get("command") != ["/usr/sbin/sshd"] or "-D" not in pods.main.get("args", []):
            yield f"{pods.where}: must run /usr/sbin/sshd -D"
        ports = {p.get("name"): p["containerPort"] for p in pods.main.get("ports", [])}
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = pods.main.get(kind, {}).get("tcpSocket", {}).get("port")
            if ports.get(probe, probe) != 2222:
                yield f"{pods.where}: {kind} must be sshd's port 2222; received {probe}"


ROWS = [
    ("mpi-replicas", "the operator wants one launcher and some workers", _replicas),
    ("mpi-slots", "the launcher starts mpirun on as many workers as its bounds allow", _slots),
    (
        "mpi-launcher",
        "mpirun alone can neither grow nor shrink, and sshd hands on nothing",
        _launcher,
    ),
    ("mpi-stop", "ranks end with a backup before what carries them does", _stop),
    ("mpi-ssh", "a non-root sshd, found by the operator, up before mpirun and watched", _ssh),
]
