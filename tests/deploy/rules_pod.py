"""Rules about what is in a pod, whoever owns it: volumes, resources, rights, process 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.deploy.bundle import Bundle, Manifest, environment, quantity

# Made by hand before the first job, as deploy/README.md says; never part of a bundle.
EXTERNAL_SECRETS = {"distflow-token"}
_SHELLS = {"sh", "bash", "dash"}


def _references(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for kind, name in _named(pods.spec):
            known = kind == "Secret" and name in EXTERNAL_SECRETS
            if not known and bundle.find(kind, name) is None:
                yield f"{pods.where}: {kind}/{name} is not in the bundle"


def _named(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for item in node:
            yield from _named(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("secretKeyRef", "secretRef"):
                yield "Secret", value["name"]
            elif key == "secret":
                yield "Secret", value["secretName"]
            elif key in ("configMapKeyRef", "configMapRef", "configMap"):
                yield "ConfigMap", value["name"]
            else:
                yield from _named(value)


def _volumes(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        volumes = [volume["name"] for volume in pods.spec.get("volumes", [])]
        mounted = set()
        for container in pods.containers:
            paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
            if len(set(paths)) != len(paths):
                yield f"{pods.where}: two volumes at one path: {paths}"
            mounted |= {mount["name"] for mount in container.get("volumeMounts", [])}
        for name in sorted(mounted - set(volumes)):
            yield f"{pods.where}: volumeMount {name} has no volume"
        for name in sorted(set(volumes) - mounted):
            yield f"{pods.where}: volume {name} is mounted nowhere"


def _scratch(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        by_name = {volume["name"]: volume for volume in pods.spec.get("volumes", [])}
        mounts = {m["mountPath"]: m["name"] for m in pods.main.get("volumeMounts", [])}
        if "emptyDir" not in by_name.get(mounts.get("/tmp", ""), {}):
            yield f"{pods.where}: /tmp must be an emptyDir: the root file system is read-only"
        shm = by_name.get(mounts.get("/dev/shm", ""), {}).get("emptyDir", {})
        if shm.get("medium") != "Memory" or "sizeLimit" not in shm:
            yield f"{pods.where}: /dev/shm must be a memory emptyDir with a sizeLimit"
            continue
        memory = pods.main.get("resources", {}).get("limits", {}).get("memory")
        if memory and quantity(shm["sizeLimit"]) >= quantity(memory):
            yield f"{pods.where}: /dev/shm counts as memory and must be below its limit"


def _resources(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for container in pods.containers:
            where = f"{pods.where} {container['name']}"
            limits = container.get("resources", {}).get("limits", {})
            requests = container.get("resources", {}).get("requests", {})
            for name in ("cpu", "memory"):
                if name not in limits or name not in requests:
                    yield f"{where}: {name} needs a request and a limit"
                elif quantity(requests[name]) > quantity(limits[name]):
                    yield f"{where}: {name} request is above its limit"
                elif quantity(requests[name]) < quantity(limits[name]):
                    yield f"{where}: {name} request must equal its limit"


def _threads(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        if pods.owner["kind"] == "MPIJob" and pods.role == "Worker":
            continue  # its environment is the launcher's, by mpirun -x
        settings = environment(pods.main)
        cpus = quantity(pods.main.get("resources", {}).get("limits", {}).get("cpu", 1))
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            if not 1 <= int(settings.get(name) or 0) <= max(1, cpus):
                yield f"{pods.where}: {name} must be set, and at most the cpu limit"


def _rights(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        security = pods.spec.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{pods.where}: runAsNonRoot and a runAsUser other than 0"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{pods.where}: seccompProfile must be RuntimeDefault"
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            if pods.spec.get(name):
                yield f"{pods.where}: {name} must not be set"
        for container in pods.containers:
            yield from _container_rights(f"{pods.where} {container['name']}", container)


def _container_rights(where: str, container: Manifest) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield f"{where}: allowPrivilegeEscalation must be false, privileged not set"
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{where}: readOnlyRootFilesystem must be true"
    capabilities = security.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield f"{where}: capabilities must drop ALL and add none"
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield f"{where}: the container must not undo the pod's runAsNonRoot"


def _api_token(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        if pods.spec.get("automountServiceAccountToken") is not False:
            yield f"{pods.where}: automountServiceAccountToken must be false"


def _grace(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        if pods.spec.get("terminationGracePeriodSeconds", 30) < 60:
            yield f"{pods.where}: terminationGracePeriodSeconds must be 60 or more"


def _ports(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        ports = [port for c in pods.containers for port in c.get("ports", [])]
        for port in ports:
            # Below 1024 a process that is not root cannot listen.
            if not 1024 <= port["containerPort"] <= 65535 or "hostPort" in port:
                yield f"{pods.where}: port {port} must be in 1024..65535, without hostPort"
        names = [port.get("name") for port in ports]
        if None in names or len(set(names)) != len(names):
            yield f"{pods.where}: ports need names, each its own: {names}"


def _image(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for container in pods.containers:
            image = container["image"]
            tag = image.rpartition("/")[2].partition(":")[2]
            if "@sha256:" not in image and tag in ("", "latest"):
                yield f"{pods.where}: image {image} needs a tag other than latest, or a digest"


def _exec_form(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        command = pods.main.get("command", [])
        if not command or command[0].rpartition("/")[2] in _SHELLS:
            yield f"{pods.where}: command {command} must start the program itself, not a shell"
        is_python = command and command[0].rpartition("/")[2].startswith("python")
        if is_python and not pods.spec.get("shareProcessNamespace"):
            yield f"{pods.where}: Python as PID 1 ignores SIGTERM; set shareProcessNamespace"


ROWS = [
    ("references", "a pod waits for ever for a Secret that is not there", _references),
    ("volumes", "a mount without a volume is refused by the API server only", _volumes),
    ("scratch", "the default /dev/shm of 64 MiB breaks shared memory", _scratch),
    ("resources", "equal requests and limits: the pod is evicted last", _resources),
    ("threads", "more BLAS threads than CPUs fight for the quota", _threads),
    ("rights", "the restricted Pod Security Standard, and a read-only root", _rights),
    ("api-token", "workers never call the API", _api_token),
    ("grace", "SIGTERM, the end of the step, a checkpoint", _grace),
    ("ports", "numbers that a non-root process can listen on", _ports),
    ("image", "latest is another image tomorrow", _image),
    ("exec-form", "a shell as PID 1 swallows SIGTERM", _exec_form),
]
