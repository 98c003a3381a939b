"""The mpi-operator of the tests' cluster: what it makes of an MPIJob, kubeflow.org/v2beta1.

Workers with their names, one ssh key for the job, the hostfile, the program that prints the hosts
of now, the launcher's Job once workers are ready. Source: pkg/controller/mpi_job_controller.go of
kubeflow/mpi-operator, v0.6.
"""

from __future__ import annotations

import contextlib
import copy
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from tests.fakekube.names import is_ready
from tests.fakekube.store import AlreadyExists, Conflict, Key, NotFound, Store, key_of, now

API = "kubeflow.org/v2beta1"
JOB_LABEL = "training.kubeflow.org/job-name"
ROLE_LABEL = "training.kubeflow.org/job-role"
INDEX_LABEL = "training.kubeflow.org/replica-index"
OPEN_MPI = {
    "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
    "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile",
    "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
}
Object = dict[str, Any]


class MPIJobController:
    """Makes and ends what MPIJobs need, from a thread until `close`."""

    def __init__(self, store: Store):
        self.store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; what it has made stays."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen = 0
        while not self._stop.is_set():
            for event in self.store.watch(since=seen, timeout_seconds=0.1):
                seen = event.version
                break
            for job in self.store.list(API, "MPIJob"):
                with contextlib.suppress(Conflict, NotFound):
                    self.sync(job)

    def sync(self, job: Object) -> None:
        """Does what is to be done for one MPIJob now."""
        status = copy.deepcopy(job.get("status", {}))
        if _has(status, "Succeeded") or _has(status, "Failed"):
            self._clean(job)
            return
        _condition(status, "Created")
        for made in (self._service(job), self._config(job)):
            self._create_or_update(made)
        self.make_secret(job)
        is_suspended = job["spec"].get("runPolicy", {}).get("suspend", False)
        count = 0 if is_suspended else job["spec"]["mpiReplicaSpecs"]["Worker"]["replicas"]
        workers = [self._worker(job, index) for index in range(count)]
        for extra in self._workers(job):
            if int(extra["metadata"]["labels"][INDEX_LABEL]) >= count:
                self._delete(extra)
        launcher = self._launcher(job, workers)
        if launcher is not None and launcher["spec"].get("suspend", False) != is_suspended:
            self.store.patch(key_of(launcher), {"spec": {"suspend": is_suspended}})
        if launcher is not None:
            _condition(status, "Running")
            for condition in launcher.get("status", {}).get("conditions", []):
                if condition["status"] == "True" and condition["type"] in ("Complete", "Failed"):
                    _condition(status, "Succeeded" if condition["type"] == "Complete" else "Failed")
        self._write(job, status)

    # What the operator makes ----------------------------------------------------------------

    def _service(self, job: Object) -> Object:
        return _owned(job, "v1", "Service", job["metadata"]["name"]) | {
            "spec": {
                "clusterIP": "None",
                "selector": {JOB_LABEL: job["metadata"]["name"]},
                "publishNotReadyAddresses": True,
            }
        }

    def _config(self, job: Object) -> Object:
        metadata, spec = job["metadata"], job["spec"]
        name, space = metadata["name"], metadata["namespace"]
        hosts = "".join(
            f"{name}-worker-{i}.{name}.{space}.svc slots={spec.get('slotsPerWorker', 1)}\n"
            for i in range(spec["mpiReplicaSpecs"]["Worker"]["replicas"])
        )
        running = sorted(
            pod["metadata"]["name"]
            for pod in self._workers(job)
            if pod.get("status", {}).get("phase") == "Running"
        )
        script = "#!/bin/sh\n" + "".join(f"echo {pod}.{name}.{space}.svc\n" for pod in running)
        data = {"hostfile": hosts, "discover_hosts.sh": script}
        return _owned(job, "v1", "ConfigMap", f"{name}-config") | {"data": data}

    def make_secret(self, job: Object) -> None:
        """Makes a job's ssh key where it has none."""
        secret = _owned(job, "v1", "Secret", f"{job['metadata']['name']}-ssh")
        with contextlib.suppress(NotFound):
            self.store.get(key_of(secret))
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "key")
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "521", "-N", "", "-f", str(file)],
                check=True, timeout=30,
            )  # fmt: skip
            keys = {
                "ssh-privatekey": file.read_text(),
                "ssh-publickey": file.with_suffix(".pub").read_text(),
            }
        self._create(secret | {"type": "kubernetes.io/ssh-auth", "stringData": keys})

    def _worker(self, job: Object, index: int) -> Object:
        name = f"{job['metadata']['name']}-worker-{index}"
        pod = _owned(job, "v1", "Pod", name)
        with contextlib.suppress(NotFound):
            return self.store.get(key_of(pod))
        template = copy.deepcopy(job["spec"]["mpiReplicaSpecs"]["Worker"]["template"])
        _label(pod, template, job, "worker")
        pod["metadata"]["labels"][INDEX_LABEL] = str(index)
        pod["spec"] = with_keys(job, template["spec"])
        pod["spec"].update(hostname=name, subdomain=job["metadata"]["name"])
        pod["spec"]["restartPolicy"] = job["spec"]["mpiReplicaSpecs"]["Worker"]["restartPolicy"]
        box = pod["spec"]["containers"][0]
        box.setdefault("env", []).append({"name": "K_MPI_JOB_ROLE", "value": "worker"})
        self._create(pod)
        return self.store.get(key_of(pod))

    def _launcher(self, job: Object, workers: list[Object]) -> Object | None:
        name = f"{job['metadata']['name']}-launcher"
        made = _owned(job, "batch/v1", "Job", name)
        with contextlib.suppress(NotFound):
            return self.store.get(key_of(made))
        waits = job["spec"].get("launcherCreationPolicy") == "WaitForWorkersReady"
        if waits and not all(is_ready(pod) for pod in workers):
            return None
        role = job["spec"]["mpiReplicaSpecs"]["Launcher"]
        template = copy.deepcopy(role["template"])
        pod: Object = {"metadata": {}}
        _label(pod, template, job, "launcher")
        spec = with_keys(job, template["spec"])
        spec.update(hostname=name, subdomain=job["metadata"]["name"])
        spec["restartPolicy"] = role["restartPolicy"]
        modes = {"hostfile": 0o444, "discover_hosts.sh": 0o555}
        items = [{"key": key, "path": key, "mode": mode} for key, mode in modes.items()]
        source = {"name": f"{job['metadata']['name']}-config", "items": items}
        spec["volumes"].append({"name": "mpi-job-config", "configMap": source})
        box = spec["containers"][0]
        box["volumeMounts"].append({"name": "mpi-job-config", "mountPath": "/etc/mpi"})
        variables = {**OPEN_MPI, "K_MPI_JOB_ROLE": "launcher"}
        slots = str(job["spec"].get("slotsPerWorker", 1))
        variables["OMPI_MCA_orte_set_default_slots"] = slots
        box.setdefault("env", []).extend({"name": k, "value": v} for k, v in variables.items())
        policy = job["spec"].get("runPolicy", {})
        made["spec"] = {
            "backoffLimit": policy.get("backoffLimit", 6),
            "completions": 1,
            "parallelism": 1,
            "suspend": policy.get("suspend", False),
            "podReplacementPolicy": "Failed",
            "template": {**pod, "spec": spec},
        }
        self._create(made)
        return self.store.get(key_of(made))

    # The store ------------------------------------------------------------------------------

    def _workers(self, job: Object) -> list[Object]:
        labels = {JOB_LABEL: job["metadata"]["name"], ROLE_LABEL: "worker"}
        return self.store.list("v1", "Pod", job["metadata"]["namespace"], labels=labels)

    def _clean(self, job: Object) -> None:
        policy = job["spec"].get("runPolicy", {}).get("cleanPodPolicy", "None")
        for pod in self._workers(job):
            running = pod.get("status", {}).get("phase") in ("Running", "Pending", None)
            if policy == "All" or (policy == "Running" and running):
                self._delete(pod)

    def _delete(self, pod: Object) -> None:
        if "deletionTimestamp" not in pod["metadata"]:
            with contextlib.suppress(NotFound):
                self.store.delete(key_of(pod))

    def _create(self, obj: Object) -> None:
        with contextlib.suppress(AlreadyExists):
            self.store.create(obj)

    def _create_or_update(self, obj: Object) -> None:
        self._create(obj)
        content = {k: v for k, v in obj.items() if k not in ("metadata", "kind", "apiVersion")}
        self.store.patch(key_of(obj), content)

    def _write(self, job: Object, status: Object) -> None:
        def change(found: Object) -> Object:
            return {**found, "status": status}

        self.store.modify(key_of(job), change, subresource="status")


def _owned(job: Object, version: str, kind: str, name: str) -> Object:
    """An object without content that goes when the MPIJob goes."""
    metadata = job["metadata"]
    owner = {"apiVersion": API, "kind": "MPIJob", "name": metadata["name"],
             "uid": metadata["uid"], "controller": True}  # fmt: skip
    key = Key(version, kind, metadata["namespace"], name)
    labels = {JOB_LABEL: metadata["name"]}
    return {
        "apiVersion": key.api_version,
        "kind": key.kind,
        "metadata": {"name": name, "namespace": key.namespace, "labels": labels,
                     "ownerReferences": [owner]},
    }  # fmt: skip


def _label(pod: Object, template: Object, job: Object, role: str) -> None:
    labels = pod["metadata"].setdefault("labels", {})
    labels.update(template.get("metadata", {}).get("labels", {}))
    labels.update({JOB_LABEL: job["metadata"]["name"], ROLE_LABEL: role})
    annotations = template.get("metadata", {}).get("annotations")
    if annotations:
        pod["metadata"]["annotations"] = annotations


def with_keys(job: Object, spec: Object) -> Object:
    """The pod's spec with the job's ssh key where the user's ssh looks for it."""
    keys = (("ssh-privatekey", "id_rsa"), ("ssh-publickey", "id_rsa.pub"),
            ("ssh-publickey", "authorized_keys"))  # fmt: skip
    items = [{"key": key, "path": path} for key, path in keys]
    place = job["spec"].get("sshAuthMountPath", "/root/.ssh")
    secret: Object = {"secretName": f"{job['metadata']['name']}-ssh", "items": items}
    if place == "/root/.ssh":
        secret["defaultMode"] = 0o600
    spec.setdefault("volumes", []).append({"name": "ssh-auth", "secret": secret})
    mounts = spec["containers"][0].setdefault("volumeMounts", [])
    mounts.append({"name": "ssh-auth", "mountPath": place})
    return spec


def _has(status: Object, kind: str) -> bool:
    return any(c["type"] == kind for c in status.get("conditions", []))


def _condition(status: Object, kind: str) -> None:
    if not _has(status, kind):
        entry = {"type": kind, "status": "True", "reason": f"MPIJob{kind}", "message": "",
                 "lastTransitionTime": now()}  # fmt: skip
        status.setdefault("conditions", []).append(entry)
