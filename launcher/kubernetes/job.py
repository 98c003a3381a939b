"""The Indexed Job, in which a pod's completion index is its rank, alone and inside a JobSet."""

from __future__ import annotations

from typing import Any

from .pods import worker_template
from .spec import Spec

Object = dict[str, Any]

# An error of the user's program, or of its command line: trying again changes nothing.
FATAL_CODES = [1, 2, 64]


def job(spec: Spec) -> Object:
    """Returns the Job of kind job."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": spec.name},
        "spec": {
            "completionMode": "Indexed",
            # In a job of fixed size one lost worker takes the others along (each then exits 75),
            # so there is room for a few rounds.
            "backoffLimit": spec.backoff_limit,
            **job_rules("worker"),
            "ttlSecondsAfterFinished": spec.keep_seconds,
            "completions": spec.workers,
            "parallelism": spec.workers,
            "template": worker_template(
                spec,
                container="worker",
                coordinator=f"{spec.name}-0.{spec.name}:{spec.port}",
                subdomain=spec.name,
            ),
        },
    }


def inner_job(spec: Spec, *, container: str, coordinator: str) -> Object:
    """Returns the spec of a Job that a JobSet makes: the JobSet restarts it as a whole."""
    return {
        "completionMode": "Indexed",
        # The first pod that is lost ends the Job: one lost worker takes the others along.
        "backoffLimit": 0,
        **job_rules(container),
        "completions": spec.workers,
        "parallelism": spec.workers,
        "template": worker_template(
            spec, container=container, coordinator=coordinator, subdomain=None
        ),
    }


def job_rules(container: str) -> Object:
    """Returns what a Job does when a pod fails: evictions are free, the user's errors are final."""
    disruption = [{"type": "DisruptionTarget", "status": "True"}]
    codes = {"containerName": container, "operator": "In", "values": FATAL_CODES}
    return {
        # Never two pods of one index at once: they would both claim its rank.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": disruption},
                {"action": "FailJob", "onExitCodes": codes},
            ]
        },
    }
