"""Runs the pods of a store as local processes: scheduler, kubelet and DNS of a one-node cluster."""

from __future__ import annotations

import contextlib
import queue
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from tests.fakekube import cgroup, image, names, probes, volumes
from tests.fakekube.network import Network
from tests.fakekube.process import Process
from tests.fakekube.store import Key, NotFound, Store, key_of, now

NODE = "node-0"
RETRY_SECONDS = 0.2
Pod = dict[str, Any]


class Kubelet:
    """The node. Use as a context manager: nothing of it is left afterwards.

    Args:
      store: where pods come from and their status goes.
      folder: for volumes, logs and roots; claims are folders below `folder/claims`.
    """

    def __init__(self, store: Store, folder: Path):
        self.store, self.folder = store, folder
        self.claims = folder / "claims"
        cgroup.remove_left_behind()
        self.image = image.build(folder / "image")
        self.network = Network()
        self._runs: dict[str, PodRun] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self) -> Kubelet:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run_of(self, key: Key) -> PodRun:
        """Returns the pod's run, for its processes; NotFound if it does not run."""
        uid = self.store.get(key)["metadata"]["uid"]
        with self._lock:
            if uid not in self._runs:
                raise NotFound(f"pods {key.name!r} is not on this node")
            return self._runs[uid]

    def log(self, pod: Pod, container: str | None = None) -> str:
        """Returns what a pod's container has printed, also after its end."""
        name = container or pod["spec"]["containers"][0]["name"]
        file = self.log_file(pod, name)
        return file.read_text(errors="replace") if file.exists() else ""

    def log_file(self, pod: Pod, container: str) -> Path:
        """Returns the file that a container's output goes to."""
        return self.folder / "pods" / pod["metadata"]["uid"] / f"{container}.log"

    def close(self) -> None:
        """Kills every pod and takes the network down."""
        self._closing.set()
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.tell("close")
        for run in runs:
            run.join()
        self._watcher.join()
        self.network.close()

    def _watch(self) -> None:
        seen = self.store.version
        for pod in self.store.list("v1", "Pod"):
            self._consider(pod)
        while not self._closing.is_set():
            for event in self.store.watch("v1", since=seen, timeout_seconds=0.2):
                seen = event.version
                if event.object["kind"] == "ConfigMap":
                    self._refresh(event.object["metadata"]["namespace"])
                if event.object["kind"] not in ("Pod", "Service"):
                    continue
                self.publish_names(event.object["metadata"]["namespace"])
                if event.object["kind"] == "Pod" and event.type != "DELETED":
                    self._consider(event.object)
                if self._closing.is_set():
                    return

    def _consider(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return
        with self._lock:
            if uid not in self._runs and "deletionTimestamp" not in pod["metadata"]:
                self._runs[uid] = PodRun(self, pod)
            run = self._runs.get(uid)
        if run is not None and "deletionTimestamp" in pod["metadata"]:
            run.tell("delete")

    def _refresh(self, namespace: str) -> None:
        """Has every pod see ConfigMaps as they are now."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            if run.key.namespace == namespace:
                run.refresh_volumes()

    def publish_names(self, namespace: str) -> None:
        """Writes every pod's /etc/hosts anew."""
        text = names.hosts(self.store, namespace)
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            if run.key.namespace == namespace:
                run.write_hosts(text)


class PodRun:
    """One pod on the node: a thread that starts its containers, hears of events, ends them."""

    def __init__(self, kubelet: Kubelet, pod: Pod):
        self.kubelet, self.pod, self.key = kubelet, pod, key_of(pod)
        self.processes: dict[str, Process] = {}
        self._events: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self._ready: dict[str, bool] = {}
        self._restarts: dict[str, int] = {}
        self._stops: dict[str, threading.Event] = {}
        self._folder = kubelet.folder / "pods" / pod["metadata"]["uid"]
        self._folder.mkdir(parents=True)
        self._hosts = self._folder / "hosts"
        self._hosts.touch()
        self._sandbox: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def tell(self, *event: Any) -> None:
        """Lets the pod's thread know of something."""
        self._events.put(event)

    def join(self) -> None:
        """Waits until the pod has ended."""
        self._thread.join()

    def refresh_volumes(self) -> None:
        """Writes ConfigMaps that have changed to the pod's volumes."""
        with contextlib.suppress(FileNotFoundError):  # it is just ending
            volumes.refresh(self.kubelet.store, self.pod, self._folder / "volumes")

    def write_hosts(self, text: str) -> None:
        """Replaces the pod's /etc/hosts, in place because it is mounted."""
        if self._sandbox is None:
            return
        spec, ip = self.pod["spec"], self._sandbox.ip
        own = [spec.get("hostname", self.key.name)]
        if "subdomain" in spec:
            own.insert(0, f"{own[0]}.{spec['subdomain']}.{self.key.namespace}.svc.cluster.local")
        whole = f"{text}{ip} {' '.join(own)}\n"
        with self._hosts.open("r+") as file:
            file.write(whole)
            file.truncate()

    # The pod's thread ---------------------------------------------------------------------

    def _run(self) -> None:
        store = self.kubelet.store
        with contextlib.suppress(NotFound):
            store.patch(self.key, {"spec": {"nodeName": NODE}})
        self._sandbox = self.kubelet.network.add()
        try:
            is_deleted = self._live()
        except ValueError as error:
            is_deleted = False
            self._report("Failed", {"reason": "CreateContainerConfigError", "message": str(error)})
        finally:
            self._sandbox.close()
            for name in ("volumes", "roots"):
                shutil.rmtree(self._folder / name, ignore_errors=True)
        if is_deleted:
            with contextlib.suppress(NotFound):
                store.delete(self.key, grace_seconds=0)

    def _live(self) -> bool:
        """The pod's life; returns whether it was deleted."""
        folders = self._wait_for_volumes()
        if folders is None:
            self._report("Failed", {})
            return True
        for container in self.pod["spec"].get("initContainers", []):
            self._start(container, folders)
            if self._wait_for_end([container["name"]], may_restart=False):
                return self._finish(is_deleted=True)
            if self.processes[container["name"]].code != 0:
                return self._finish()
        containers = self.pod["spec"]["containers"]
        for container in containers:
            self._ready[container["name"]] = False
            self._start(container, folders)
        self._report("Running", {"startTime": now()})
        for container in containers:
            self._probe(container)
        is_deleted = self._wait_for_end([c["name"] for c in containers], folders=folders)
        return self._finish(is_deleted=is_deleted)

    def _wait_for_volumes(self) -> dict[str, Path] | None:
        self._report("Pending", {})
        while True:
            try:
                folders = volumes.make(
                    self.kubelet.store, self.pod, self._folder / "volumes", self.kubelet.claims
                )
                for container in self.pod["spec"]["containers"]:
                    volumes.environment(self.kubelet.store, self.pod, container)
            except volumes.NotReady as error:
                self._report("Pending", {"message": str(error)})
            else:
                return folders
            with contextlib.suppress(queue.Empty):
                if self._events.get(timeout=RETRY_SECONDS)[0] in ("delete", "close"):
                    return None

    def _start(self, container: dict[str, Any], folders: dict[str, Path]) -> None:
        name = container["name"]
        mounts = [(str(self._hosts), "/etc/hosts", False)]
        for mount in container.get("volumeMounts", []):
            source = folders[mount["name"]] / mount.get("subPath", "")
            mounts.append((str(source), mount["mountPath"], not mount.get("readOnly", False)))
        self.kubelet.publish_names(self.key.namespace)
        folder = self._folder / "roots" / f"{name}-{self._restarts.get(name, 0)}"
        folder.mkdir(parents=True)
        self.processes[name] = Process(
            self.pod, container, image=self.kubelet.image,
            variables=volumes.environment(self.kubelet.store, self.pod, container),
            mounts=mounts, sandbox=self._sandbox, folder=folder,
            log=self.kubelet.log_file(self.pod, name), ended=lambda: self.tell("ended", name),
        )  # fmt: skip

    def _probe(self, container: dict[str, Any]) -> None:
        name = container["name"]
        self._stops[name] = threading.Event()
        probes.watch(
            container, self.kubelet.network.router, self._sandbox.ip,
            lambda command, seconds: self.processes[name].execute(command, seconds),
            self._stops[name],
            lambda kind, result: self.tell("probe", name, kind, result),
        )  # fmt: skip

    def _wait_for_end(
        self, wanted: list[str], *, may_restart: bool = True,
        folders: dict[str, Path] | None = None,
    ) -> bool:  # fmt: skip
        """Returns when the containers have ended: True if somebody deleted the pod."""
        is_deleted = False
        kill_at: float | None = None
        while any(self.processes[name].code is None for name in wanted):
            left = None if kill_at is None else max(0.0, kill_at - time.monotonic())
            try:
                event = self._events.get(timeout=left)
            except queue.Empty:
                event, kill_at = ("kill",), None
            if event[0] == "close":
                is_deleted = True
            if event[0] in ("close", "kill"):
                for process in self.processes.values():
                    process.kill()
            elif event[0] == "delete" and not is_deleted:
                is_deleted = True
                kill_at = time.monotonic() + self._grace()
                threading.Thread(target=self._terminate, daemon=True).start()
            elif event[0] == "delete":
                kill_at = min(kill_at or time.monotonic(), time.monotonic() + self._grace())
            elif event[0] == "probe":
                self._heard(*event[1:])
            elif event[0] == "ended" and may_restart and not is_deleted and folders is not None:
                self._restart(event[1], folders)
        for stop in self._stops.values():
            stop.set()
        return is_deleted

    def _terminate(self) -> None:
        """Runs what is to be done before the end, then asks the containers to end."""
        for container in self.pod["spec"]["containers"]:
            process = self.processes.get(container["name"])
            hook = container.get("lifecycle", {}).get("preStop", {}).get("exec")
            if process is None or process.code is not None:
                continue
            if hook is not None and self._grace() > 0:
                process.execute(hook["command"])
            process.terminate()

    def _grace(self) -> float:
        with contextlib.suppress(NotFound):
            metadata = self.kubelet.store.get(self.key)["metadata"]
            return metadata.get("deletionGracePeriodSeconds") or 0
        return 0

    def _heard(self, name: str, kind: str, result: bool) -> None:
        if kind == "readinessProbe":
            self._ready[name] = result
            self._report("Running", {})
        elif not result:
            # A container that does not start or live is ended, as if the pod were deleted.
            process = self.processes[name]
            process.terminate()
            timer = threading.Timer(
                self.pod["spec"].get("terminationGracePeriodSeconds", 30), process.kill
            )
            timer.daemon = True
            timer.start()

    def _restart(self, name: str, folders: dict[str, Path]) -> None:
        policy = self.pod["spec"].get("restartPolicy", "Always")
        code = self.processes[name].code
        if policy == "Never" or (policy == "OnFailure" and code == 0):
            return
        self._stops[name].set()
        self._restarts[name] = self._restarts.get(name, 0) + 1
        self._ready[name] = False
        (container,) = [c for c in self.pod["spec"]["containers"] if c["name"] == name]
        self._start(container, folders)
        self._report("Running", {})
        self._probe(container)

    def _finish(self, *, is_deleted: bool = False) -> bool:
        codes = [process.code for process in self.processes.values()]
        self._ready = dict.fromkeys(self._ready, False)
        self._report("Failed" if any(codes) else "Succeeded", {})
        return is_deleted

    def _report(self, phase: str, more: dict[str, Any]) -> None:
        ready = bool(self._ready) and all(self._ready.values())
        status = {
            "phase": phase,
            "podIP": self._sandbox.ip,
            "hostIP": self.kubelet.network.router.ip,
            "containerStatuses": [self._container_status(c) for c in self.processes.values()],
            **more,
        }

        def change(pod: Pod) -> Pod:
            kept = [
                c
                for c in pod.get("status", {}).get("conditions", [])
                if c["type"] not in ("Ready", "PodScheduled")
            ]
            conditions = [
                *kept,
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": str(ready)},
            ]
            pod["status"] = {**pod.get("status", {}), **status, "conditions": conditions}
            return pod

        with contextlib.suppress(NotFound):
            self.kubelet.store.modify(self.key, change, subresource="status")

    def _container_status(self, process: Process) -> dict[str, Any]:
        name, code = process.name, process.code
        state: dict[str, Any] = {"running": {}}
        if code is not None:
            reason = "OOMKilled" if process.was_out_of_memory else "Error" if code else "Completed"
            state = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now()}}
        return {
            "name": name,
            "ready": self._ready.get(name, False),
            "restartCount": self._restarts.get(name, 0),
            "state": state,
        }
