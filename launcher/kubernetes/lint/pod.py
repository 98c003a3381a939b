"""Rules about what is in a pod, whoever owns it: volumes, resources, rights, process 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..spec import quantity
from .bundle import INSTANCE, Bundle, Manifest, environment, selects

_SHELLS = {"sh", "bash", "dash"}


def _references(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for kind, name in _named(pods.spec):
            if bundle.find(kind, name) is None and not bundle.is_external(kind, name):
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
            elif key == "persistentVolumeClaim":
                yield "PersistentVolumeClaim", value["claimName"]
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
        if not pods.trains:
            continue  # its environment is the launcher's, by mpirun -x
        settings = environment(pods.main)
        cpus = quantity(pods.main.get("resources", {}).get("limits", {}).get("cpu", 1))
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
            count = str(settings.get(name) or 0)
            if not count.isdigit() or not 1 <= int(count) <= max(1, cpus):
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


def _code(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for volume in pods.spec.get("volumes", []):
            source = volume.get("configMap", {})
            found = bundle.find("ConfigMap", source.get("name", ""))
            if found is None:
                continue  # reported by references
            keys = {*found.get("data", {}), *found.get("binaryData", {})}
            for item in source.get("items", []):
                if item["key"] not in keys:
                    yield f"{pods.where}: ConfigMap {source['name']} has no key {item['key']}"
            if not found.get("immutable"):
                yield f"ConfigMap/{source['name']}: must be immutable"


def _spread(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for wish in pods.spec.get("topologySpreadConstraints", []):
            if not selects(wish.get("labelSelector", {}), pods.labels):
                yield f"{pods.where}: topologySpreadConstraints select other pods"
            if wish.get("whenUnsatisfiable") != "ScheduleAnyway":
                yield f"{pods.where}: topologySpreadConstraints must be ScheduleAnyway"


def _tls(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        folder = environment(pods.main).get("DISTFLOW_TLS")
        if folder is None:
            continue
        mounts = {m["mountPath"]: m["name"] for m in pods.main.get("volumeMounts", [])}
        secrets = {v["name"] for v in pods.spec.get("volumes", []) if "secret" in v}
        if mounts.get(folder) not in secrets:
            yield f"{pods.where}: DISTFLOW_TLS {folder} must be where a Secret is mounted"


def _claims(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for volume in pods.spec.get("volumes", []):
            name = volume.get("persistentVolumeClaim", {}).get("claimName", "")
            claim = bundle.find("PersistentVolumeClaim", name)
            modes = ["ReadWriteMany"] if claim is None else claim["spec"].get("accessModes", [])
            if pods.count > 1 and "ReadWriteMany" not in modes:
                yield f"PersistentVolumeClaim/{name}: {pods.count} pods need ReadWriteMany"


def _instance(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        if not pods.labels.get(INSTANCE):
            yield f"{pods.where}: pods need the label {INSTANCE}"


ROWS = [
    ("instance", "by this label a job's pods are told from another's", _instance),
    ("code", "workers that are started again must find the same code", _code),
    ("spread", "a wish, not a condition that keeps a job waiting", _spread),
    ("tls", "a worker without its certificate is refused by the others", _tls),
    ("claims", "a volume of one node keeps the pods of all others waiting", _claims),
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
