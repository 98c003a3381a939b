"""The JobSet (jobset.x-k8s.io/v1alpha2), and the TrainJob (trainer.kubeflow.org/v1alpha1) on it.

A JobSet restarts all its pods when one is lost, which is what a job of fixed size needs; its
controller makes the headless Service. A TrainJob is a JobSet whose template, the TrainingRuntime,
is an object of its own.
"""

from __future__ import annotations

from typing import Any

from .job import inner_job
from .pods import labels
from .spec import Spec

Object = dict[str, Any]

_ROLE = "worker"
# The names that the trainer's controller looks for.
_NODE = "node"
_STEP = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}


def jobset(spec: Spec) -> Object:
    """Returns the JobSet of kind jobset."""
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": spec.name},
        "spec": {"ttlSecondsAfterFinished": spec.keep_seconds, **_set_of(spec, _ROLE, {})},
    }


def training_runtime(spec: Spec) -> Object:
    """Returns the TrainingRuntime of kind trainjob: what its JobSet is made of."""
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {"name": spec.name},
        "spec": {
            "mlPolicy": {"numNodes": spec.workers},
            "template": {
                "metadata": {"labels": labels(spec)},
                "spec": _set_of(spec, _NODE, _STEP),
            },
        },
    }


def train_job(spec: Spec) -> Object:
    """Returns the TrainJob that starts its TrainingRuntime."""
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": spec.name},
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "TrainingRuntime",
                "name": spec.name,
            },
            "trainer": {"numNodes": spec.workers},
        },
    }


def failure_policy(spec: Spec) -> Object:
    """Returns when a JobSet starts all its pods again, and when it does not."""
    final = {
        "name": "user-error",
        "action": "FailJobSet",
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    return {"maxRestarts": spec.backoff_limit, "rules": [final]}


def _set_of(spec: Spec, role: str, job_labels: dict[str, str]) -> Object:
    """Returns the spec of a JobSet of one Job, whose pods are <name>-<role>-0-<index>.<name>."""
    coordinator = f"{spec.name}-{role}-0-0.{spec.name}:{spec.port}"
    return {
        "network": {
            "enableDNSHostnames": True,
            "subdomain": spec.name,
            "publishNotReadyAddresses": True,
        },
        "failurePolicy": failure_policy(spec),
        "replicatedJobs": [
            {
                "name": role,
                "replicas": 1,
                "template": {
                    **({"metadata": {"labels": job_labels}} if job_labels else {}),
                    "spec": inner_job(spec, container=role, coordinator=coordinator),
                },
            }
        ],
    }
