"""What a schema cannot say about our manifests: one row of RULES per fact, checked by name.

A schema accepts a Job named UPPER, a mount without a volume, and a restartPolicy that the API
server or the operator refuses, or that trains wrongly. Each check yields one message per fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from distflow.base.flags import FLAGS
from tests.deploy import rules_mpi, rules_network, rules_pod
from tests.deploy.bundle import Bundle, environment, selects

Check = Callable[[Bundle], Iterator[str]]


@dataclass(frozen=True)
class Rule:
    """A named fact that every rendered bundle must have."""

    name: str
    why: str
    check: Check


def broken(bundle: Bundle) -> dict[str, list[str]]:
    """Returns rule name → messages, for the rules that the bundle breaks."""
    found = {rule.name: list(rule.check(bundle)) for rule in RULES}
    return {name: messages for name, messages in found.items() if messages}


def _names(bundle: Bundle) -> Iterator[str]:
    for manifest in bundle.manifests:
        name = manifest["metadata"]["name"]
        if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
            yield f"{manifest['kind']}/{name}: must be lower-case letters, digits and -"


def _hostnames(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        name, last = pods.owner["metadata"]["name"], pods.count - 1
        if pods.owner["kind"] == "Job":
            hostname = f"{name}-{last}"
        else:
            hostname = f"{name}-worker-{last}" if pods.role == "Worker" else f"{name}-launcher"
        if len(hostname) > 63:
            yield f"{pods.where}: hostname {hostname} has {len(hostname)} characters"


def _indexed(bundle: Bundle) -> Iterator[str]:
    for job in bundle.of_kind("Job"):
        spec, name = job["spec"], job["metadata"]["name"]
        if spec.get("completionMode") != "Indexed":
            yield f"Job/{name}: completionMode must be Indexed"
        if not spec.get("completions") == spec.get("parallelism") is not None:
            yield f"Job/{name}: completions {spec.get('completions')} must equal parallelism"


def _restart_policy(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        allowed = ["Never"] if pods.owner["kind"] == "Job" else ["Never", "OnFailure"]
        if pods.restart_policy not in allowed:
            yield f"{pods.where}: restartPolicy {pods.restart_policy} must be one of {allowed}"
        if pods.owner["kind"] == "MPIJob" and "restartPolicy" in pods.spec:
            yield f"{pods.where}: restartPolicy belongs to the replica, not the template"


def _failure_policy(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods("Job"):
        policy = pods.owner["spec"].get("podFailurePolicy", {}).get("rules", [])
        first = policy[0] if policy else {}
        conditions = [c["type"] for c in first.get("onPodConditions", [])]
        if first.get("action") != "Ignore" or "DisruptionTarget" not in conditions:
            yield f"{pods.where}: the first rule must ignore DisruptionTarget"
        names = [container["name"] for container in pods.containers]
        fails = [r["onExitCodes"] for r in policy if r.get("action") == "FailJob"]
        if not any(f["operator"] == "In" and 1 in f["values"] for f in fails):
            yield f"{pods.where}: exit code 1 (the program's own error) must fail the Job"
        for codes in fails:
            if codes.get("containerName") not in names:
                yield f"{pods.where}: no container {codes.get('containerName')}"
            if codes["operator"] == "In" and 75 in codes["values"]:
                yield f"{pods.where}: exit code 75 means try again; it must not fail the Job"


def _pod_replacement(bundle: Bundle) -> Iterator[str]:
    for job in bundle.of_kind("Job"):
        if job["spec"].get("podReplacementPolicy") != "Failed":
            yield f"Job/{job['metadata']['name']}: podReplacementPolicy must be Failed"


def _backoff(bundle: Bundle) -> Iterator[str]:
    for job in bundle.of_kind("Job"):
        spec = job["spec"]
        if spec.get("backoffLimit", -1) < spec.get("parallelism", 1) - 1:
            yield f"Job/{job['metadata']['name']}: backoffLimit is below one round of restarts"


def _world_size(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods("Job"):
        size = environment(pods.main).get("DISTFLOW_WORLD_SIZE")
        if size != str(pods.count):
            yield f"{pods.where}: DISTFLOW_WORLD_SIZE {size} must be the parallelism {pods.count}"
    for pods in bundle.pods():
        if "DISTFLOW_RANK" in environment(pods.main):
            yield f"{pods.where}: DISTFLOW_RANK would be the same in every pod"


def _settings(bundle: Bundle) -> Iterator[str]:
    backends = {"Job": "grpc", "MPIJob": "mpi"}
    for pods in bundle.pods():
        settings = environment(pods.main)
        for name in settings:
            if name.startswith("DISTFLOW_") and name not in FLAGS:
                yield f"{pods.where}: {name} is no setting of distflow"
        starts = pods.owner["kind"] == "Job" or pods.role == "Launcher"
        expected = backends[pods.owner["kind"]]
        if starts and settings.get("DISTFLOW_BACKEND") != expected:
            yield f"{pods.where}: DISTFLOW_BACKEND must be {expected}"


def _replicas(bundle: Bundle) -> Iterator[str]:
    for workers in bundle.workers():
        # An MPIJob's workers get their settings from its launcher.
        for pods in bundle.pods():
            starts = pods.owner["kind"] == "Job" or pods.role == "Launcher"
            if pods.owner is workers.owner and starts:
                replicas = int(environment(pods.main).get("DISTFLOW_REPLICAS") or 0)
                if replicas < workers.count:
                    yield f"{pods.where}: {replicas} replicas for {workers.count} workers"


def _token(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods():
        for container in pods.containers:
            for entry in container.get("env", []):
                private = re.search("TOKEN|PASSWORD|SECRET", entry["name"])
                if private and "secretKeyRef" not in entry.get("valueFrom", {}):
                    yield f"{pods.where}: {entry['name']} must come from a Secret"
        if pods.owner["kind"] == "Job" and "DISTFLOW_TOKEN" not in environment(pods.main):
            yield f"{pods.where}: gRPC between pods needs DISTFLOW_TOKEN"
    for secret in bundle.of_kind("Secret"):
        yield f"Secret/{secret['metadata']['name']}: a token in a file is no secret"


def _disruption_budget(bundle: Bundle) -> Iterator[str]:
    for budget in bundle.of_kind("PodDisruptionBudget"):
        spec, name = budget["spec"], f"PodDisruptionBudget/{budget['metadata']['name']}"
        least = spec.get("minAvailable")
        if not isinstance(least, int) or "maxUnavailable" in spec:
            yield f"{name}: a Job's pods need an integer minAvailable"
        else:
            for pods in bundle.pods():
                if selects(spec["selector"], pods.labels) and least >= pods.count:
                    yield f"{name}: minAvailable {least} of {pods.count} blocks every drain"


RULES: list[Rule] = [
    Rule("names", "Jobs and Services name DNS labels", _names),
    Rule("hostnames", "a pod's hostname is a DNS label: 63 characters", _hostnames),
    Rule("indexed", "the index is the rank, so each rank completes once", _indexed),
    Rule("restart-policy", "a Job's pods may not be Always; ours are replaced", _restart_policy),
    Rule("failure-policy", "drains are free, user errors end the job at once", _failure_policy),
    Rule("pod-replacement", "two pods of one index would share a rank", _pod_replacement),
    Rule("backoff", "one lost worker takes all others along", _backoff),
    Rule("world-size", "workers wait for exactly as many as there are", _world_size),
    Rule("settings", "a misspelled setting is one that is not set", _settings),
    Rule("replicas", "a worker without a replica only waits", _replicas),
    Rule("token", "manifests get committed and printed", _token),
    Rule("disruption-budget", "Jobs have no scale subresource", _disruption_budget),
    *(Rule(*row) for row in rules_network.ROWS),
    *(Rule(*row) for row in rules_pod.ROWS),
    *(Rule(*row) for row in rules_mpi.ROWS),
]
