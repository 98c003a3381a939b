"""A cluster of one node for the tests here, and what they wait for."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakekube.jobs import API, INDEX, JobController
from tests.fakekube.kubelet import Kubelet
from tests.fakekube.mpijobs import MPIJobController
from tests.fakekube.store import Key, NotFound, Store, key_of

DEADLINE = 100.0
Object = dict[str, Any]


class Cluster:
    """Store, Job controller and kubelet. Nothing of it is left after the `with`."""

    def __init__(self, folder: Path):
        os.chmod(folder, 0o755)
        self.store = Store()
        self.kubelet = Kubelet(self.store, folder)
        self.jobs = JobController(self.store)
        self.operator = MPIJobController(self.store)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.operator.close()
        self.jobs.close()
        self.kubelet.close()
        self.store.close()

    def apply(self, *manifests: Object) -> None:
        """Creates objects."""
        for manifest in manifests:
            self.store.create(manifest)

    def patch(self, job: str, spec: Object) -> None:
        """Changes a Job as `kubectl patch job` does."""
        self.store.patch(self.key(job), {"spec": spec})

    def key(self, job: str) -> Key:
        """Returns the key of a Job."""
        return Key(API, "Job", "default", job)

    def until(self, what: str, holds: Callable[[], Any], deadline: float = DEADLINE) -> Any:
        """Returns what `holds` gives as soon as it is true; an error shows pods and logs."""
        over = time.monotonic() + deadline
        while time.monotonic() < over:
            found = holds()
            if found:
                return found
            time.sleep(0.02)  # a log is a file: there is nothing to wait on
        raise AssertionError(f"never: {what}\n{self.report()}")

    def pods(self, job: str) -> dict[int, Object]:
        """Returns the newest pod of each index, also when it has ended."""
        found = self.store.list("v1", "Pod", labels={"batch.kubernetes.io/job-name": job})
        by_age = sorted(found, key=lambda pod: int(pod["metadata"]["resourceVersion"]))
        by_age.sort(key=lambda pod: pod["status"].get("phase") not in ("Failed", "Succeeded")
                    if "status" in pod else True)  # fmt: skip
        return {int(pod["metadata"]["annotations"][INDEX]): pod for pod in by_age}

    def log(self, pod: Object) -> str:
        """Returns what the pod's first container has printed."""
        return self.kubelet.log(pod)

    def wait_for_line(self, job: str, index: int, pattern: str) -> re.Match[str]:
        """Returns the match of a pattern in the log of the newest pod of an index."""

        def find() -> re.Match[str] | None:
            pod = self.pods(job).get(index)
            return re.search(pattern, self.log(pod), re.MULTILINE) if pod else None

        return self.until(f"{pattern!r} in the log of {job}-{index}", find)

    def condition(self, job: str, *kinds: str) -> str:
        """Returns which of the conditions a Job has, "" if none."""
        conditions = self.store.get(self.key(job)).get("status", {}).get("conditions", [])
        return next((c["type"] for c in conditions if c["type"] in kinds
                     and c["status"] == "True"), "")  # fmt: skip

    def wait_for_end(self, job: str, deadline: float = DEADLINE) -> str:
        """Returns Complete or Failed."""
        return self.until(
            f"the end of {job}", lambda: self.condition(job, "Complete", "Failed"), deadline
        )

    def process_of(self, pod: Object) -> int:
        """Returns the process of the pod's first container as this host numbers it."""
        (process, *_) = self.kubelet.run_of(key_of(pod)).processes.values()
        return process.pid

    def is_gone(self, pod: Object) -> bool:
        """Whether the pod has ended or is deleted."""
        try:
            found = self.store.get(key_of(pod))
        except NotFound:
            return True
        return found.get("status", {}).get("phase") in ("Failed", "Succeeded")

    def report(self) -> str:
        """Returns jobs, pods and their logs, for the message of a failed test."""
        parts = [f"{o['metadata']['name']}: {o.get('status')}" for o in self.store.list(API, "Job")]
        for pod in self.store.list("v1", "Pod"):
            text = self.log(pod)[-3000:]
            parts.append(f"--- {pod['metadata']['name']}: {pod.get('status')}\n{text}")
        return "\n".join(parts)
