"""Manifests with one fault each, and the rule of the linter (or `schema`) that must refuse it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from distflow_launcher.kubernetes.render import render

from tests.deploy import kustomize
from tests.deploy.specs import SPECS

POD = "/spec/template/spec"
MAIN = f"{POD}/containers/0"
LAUNCHER = "/spec/mpiReplicaSpecs/Launcher"
WORKER = "/spec/mpiReplicaSpecs/Worker"
LAUNCHER_MAIN = f"{LAUNCHER}/template/spec/containers/0"
WORKER_MAIN = f"{WORKER}/template/spec/containers/0"
SET_JOB = "/spec/replicatedJobs/0/template/spec"
SET_MAIN = f"{SET_JOB}/template/spec/containers/0"
RUNTIME_JOBS = "/spec/template/spec/replicatedJobs"
RUNTIME_LAUNCHER = f"{RUNTIME_JOBS}/0/template/spec/template/spec/containers/0"
MEMBERS = "scheduling.volcano.sh~1group-min-member"
REMOVE = object()
# What is asked for besides, where the overlay does not have what is broken.
ELASTIC = {"elastic": (1, 4)}
CLAIM = {"claim": "checkpoints", "claim_size": "1Gi"}
CODE = {"files": {"train.py": b"print(1)"}}
_OVERLAYS = {
    "MPIJob": "mpijob", "JobSet": "jobset", "TrainJob": "trainjob", "TrainingRuntime": "trainjob",
}  # fmt: skip


@dataclass(frozen=True)
class Broken:
    """One manifest with one fault, and the rule (or `schema`) that must refuse it."""

    refused_by: str
    fault: str
    kind: str
    path: str
    value: Any
    asked: dict[str, Any] = field(default_factory=dict)
    overlay: str = ""

    def manifests(self) -> list[kustomize.Manifest]:
        overlay = SPECS[self.overlay or _OVERLAYS.get(self.kind, "job-grpc")]
        manifests = render(dataclasses.replace(overlay, **self.asked))
        if self.kind == "PodDisruptionBudget":
            metadata = {"name": "digits"}
            return [*manifests, {"apiVersion": "policy/v1", "kind": self.kind} | {
                "metadata": metadata, "spec": self.value}]  # fmt: skip
        if self.kind == "Secret":
            return [*manifests, {"apiVersion": "v1", "kind": "Secret"} | self.value]
        (manifest,) = [m for m in manifests if m["kind"] == self.kind]
        operation = {"op": "remove"} if self.value is REMOVE else {"op": "add", "value": self.value}
        if self.path.rpartition("/")[2].isdigit() and self.value is not REMOVE:
            operation["op"] = "replace"
        kustomize.apply_operation(manifest, operation | {"path": self.path})
        return manifests


INSTANCE = "app.kubernetes.io~1instance"
BROKEN = [
    # What the strict schemas refuse.
    Broken("schema", "misspelled-field", "Job", f"{MAIN}/comand", ["python"]),
    Broken("schema", "misspelled-spec-field", "Job", "/spec/completionmode", "Indexed"),
    Broken("schema", "number-as-text", "Job", "/spec/parallelism", "2"),
    Broken("schema", "number-in-env", "Job", f"{MAIN}/env/0/value", 2),
    Broken("schema", "unknown-kind", "Job", "/kind", "Jobb"),
    Broken("schema", "old-api-version", "Job", "/apiVersion", "batch/v1beta1"),
    Broken("schema", "misspelled-policy-field", "NetworkPolicy", "/spec/ingres", []),
    Broken("schema", "slotPerWorker", "MPIJob", "/spec/slotPerWorker", 1),
    Broken("schema", "mpi-comand", "MPIJob", f"{WORKER}/template/spec/containers/0/comand", []),
    Broken("schema", "mpi-implementation", "MPIJob", "/spec/mpiImplementation", "OpenMP"),
    Broken("schema", "mpi-template-metadata", "MPIJob", f"{WORKER}/template/metadata/lables", {}),
    # What only the rules refuse.
    Broken("names", "upper-case-name", "Job", "/metadata/name", "UPPER"),
    Broken("names", "dot-in-name", "Service", "/metadata/name", "a.b"),
    Broken("hostnames", "long-name", "Job", "/metadata/name", "d" * 62),
    Broken("hostnames", "long-mpi-name", "MPIJob", "/metadata/name", "d" * 55),
    Broken("indexed", "completions-not-parallelism", "Job", "/spec/completions", 3),
    Broken("indexed", "no-completions", "Job", "/spec/completions", REMOVE),
    Broken("indexed", "not-indexed", "Job", "/spec/completionMode", "NonIndexed"),
    Broken("restart-policy", "restart-always", "Job", f"{POD}/restartPolicy", "Always"),
    Broken("restart-policy", "restart-missing", "Job", f"{POD}/restartPolicy", REMOVE),
    Broken("restart-policy", "mpi-restart", "MPIJob", f"{WORKER}/restartPolicy", "Always"),
    Broken("failure-policy", "no-ignore", "Job", "/spec/podFailurePolicy/rules/0", REMOVE),
    Broken("failure-policy", "no-fail-job", "Job", "/spec/podFailurePolicy/rules/1", REMOVE),
    Broken("failure-policy", "other-container", "Job",
           "/spec/podFailurePolicy/rules/1/onExitCodes/containerName", "main"),
    Broken("failure-policy", "retryable-code-fails", "Job",
           "/spec/podFailurePolicy/rules/1/onExitCodes/values", [1, 75]),
    Broken("pod-replacement", "two-pods-of-an-index", "Job", "/spec/podReplacementPolicy",
           "TerminatingOrFailed"),
    Broken("backoff", "no-retries", "Job", "/spec/backoffLimit", 0),
    Broken("headless-service", "wrong-selector", "Service",
           "/spec/selector/app.kubernetes.io~1name", "other"),
    Broken("headless-service", "cluster-ip", "Service", "/spec/clusterIP", REMOVE),
    Broken("headless-service", "ready-only", "Service", "/spec/publishNotReadyAddresses", REMOVE),
    Broken("headless-service", "other-subdomain", "Job", f"{POD}/subdomain", "digit"),
    Broken("headless-service", "service-port", "Service", "/spec/ports/0/targetPort", "grpc"),
    Broken("coordinator", "other-job", "Job", f"{MAIN}/env/3/value", "digit-0.digits:7117"),
    Broken("coordinator", "without-service", "Job", f"{MAIN}/env/3/value", "digits-0:7117"),
    Broken("coordinator", "other-port", "Job", f"{MAIN}/env/3/value", "digits-0.digits:7118"),
    Broken("world-size", "other-world-size", "Job", f"{MAIN}/env/0/value", "3"),
    Broken("world-size", "rank-by-hand", "Job", f"{MAIN}/env/-",
           {"name": "DISTFLOW_RANK", "value": "0"}),
    Broken("settings", "misspelled-setting", "Job", f"{MAIN}/env/1/name", "DISTFLOW_REPLICA"),
    Broken("settings", "other-backend", "Job", f"{MAIN}/env/2/value", "mpi"),
    Broken("replicas", "fewer-replicas-than-workers", "Job", f"{MAIN}/env/1/value", "1"),
    Broken("replicas", "mpi-fewer-replicas", "MPIJob",
           f"{LAUNCHER}/template/spec/containers/0/env/0/value", "1"),
    Broken("token", "token-in-clear", "Job", f"{MAIN}/env/4",
           {"name": "DISTFLOW_TOKEN", "value": "hunter2"}),
    Broken("token", "no-token", "Job", f"{MAIN}/env/4", REMOVE),
    Broken("token", "secret-in-bundle", "Secret", "", {"metadata": {"name": "distflow-token"}}),
    Broken("disruption-budget", "percent", "PodDisruptionBudget", "",
           {"minAvailable": "50%", "selector": {}}),
    Broken("disruption-budget", "blocks-drains", "PodDisruptionBudget", "",
           {"minAvailable": 2, "selector": {}}),
    Broken("disruption-budget", "both", "PodDisruptionBudget", "",
           {"minAvailable": 1, "maxUnavailable": 1, "selector": {}}),
    Broken("network-policy", "other-pods-let-in", "NetworkPolicy", "/spec/ingress/0/from", [{}]),
    Broken("network-policy", "everyone-let-in", "NetworkPolicy", "/spec/ingress/0/from", REMOVE),
    Broken("network-policy", "other-jobs-let-in", "NetworkPolicy",
           f"/spec/ingress/0/from/0/podSelector/matchLabels/{INSTANCE}", REMOVE),
    Broken("network-policy", "own-pods-shut-out", "NetworkPolicy", "/spec/ingress/0", REMOVE),
    Broken("network-policy", "egress-open", "NetworkPolicy", "/spec/policyTypes", ["Ingress"]),
    Broken("network-policy", "no-dns-over-tcp", "NetworkPolicy", "/spec/egress/1/ports/1", REMOVE),
    Broken("network-policy", "no-way-out", "NetworkPolicy", "/spec/egress/0", REMOVE),
    Broken("network-policy", "selects-nothing", "NetworkPolicy",
           f"/spec/podSelector/matchLabels/{INSTANCE}", "digit"),
    Broken("references", "unknown-secret", "Job",
           f"{MAIN}/env/4/valueFrom/secretKeyRef/name", "tokens"),
    Broken("references", "unknown-config-map", "Job", f"{MAIN}/envFrom",
           [{"configMapRef": {"name": "settings"}}]),
    Broken("volumes", "missing-volume", "Job", f"{POD}/volumes/0", REMOVE),
    Broken("volumes", "unused-volume", "Job", f"{MAIN}/volumeMounts/0", REMOVE),
    Broken("scratch", "shm-on-disk", "Job", f"{POD}/volumes/1/emptyDir/medium", REMOVE),
    Broken("scratch", "shm-without-limit", "Job", f"{POD}/volumes/1/emptyDir/sizeLimit", REMOVE),
    Broken("scratch", "shm-above-memory", "Job", f"{POD}/volumes/1/emptyDir/sizeLimit", "2Gi"),
    Broken("resources", "request-above-limit", "Job", f"{MAIN}/resources/requests/cpu", "2"),
    Broken("resources", "request-below-limit", "Job", f"{MAIN}/resources/requests/cpu", "500m"),
    Broken("resources", "no-memory-limit", "Job", f"{MAIN}/resources/limits/memory", REMOVE),
    Broken("threads", "more-threads-than-cpus", "Job", f"{MAIN}/env/6/value", "8"),
    Broken("threads", "threads-not-set", "Job", f"{MAIN}/env/7", REMOVE),
    Broken("rights", "root", "Job", f"{POD}/securityContext/runAsUser", 0),
    Broken("rights", "root-by-container", "Job", f"{MAIN}/securityContext/runAsUser", 0),
    Broken("rights", "no-seccomp", "Job", f"{POD}/securityContext/seccompProfile", REMOVE),
    Broken("rights", "writable-root", "Job", f"{MAIN}/securityContext/readOnlyRootFilesystem",
           False),
    Broken("rights", "added-capability", "Job", f"{MAIN}/securityContext/capabilities/add",
           ["SYS_PTRACE"]),
    Broken("rights", "mpi-escalation", "MPIJob",
           f"{WORKER}/template/spec/containers/0/securityContext/allowPrivilegeEscalation", True),
    Broken("rights", "host-network", "Job", f"{POD}/hostNetwork", True),
    Broken("api-token", "api-token", "Job", f"{POD}/automountServiceAccountToken", REMOVE),
    Broken("grace", "default-grace", "Job", f"{POD}/terminationGracePeriodSeconds", REMOVE),
    Broken("ports", "port-out-of-range", "Job", f"{MAIN}/ports/0/containerPort", 99999),
    Broken("ports", "privileged-ssh", "MPIJob",
           f"{WORKER}/template/spec/containers/0/ports/0/containerPort", 22),
    Broken("image", "latest", "Job", f"{MAIN}/image", "registry.example.com:5000/x:latest"),
    Broken("image", "no-tag", "Job", f"{MAIN}/image", "registry.example.com:5000/x"),
    Broken("exec-form", "shell", "Job", f"{MAIN}/command", ["/bin/sh", "-c", "python train.py"]),
    Broken("exec-form", "deaf-python", "Job", f"{POD}/shareProcessNamespace", REMOVE),
    Broken("mpi-replicas", "no-launcher", "MPIJob", LAUNCHER, REMOVE),
    Broken("mpi-replicas", "two-launchers", "MPIJob", f"{LAUNCHER}/replicas", 2),
    Broken("mpi-replicas", "negative-workers", "MPIJob", f"{WORKER}/replicas", -1),
    Broken("mpi-slots", "more-workers-than-bounds", "MPIJob", f"{WORKER}/replicas", 5),
    Broken("mpi-slots", "no-bounds", "MPIJob", f"{LAUNCHER_MAIN}/args/5", "many"),
    Broken("mpi-slots", "two-slots", "MPIJob", "/spec/slotsPerWorker", 2),
    Broken("mpi-launcher", "not-handed-on", "MPIJob", f"{LAUNCHER_MAIN}/args/13", "OTHER"),
    Broken("mpi-launcher", "plain-mpirun", "MPIJob", f"{LAUNCHER_MAIN}/command", ["mpirun"]),
    Broken("mpi-launcher", "other-backend", "MPIJob", f"{LAUNCHER_MAIN}/args/1", "grpc"),
    Broken("mpi-launcher", "hosts-of-the-start", "MPIJob", f"{LAUNCHER_MAIN}/args/2",
           "--hostfile"),
    Broken("mpi-launcher", "replicas-by-workers", "MPIJob", f"{LAUNCHER_MAIN}/args/6", "-n"),
    Broken("mpi-stop", "no-hook", "MPIJob", f"{WORKER_MAIN}/lifecycle", REMOVE),
    Broken("mpi-stop", "long-hook", "MPIJob",
           f"{WORKER_MAIN}/lifecycle/preStop/exec/command/3", "60"),
    Broken("mpi-stop", "runtime-drained-is-complete", "TrainingRuntime",
           f"{RUNTIME_JOBS}/1/template/spec/template/spec/containers/0/lifecycle/preStop/exec/command",
           ["python", "-m", "distflow_launcher.leave", "30"], overlay="trainjob-mpi"),
    Broken("mpi-stop", "long-grace", "MPIJob", f"{LAUNCHER_MAIN}/args/11", "60"),
    Broken("mpi-ssh", "never-again", "MPIJob", f"{WORKER}/restartPolicy", "Never"),
    Broken("mpi-ssh", "no-liveness", "MPIJob", f"{WORKER_MAIN}/livenessProbe", REMOVE),
    Broken("mpi-ssh", "early-liveness", "MPIJob", f"{WORKER_MAIN}/startupProbe", REMOVE),
    Broken("mpi-ssh", "root-ssh", "MPIJob", "/spec/sshAuthMountPath", REMOVE),
    Broken("mpi-ssh", "early-launcher", "MPIJob", "/spec/launcherCreationPolicy", "AtStartup"),
    Broken("mpi-ssh", "no-readiness", "MPIJob",
           f"{WORKER}/template/spec/containers/0/readinessProbe", REMOVE),
    # What the operators and the additions need.
    Broken("schema", "jobset-misspelled", "JobSet", "/spec/network/enableDnsHostnames", True),
    Broken("schema", "jobset-action", "JobSet", "/spec/failurePolicy/rules/0/action", "Fail"),
    Broken("schema", "jobset-no-template", "JobSet", "/spec/replicatedJobs/0/template", REMOVE),
    Broken("schema", "trainjob-misspelled", "TrainJob", "/spec/trainer/nodes", 2),
    Broken("schema", "trainjob-no-runtime", "TrainJob", "/spec/runtimeRef", REMOVE),
    Broken("schema", "runtime-misspelled", "TrainingRuntime", "/spec/mlpolicy", {}),
    Broken("shape", "no-pod-template", "Job", "/spec/template", REMOVE),
    Broken("shape", "no-name", "Service", "/metadata/name", REMOVE),
    Broken("shape", "env-by-name", "Job", f"{MAIN}/env", {"DISTFLOW_REPLICAS": "4"}),
    Broken("instance", "no-instance", "Job", f"/spec/template/metadata/labels/{INSTANCE}", REMOVE),
    Broken("twice", "two-services", "NetworkPolicy", "/kind", "Service"),
    Broken("elastic", "not-bounds", "Job", f"{MAIN}/env/0/value", "2", ELASTIC),
    Broken("elastic", "too-many", "Job", "/spec/parallelism", 5, ELASTIC),
    Broken("elastic", "too-few", "Job", f"{MAIN}/env/0/value", "3:4", ELASTIC),
    Broken("elastic", "elastic-jobset", "JobSet", f"{SET_MAIN}/env/-",
           {"name": "DISTFLOW_ELASTIC", "value": "1:4"}),
    Broken("world-size", "not-the-most", "Job", f"{MAIN}/env/2/value", "2", ELASTIC),
    Broken("replicas", "fewer-than-the-most", "Job", f"{MAIN}/env/3/value", "2", ELASTIC),
    Broken("hostnames", "long-jobset-name", "JobSet", "/metadata/name", "d" * 53),
    Broken("indexed", "jobset-not-indexed", "JobSet", f"{SET_JOB}/completionMode", "NonIndexed"),
    Broken("failure-policy", "jobset-no-policy", "JobSet", f"{SET_JOB}/podFailurePolicy", REMOVE),
    Broken("failure-policy", "drained-worker-fails", "Job",
           "/spec/podFailurePolicy/rules/1/onExitCodes/values", [1, 143]),
    Broken("coordinator", "jobset-coordinator", "JobSet", f"{SET_MAIN}/env/3/value",
           "digits-set-0.digits-set:7117"),
    Broken("backoff", "no-retries-of-an-index", "Job", "/spec/backoffLimitPerIndex", 0),
    Broken("disruption-budget", "selects-nobody", "PodDisruptionBudget", "",
           {"minAvailable": 1, "selector": {"matchLabels": {"app": "other"}}}),
    Broken("jobset-network", "no-names", "JobSet", "/spec/network/enableDNSHostnames", False),
    Broken("jobset-network", "names-when-ready", "JobSet",
           "/spec/network/publishNotReadyAddresses", False),
    Broken("jobset-restarts", "never-again", "JobSet", "/spec/failurePolicy/maxRestarts", 0),
    Broken("jobset-restarts", "always-again", "JobSet", "/spec/failurePolicy/rules/0", REMOVE),
    Broken("jobset-restarts", "two-rank-zeros", "JobSet", "/spec/replicatedJobs/0/replicas", 2),
    Broken("trainjob", "other-runtime", "TrainJob", "/spec/runtimeRef/name", "torch-distributed"),
    Broken("trainjob", "other-nodes", "TrainJob", "/spec/trainer/numNodes", 3),
    Broken("trainjob", "other-name", "TrainingRuntime",
           "/spec/template/spec/replicatedJobs/0/name", "worker"),
    Broken("schema", "runtime-mpi-misspelled", "TrainingRuntime", "/spec/mlPolicy/mpi/slots", 1,
           overlay="trainjob-mpi"),
    Broken("trainjob", "mpi-without-launcher", "TrainingRuntime", f"{RUNTIME_JOBS}/0/name",
           "mpirun", overlay="trainjob-mpi"),
    Broken("trainjob", "mpi-other-nodes", "TrainingRuntime",
           f"{RUNTIME_JOBS}/1/template/spec/parallelism", 3, overlay="trainjob-mpi"),
    Broken("mpi-slots", "runtime-other-size", "TrainingRuntime", f"{RUNTIME_LAUNCHER}/args/5",
           "1:4", overlay="trainjob-mpi"),
    Broken("mpi-slots", "runtime-two-slots", "TrainingRuntime",
           "/spec/mlPolicy/mpi/numProcPerNode", 2, overlay="trainjob-mpi"),
    Broken("mpi-launcher", "runtime-no-hostfile", "TrainingRuntime", f"{RUNTIME_LAUNCHER}/args/3",
           "/hosts", overlay="trainjob-mpi"),
    Broken("mpi-ssh", "runtime-root-ssh", "TrainingRuntime", "/spec/mlPolicy/mpi/sshAuthMountPath",
           REMOVE, overlay="trainjob-mpi"),
    Broken("failure-policy", "runtime-launcher-always-again", "TrainingRuntime",
           f"{RUNTIME_JOBS}/0/template/spec/podFailurePolicy/rules/1", REMOVE,
           overlay="trainjob-mpi"),
    Broken("kueue", "not-suspended", "Job", "/spec/suspend", False, {"queue": "training"}),
    Broken("kueue", "mpi-not-suspended", "MPIJob", "/spec/runPolicy/suspend", REMOVE,
           {"queue": "training"}),
    Broken("kueue", "queued-service", "Service", "/metadata/labels/kueue.x-k8s.io~1queue-name",
           "training"),
    Broken("volcano", "gang-of-one", "Job", f"/metadata/annotations/{MEMBERS}", "1",
           {"volcano_queue": "default"}),
    Broken("volcano", "default-scheduler", "Job", f"{POD}/schedulerName", REMOVE,
           {"volcano_queue": "default"}),
    Broken("pod-monitor", "other-port", "PodMonitor",
           "/spec/podMetricsEndpoints/0/port", "http", {"metrics_port": 9117}),
    Broken("pod-monitor", "ready-without-metrics", "Job", f"{MAIN}/readinessProbe", REMOVE,
           {"metrics_port": 9117}),
    Broken("pod-monitor", "loopback-only", "Job", f"{MAIN}/env/10/value", "127.0.0.1",
           {"metrics_port": 9117}),
    Broken("pod-monitor", "other-pods", "PodMonitor",
           "/spec/selector/matchLabels/app", "other", {"metrics_port": 9117}),
    Broken("network-policy", "monitoring-everywhere", "NetworkPolicy", "/spec/ingress/1/ports",
           [], {"metrics_port": 9117}),
    Broken("tls", "not-mounted", "Job", f"{MAIN}/env/9/value", "/tls",
           {"tls_secret": "distflow-tls"}),
    Broken("references", "unknown-tls-secret", "Job", f"{POD}/volumes/2/secret/secretName", "tls",
           {"tls_secret": "distflow-tls"}),
    Broken("references", "unknown-claim", "PersistentVolumeClaim", "/metadata/name", "other",
           CLAIM),
    Broken("claims", "volume-of-one-node", "PersistentVolumeClaim", "/spec/accessModes/0",
           "ReadWriteOnce", CLAIM),
    Broken("code", "changing-code", "ConfigMap", "/immutable", REMOVE, CODE),
    Broken("code", "code-without-file", "Job", f"{POD}/volumes/2/configMap/items/0/key", "other.py",
           CODE),
    Broken("spread", "others-pods", "Job",
           f"{POD}/topologySpreadConstraints/0/labelSelector/matchLabels/{INSTANCE}", "other"),
    Broken("spread", "waits-for-nodes", "Job",
           f"{POD}/topologySpreadConstraints/0/whenUnsatisfiable", "DoNotSchedule"),
]  # fmt: skip
