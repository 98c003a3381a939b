"""Rules about JobSets, TrainJobs, and what Kueue and Volcano read."""

from __future__ import annotations

from collections.abc import Iterator

from .bundle import Bundle, Manifest

_QUEUE = "kueue.x-k8s.io/queue-name"
_MEMBERS = "scheduling.volcano.sh/group-min-member"
_STEP = "trainer.kubeflow.org/trainjob-ancestor-step"


def _sets(bundle: Bundle) -> Iterator[tuple[str, Manifest]]:
    for manifest in bundle.manifests:
        where = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if manifest["kind"] == "JobSet":
            yield where, manifest["spec"]
        elif manifest["kind"] == "TrainingRuntime":
            yield where, manifest["spec"]["template"]["spec"]


def _network(bundle: Bundle) -> Iterator[str]:
    for where, spec in _sets(bundle):
        network = spec.get("network", {})
        # Both are the controller's defaults; a manifest that says otherwise is wrong.
        if network.get("enableDNSHostnames", True) is not True:
            yield f"{where}: network.enableDNSHostnames must be true"
        if network.get("publishNotReadyAddresses", True) is not True:
            yield f"{where}: network.publishNotReadyAddresses must be true"


def _restarts(bundle: Bundle) -> Iterator[str]:
    for where, spec in _sets(bundle):
        policy = spec.get("failurePolicy", {})
        if policy.get("maxRestarts", 0) < 1:
            yield f"{where}: failurePolicy.maxRestarts must be 1 or more"
        final = [rule for rule in policy.get("rules", []) if rule.get("action") == "FailJobSet"]
        reasons = {reason for rule in final for reason in rule.get("onJobFailureReasons", [])}
        if "PodFailurePolicy" not in reasons:
            yield f"{where}: a failurePolicy rule must FailJobSet on PodFailurePolicy"
        for replicated in spec["replicatedJobs"]:
            if replicated.get("replicas", 1) != 1:
                yield f"{where}: {replicated['name']} replicas must be 1: each would be rank 0"


def _train_job(bundle: Bundle) -> Iterator[str]:
    for job in bundle.of_kind("TrainJob"):
        where, spec = f"TrainJob/{job['metadata']['name']}", job["spec"]
        reference = spec["runtimeRef"]
        runtime = bundle.find("TrainingRuntime", reference["name"])
        if reference.get("kind") != "TrainingRuntime" or runtime is None:
            yield f"{where}: runtimeRef must name a TrainingRuntime of this bundle"
            continue
        body = runtime["spec"]
        counts = [body.get("mlPolicy", {}).get("numNodes", 1)]
        counts += [pods.count for pods in bundle.workers() if pods.owner is runtime]
        nodes = spec.get("trainer", {}).get("numNodes", counts[0])
        if set(counts) != {nodes}:
            yield f"{where}: numNodes {nodes} must be the runtime's and its parallelism: {counts}"
        steps = [
            (r["name"], r["template"].get("metadata", {}).get("labels", {}).get(_STEP))
            for r in body["template"]["spec"]["replicatedJobs"]
        ]
        if "mpi" in body.get("mlPolicy", {}):
            if sorted(steps, key=str) != [("launcher", "trainer"), ("node", None)]:
                yield f"{where}: the runtime needs two Jobs, node and launcher, the latter labelled"
        elif steps != [("node", "trainer")]:
            yield f"{where}: the runtime needs one Job, node, with the label {_STEP}: trainer"


def _kueue(bundle: Bundle) -> Iterator[str]:
    for manifest in bundle.manifests:
        if _QUEUE not in manifest["metadata"].get("labels", {}):
            continue
        spec, where = manifest.get("spec", {}), f"{manifest['kind']}/{manifest['metadata']['name']}"
        if manifest["kind"] not in ("Job", "JobSet", "MPIJob", "TrainJob"):
            yield f"{where}: Kueue takes jobs into its queue, not this"
        elif (spec.get("runPolicy", {}) if manifest["kind"] == "MPIJob" else spec).get(
            "suspend"
        ) is not True:
            yield f"{where}: a job for Kueue must be suspended at first"


def _volcano(bundle: Bundle) -> Iterator[str]:
    for pods in bundle.pods("Job", "JobSet"):
        jobs = [pods.owner] if pods.kind == "Job" else [
            replicated["template"] for replicated in pods.owner["spec"]["replicatedJobs"]
        ]  # fmt: skip
        notes = [job.get("metadata", {}).get("annotations", {}) for job in jobs]
        members = next((n[_MEMBERS] for n in notes if _MEMBERS in n), None)
        is_volcanos = pods.spec.get("schedulerName") == "volcano"
        if is_volcanos != (members is not None):
            yield f"{pods.where}: {_MEMBERS} and schedulerName volcano belong together"
        elif members is not None:
            least = pods.elastic[0] if pods.elastic else pods.count
            if members != str(least):
                yield f"{pods.where}: {_MEMBERS} {members} must be the least that trains, {least}"


ROWS = [
    ("jobset-network", "workers find each other by name before they are ready", _network),
    ("jobset-restarts", "it starts again when it loses a pod, not for user errors", _restarts),
    ("trainjob", "the trainer's controller looks for fixed names and one number", _train_job),
    ("kueue", "a job that starts before it is admitted takes what it has not been given", _kueue),
    ("volcano", "fewer pods than train are no gang", _volcano),
]
