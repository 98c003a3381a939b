"""What a job may have besides: TLS, a queue of Kueue's, Volcano, metrics, a volume to keep.

Each is one function that changes the rendered objects, and one Kustomize component in
deploy/k8s/components that does the same to the overlays; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .pods import INSTANCE, NAME
from .spec import Spec

Object = dict[str, Any]

TLS_FOLDER = "/etc/distflow/tls"
CLAIM_FOLDER = "/checkpoints"
# The namespace whose Prometheus may read the metrics: what its Helm chart suggests.
MONITORING = {"kubernetes.io/metadata.name": "monitoring"}
_VOLCANO = "scheduling.volcano.sh"


def apply(spec: Spec, objects: list[Object]) -> list[Object]:
    """Returns the objects with what the spec asks for besides."""
    if spec.tls_secret is not None:
        _add_tls(spec.tls_secret, objects)
    if spec.queue is not None:
        _add_queue(spec.queue, objects)
    if spec.volcano_queue is not None:
        _add_volcano(spec, spec.volcano_queue, objects)
    if spec.metrics_port is not None:
        objects = [*objects, _add_metrics(spec, spec.metrics_port, objects)]
    if spec.claim is not None:
        objects = [*objects, *_add_claim(spec, spec.claim, objects)]
    return objects


def templates(manifest: Object) -> Iterator[Object]:
    """Yields the pod templates in a Job, JobSet, TrainingRuntime or MPIJob."""
    if manifest["kind"] == "MPIJob":
        for role in manifest["spec"]["mpiReplicaSpecs"].values():
            yield role["template"]
    else:
        for job in jobs(manifest):
            yield job["spec"]["template"]


def jobs(manifest: Object) -> Iterator[Object]:
    """Yields what is a Job, or the template of one, in a Job, JobSet or TrainingRuntime."""
    if manifest["kind"] == "Job":
        yield manifest
    elif manifest["kind"] in ("JobSet", "TrainingRuntime"):
        spec = manifest["spec"]
        owner = spec if manifest["kind"] == "JobSet" else spec["template"]["spec"]
        for replicated in owner["replicatedJobs"]:
            yield replicated["template"]


def _all_templates(objects: list[Object]) -> Iterator[Object]:
    for manifest in objects:
        yield from templates(manifest)


def _add_tls(secret: str, objects: list[Object]) -> None:
    for template in _all_templates(objects):
        main = template["spec"]["containers"][0]
        main["env"].append({"name": "DISTFLOW_TLS", "value": TLS_FOLDER})
        main["volumeMounts"].append({"name": "tls", "mountPath": TLS_FOLDER, "readOnly": True})
        # 0440: the files belong to root and to the pod's fsGroup.
        volume = {"secretName": secret, "defaultMode": 0o440}
        template["spec"]["volumes"].append({"name": "tls", "secret": volume})


def _add_queue(queue: str, objects: list[Object]) -> None:
    """Kueue takes the suspension away when the queue has room for the whole job."""
    for manifest in objects:
        if manifest["kind"] in ("Job", "JobSet", "MPIJob", "TrainJob"):
            labels = manifest["metadata"].setdefault("labels", {})
            labels["kueue.x-k8s.io/queue-name"] = queue
            spec = manifest["spec"]
            (spec["runPolicy"] if manifest["kind"] == "MPIJob" else spec)["suspend"] = True


def _add_volcano(spec: Spec, queue: str, objects: list[Object]) -> None:
    """Lets Volcano start all pods or none: it makes their PodGroup of what stands here."""
    least = spec.elastic[0] if spec.elastic else spec.workers
    for manifest in objects:
        kind, body = manifest["kind"], manifest["spec"] if "spec" in manifest else {}
        if kind == "MPIJob":
            # The operator, started with --gang-scheduling=volcano, makes the PodGroup.
            policy = {"minAvailable": spec.workers + 1, "queue": queue}
            body["runPolicy"]["schedulingPolicy"] = policy
        elif kind == "TrainingRuntime":
            body["podGroupPolicy"] = {"volcano": {}}
            annotations = body["template"]["metadata"].setdefault("annotations", {})
            annotations[f"{_VOLCANO}/queue-name"] = queue
        for job in jobs(manifest) if kind in ("Job", "JobSet") else ():
            metadata = job.setdefault("metadata", {})
            metadata["annotations"] = {f"{_VOLCANO}/group-min-member": str(least)}
            template = job["spec"]["template"]
            template["metadata"]["annotations"] = {f"{_VOLCANO}/queue-name": queue}
            template["spec"]["schedulerName"] = "volcano"


def _add_metrics(spec: Spec, port: int, objects: list[Object]) -> Object:
    for template in _all_templates(objects):
        main = template["spec"]["containers"][0]
        main["env"].append({"name": "DISTFLOW_METRICS_PORT", "value": str(port)})
        # Read from another pod; the NetworkPolicy says from which.
        main["env"].append({"name": "DISTFLOW_METRICS_HOST", "value": "0.0.0.0"})
        main["ports"].append({"name": "metrics", "containerPort": port})
        # Ready: it has met the others and answers. Not for liveness: a long step, or a compiler
        # that holds Python's lock, is no reason to kill a worker.
        main["readinessProbe"] = {
            "httpGet": {"path": "/metrics", "port": "metrics"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
        }
    for manifest in objects:
        if manifest["kind"] == "NetworkPolicy":
            scraper = {"namespaceSelector": {"matchLabels": dict(MONITORING)}}
            opened = [{"protocol": "TCP", "port": "metrics"}]
            manifest["spec"]["ingress"].append({"from": [scraper], "ports": opened})
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": spec.name},
        "spec": {
            "selector": {"matchLabels": {NAME: "distflow", INSTANCE: spec.name}},
            "podMetricsEndpoints": [{"port": "metrics", "interval": "15s"}],
        },
    }


def _add_claim(spec: Spec, claim: str, objects: list[Object]) -> list[Object]:
    for template in _all_templates(objects):
        main = template["spec"]["containers"][0]
        if spec.kind != "mpijob" and "env" in main:
            # Where an elastic job that must end is kept; others do not look at it.
            main["env"].append({"name": "DISTFLOW_ELASTIC_DIR", "value": CLAIM_FOLDER})
        main["volumeMounts"].append({"name": "checkpoints", "mountPath": CLAIM_FOLDER})
        volume = {"name": "checkpoints", "persistentVolumeClaim": {"claimName": claim}}
        template["spec"]["volumes"].append(volume)
    if spec.claim_size is None:
        return []
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": claim},
            "spec": {
                # Workers on several nodes write there.
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": spec.claim_size}},
            },
        }
    ]
