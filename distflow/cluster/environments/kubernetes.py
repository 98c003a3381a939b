"""An Indexed Job of Kubernetes: the rank is the pod's completion index, no API call is made."""

from __future__ import annotations

import dataclasses
import os

from distflow.base import errors, flags
from distflow.cluster.environments import launcher
from distflow.cluster.worker import WorkerEnvironment

HINT = """Add to the container of the Job's pod template:
        env:
        - name: DISTFLOW_WORLD_SIZE
          value: "4"                          # = spec.completions = spec.parallelism
        - name: DISTFLOW_COORDINATOR
          value: "<job>-0.<service>:7117"     # pod 0 behind a headless Service
        - name: DISTFLOW_TOKEN
          valueFrom: {secretKeyRef: {name: distflow-token, key: token}}
and to the pod's spec `subdomain: <service>`, to the Job's `completionMode: Indexed`
(deploy/k8s/overlays/job-grpc has all of it)."""


def is_present() -> bool:
    """Whether this process runs in a pod of an Indexed Job."""
    return bool(os.environ.get("JOB_COMPLETION_INDEX"))


def read() -> WorkerEnvironment:
    """Returns this pod's place in its Indexed Job."""
    text = os.environ["JOB_COMPLETION_INDEX"]
    try:
        rank = int(text)
    except ValueError as error:
        raise errors.invalid(
            "Kubernetes", "JOB_COMPLETION_INDEX must be an integer", repr(text)
        ) from error
    size = flags.get("DISTFLOW_WORLD_SIZE")
    if size is None:
        raise errors.invalid("Kubernetes", "an Indexed Job needs DISTFLOW_WORLD_SIZE", "none", HINT)
    found = launcher.environment(rank, size, "the Indexed Job's environment", HINT)
    return dataclasses.replace(found, has_successor=True)
