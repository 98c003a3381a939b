"""The Indexed Job's container, run as processes: its command, its variables, its exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from distflow.cluster.environments import kubernetes
from tests.deploy import kustomize, sources
from tests.support import ports

TOKEN = "0123456789abcdef0123456789abcdef"
pytestmark = [pytest.mark.slow, pytest.mark.spawn]


def job() -> dict[str, Any]:
    manifests = kustomize.render(sources.DEPLOY / "k8s/overlays/job-grpc")
    (found,) = [m for m in manifests if m["kind"] == "Job"]
    return found


def container() -> dict[str, Any]:
    return job()["spec"]["template"]["spec"]["containers"][0]


def variables(index: int, port: int) -> dict[str, str]:
    """The pod's variables, with this host in place of pod 0 behind the Service."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DISTFLOW_", "TF_CONFIG"))}
    secret = {"distflow-token": {"token": TOKEN}}
    for entry in container()["env"]:
        value = entry.get("value")
        if value is None:
            reference = entry["valueFrom"]["secretKeyRef"]
            value = secret[reference["name"]][reference["key"]]
        kept[entry["name"]] = value
    assert kept["DISTFLOW_COORDINATOR"] == "digits-0.digits:7117"
    # Kubernetes sets the index itself; HOME is the pod's, whose file system is not ours.
    changed = {"DISTFLOW_COORDINATOR": f"127.0.0.1:{port}", "JOB_COMPLETION_INDEX": str(index)}
    return kept | changed | {"HOME": os.environ.get("HOME", "/")}


def start(*arguments: str) -> list[subprocess.Popen[str]]:
    program = container()["command"][1].removeprefix("/workspace/")
    (port,) = ports.held(1)
    return [
        subprocess.Popen(
            [sys.executable, str(sources.DEPLOY.parent / program), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=variables(index, port),
        )
        for index in range(job()["spec"]["completions"])
    ]  # fmt: skip


def end(workers: list[subprocess.Popen[str]]) -> list[str]:
    try:
        return [worker.communicate(timeout=60)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_the_pods_train_together():
    workers = start("--epochs", "1")
    texts = end(workers)
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(texts)
    assert "4 logical replicas on 2 worker(s)" in texts[0]
    assert re.search(r"weights sha256 [0-9a-f]{64}", texts[0])


def test_a_pod_that_loses_its_peer_asks_to_be_started_again():
    workers = start("--epochs", "100000")
    assert workers[0].stdout is not None
    while "logical replicas" not in workers[0].stdout.readline():
        assert workers[0].poll() is None
    workers[1].send_signal(signal.SIGKILL)
    text = end(workers)[0]
    assert workers[0].returncode == 75, text
    assert "rank 1" in text
    rules = job()["spec"]["podFailurePolicy"]["rules"]
    fatal = [code for rule in rules for code in rule.get("onExitCodes", {}).get("values", [])]
    assert 1 in fatal
    assert 75 not in fatal


def test_the_hint_for_pods_names_what_the_manifests_have():
    manifest = {entry["name"]: entry for entry in container()["env"]}
    port = manifest["DISTFLOW_COORDINATOR"]["value"].rpartition(":")[2]
    assert f":{port}" in kubernetes.HINT
    secret = manifest["DISTFLOW_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert f"{{name: {secret['name']}, key: {secret['key']}}}" in kubernetes.HINT
