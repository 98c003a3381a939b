"""Rules about Jobs and the numbers in them, also where a JobSet or a TrainJob makes the Job."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ... import light
from ..spec import LABEL_CHARACTERS
from .bundle import Bundle, Manifest, environment, selects


def _job_specs(bundle: Bundle) -> Iterator[tuple[str, Manifest]]:
    return ((pods.where, pods.job) for pods in bundle.pods() if pods.job is not None)


def _names(bundle: Bundle) -> Iterator[str]:
    for manifest in bundle.manifests:
        name = manifest["metadata"]["name"]
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
            yield f"{manifest['kind']}/{name}: must be lower-case letters, digits and -"


def _twice(bundle: Bundle) -> Iterator[str]:
    seen = set()
    for manifest in bundle.manifests:
        metadata = manifest["metadata"]
        key = (manifest["kind"], metadata.get("namespace"), metadata["name"])
        if key in seen:
            yield f"{manifest['kind']}/{metadata['name']}: must stand here once"
        seen.add(key)


def _hostnames(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        alone = pods.kind == "MPIJob" and pods.role == "Launcher"
        most = pods.elastic[1] if pods.elastic else pods.count
        hostname = pods.hostname if alone else f"{pods.hostname}-{most - 1}"
        if len(hostname) > LABEL_CHARACTERS:
            yield f"{pods.where}: hostname {hostname} has {len(hostname)} characters"


def _indexed(bundle: Bundle) -> Iterator[str]:
    for where, spec in _job_specs(bundle):
        if spec.get("completionMode") != "Indexed":
            yield f"{where}: completionMode must be Indexed"
        if not spec.get("completions") == spec.get("parallelism") is not None:
            yield f"{where}: completions {spec.get('completions')} must equal parallelism"


def _restart_policy(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        allowed = ["Never", "OnFailure"] if pods.kind == "MPIJob" else ["Never"]
        if pods.restart_policy not in allowed:
            yield f"{pods.where}: restartPolicy {pods.restart_policy} must be one of {allowed}"
        if pods.kind == "MPIJob" and "restartPolicy" in pods.spec:
            yield f"{pods.where}: restartPolicy belongs to the replica, not the template"


def _failure_policy(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        if pods.job is None:
            continue
        policy = pods.job.get("podFailurePolicy", {}).get("rules", [])
        first = policy[0] if policy else {}
        conditions = [c["type"] for c in first.get("onPodConditions", [])]
        if first.get("action") != "Ignore" or "DisruptionTarget" not in conditions:
            yield f"{pods.where}: the first rule must ignore DisruptionTarget"
        names = [container["name"] for container in pods.containers]
        fails = [r["onExitCodes"] for r in policy if r.get("action") == "FailJob"]
        # An sshd's end is never the program's.
        if pods.trains and not any(f["operator"] == "In" and 1 in f["values"] for f in fails):
            yield f"{pods.where}: exit code 1 (the program's own error) must fail the Job"
        for codes in fails:
            if codes.get("containerName") not in names:
                yield f"{pods.where}: no container {codes.get('containerName')}"
            if codes["operator"] == "In" and {75, 143} & set(codes["values"]):
                yield f"{pods.where}: exit codes 75 and 143 mean try again, not FailJob"


def _pod_replacement(bundle: Bundle) -> Iterator[str]:
    for where, spec in _job_specs(bundle):
        if spec.get("podReplacementPolicy") != "Failed":
            yield f"{where}: podReplacementPolicy must be Failed"


def _backoff(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods("Job"):
        spec = pods.owner["spec"]
        if "backoffLimitPerIndex" in spec:
            if spec["backoffLimitPerIndex"] < 1:
                yield f"{pods.where}: backoffLimitPerIndex leaves no restart"
        elif spec.get("backoffLimit", 6) < max(1, pods.count - 1):
            yield f"{pods.where}: backoffLimit is below one round of restarts"


def _world_size(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        if pods.job is not None and not pods.is_mpi:
            size = environment(pods.main).get("DISTFLOW_WORLD_SIZE")
            most = pods.elastic[1] if pods.elastic else pods.count
            if size != str(most):
                what = "the most of DISTFLOW_ELASTIC" if pods.elastic else "the parallelism"
                yield f"{pods.where}: DISTFLOW_WORLD_SIZE {size} must be {what}, {most}"
        if "DISTFLOW_RANK" in environment(pods.main):
            yield f"{pods.where}: DISTFLOW_RANK would be the same in every pod"


def _elastic(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        text = environment(pods.main).get("DISTFLOW_ELASTIC")
        if text is None:
            continue
        if pods.kind != "Job":
            yield f"{pods.where}: only a Job can change its size; no DISTFLOW_ELASTIC here"
        elif pods.elastic is None or not 1 <= pods.elastic[0] <= pods.elastic[1]:
            yield f"{pods.where}: DISTFLOW_ELASTIC {text} must be MIN:MAX"
        elif not pods.elastic[0] <= pods.count <= pods.elastic[1]:
            yield f"{pods.where}: parallelism {pods.count} must be within DISTFLOW_ELASTIC {text}"


def _settings(bundle: Bundle) -> Iterator[str]:
    known = light.load("base.flags").FLAGS
    for pods in bundle.pods():
        settings = environment(pods.main)
        for name in settings:
            if name.startswith("DISTFLOW_") and name not in known:
                yield f"{pods.where}: {name} is no setting of distflow"
        expected = "mpi" if pods.is_mpi else "grpc"
        if pods.trains and settings.get("DISTFLOW_BACKEND") != expected:
            yield f"{pods.where}: DISTFLOW_BACKEND must be {expected}"


def _replicas(bundle: Bundle) -> Iterator[str]:
    for workers in bundle.workers():
        most = workers.elastic[1] if workers.elastic else workers.count
        # An MPIJob's workers get their settings from its launcher.
        for pods in bundle.pods():
            if pods.owner is workers.owner and pods.trains:
                replicas = str(environment(pods.main).get("DISTFLOW_REPLICAS") or 0)
                if not replicas.isdigit() or int(replicas) < most:
                    yield f"{pods.where}: {replicas} replicas for {most} workers"


def _token(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for container in pods.containers:
            for entry in container.get("env", []):
                private = re.search("TOKEN|PASSWORD|SECRET", entry["name"])
                if private and "secretKeyRef" not in entry.get("valueFrom", {}):
                    yield f"{pods.where}: {entry['name']} must come from a Secret"
        if not pods.is_mpi and "DISTFLOW_TOKEN" not in environment(pods.main):
            yield f"{pods.where}: gRPC between pods needs DISTFLOW_TOKEN"
    for secret in bundle.of_kind("Secret"):
        yield f"Secret/{secret['metadata']['name']}: a token in a file is no secret"


def _disruption_budget(bundle: Bundle) -> Iterator[str]:
    for budget in bundle.of_kind("PodDisruptionBudget"):
        spec, name = budget["spec"], f"PodDisruptionBudget/{budget['metadata']['name']}"
        least = spec.get("minAvailable")
        if not isinstance(least, int) or "maxUnavailable" in spec:
            yield f"{name}: a Job's pods need an integer minAvailable"
            continue
        chosen = [pods for pods in bundle.pods() if selects(spec["selector"], pods.labels)]
        if not chosen:
            yield f"{name}: selects no pods of this bundle"
        for pods in chosen:
            if least >= pods.count:
                yield f"{name}: minAvailable {least} of {pods.count} blocks every drain"


ROWS = [
    ("names", "Jobs and Services name DNS labels", _names),
    ("twice", "the second one overwrites the first", _twice),
    ("hostnames", "a pod's hostname is a DNS label: 63 characters", _hostnames),
    ("indexed", "the index is the rank, so each rank completes once", _indexed),
    ("restart-policy", "a Job's pods may not be Always; ours are replaced", _restart_policy),
    ("failure-policy", "drains are free, user errors end the job at once", _failure_policy),
    ("pod-replacement", "two pods of one index would share a rank", _pod_replacement),
    ("backoff", "one lost worker takes all others along", _backoff),
    ("world-size", "workers wait for exactly as many as there are", _world_size),
    ("elastic", "a size outside the bounds never trains", _elastic),
    ("settings", "a misspelled setting is one that is not set", _settings),
    ("replicas", "a worker without a replica only waits", _replicas),
    ("token", "manifests get committed and printed", _token),
    ("disruption-budget", "Jobs have no scale subresource", _disruption_budget),
]
