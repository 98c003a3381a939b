"""`distflow submit` to `cancel` with real processes, on the tests' small cluster."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from distflow_launcher import cli

from tests.cluster_runs.cluster import Cluster
from tests.deploy import sources
from tests.fakekube import network
from tests.fakekube.server import ApiServer

pytestmark = [pytest.mark.soak, pytest.mark.spawn]
IMAGE = "registry.example.com/distflow:0.1.0"
DIGITS = str(sources.ROOT / "examples/multi_worker_digits.py")


@pytest.fixture
def cluster(tmp_path: Path, tmp_path_factory, monkeypatch) -> Iterator[Cluster]:
    pytest.importorskip("kubernetes", reason="needs the extra k8s")
    missing = network.missing()
    if missing:
        pytest.skip(f"no pods as processes here: {missing}")
    with Cluster(tmp_path_factory.mktemp("node")) as made:
        with ApiServer(made.store, log_file=made.kubelet.log_file) as server:
            monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path)))
            yield made


def submit(*words: str) -> None:
    common = ["submit", "--k8s", "--image", IMAGE, "--name", "digits", "--replicas", "4"]
    assert cli.main([*common, *words]) == 0


def digest(text: str) -> str:
    found = re.search(r"weights sha256 ([0-9a-f]{64})", text)
    assert found, text
    return found[1]


def test_a_submitted_job_trains_to_the_bits_of_one_worker(cluster: Cluster, capfd):
    digests = []
    for workers in ("2", "1"):
        submit("-n", workers, DIGITS, "--epochs", "1")
        assert cli.main(["logs", "-f", "digits"]) == 0
        output = capfd.readouterr().out
        assert f"[rank 0] 4 logical replicas on {workers} worker(s)" in output
        digests.append(digest(output))
        assert cli.main(["wait", "digits", "--timeout", "60"]) == 0
        assert cli.main(["status", "digits"]) == 0
        assert "Job/digits: finished" in capfd.readouterr().out
        assert cli.main(["cancel", "digits"]) == 0
    assert digests[0] == digests[1]


def test_a_job_with_certificates_of_its_own_trains(cluster: Cluster, capfd):
    pytest.importorskip("cryptography", reason="needs the extra tls")
    submit("-n", "2", "--tls", "auto", DIGITS, "--epochs", "1")
    assert cli.main(["logs", "-f", "digits"]) == 0
    digest(capfd.readouterr().out)
    assert cli.main(["wait", "digits", "--timeout", "60"]) == 0


def test_a_program_that_fails_ends_its_job_and_status_says_why(cluster: Cluster, tmp_path, capfd):
    script = tmp_path / "bad.py"
    script.write_text("raise ValueError('no such data')\n")
    submit("-n", "2", str(script))
    assert cli.main(["wait", "digits", "--timeout", "60"]) == 1
    assert cli.main(["status", "digits"]) == 1
    output = capfd.readouterr().out
    assert re.search(r"rank \d failed first: failed: exit code 1", output)
    assert "ValueError: no such data" in output


def test_an_elastic_job_is_scaled_and_cancelled_while_it_trains(cluster: Cluster, capfd):
    submit("-n", "2", "--elastic", "1:4", DIGITS, "--epochs", "100000")
    follower = threading.Thread(target=lambda: cli.main(["logs", "-f", "digits"]), daemon=True)
    follower.start()
    cluster.until("two pods train", lambda: len(running(cluster)) == 2)
    assert cli.main(["scale", "digits", "3"]) == 0
    cluster.until("three pods train", lambda: len(running(cluster)) == 3)
    assert cli.main(["scale", "digits", "1"]) == 0
    cluster.until("one pod trains", lambda: len(running(cluster)) == 1)
    assert cli.main(["cancel", "digits"]) == 0
    follower.join(60)
    assert not follower.is_alive()
    assert cluster.store.list("v1", "Secret") == []


def running(cluster: Cluster) -> list[str]:
    """The pods that are not on their way out."""
    return [
        pod["metadata"]["name"]
        for pod in cluster.store.list("v1", "Pod")
        if pod.get("status", {}).get("phase") == "Running"
        and "deletionTimestamp" not in pod["metadata"]
    ]
