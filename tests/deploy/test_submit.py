"""`distflow submit` and the commands after it, by the official client at the tests' API server."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from distflow_launcher import cli
from distflow_launcher.arguments import UsageError
from distflow_launcher.kubernetes import cluster, code, operate, view
from distflow_launcher.kubernetes.cluster import KINDS, connect
from distflow_launcher.kubernetes.lint import rules
from distflow_launcher.kubernetes.lint.bundle import Bundle
from distflow_launcher.kubernetes.render import render
from distflow_launcher.kubernetes.spec import Spec, SpecError

from tests.deploy.specs import SPECS
from tests.fakekube import certificates
from tests.fakekube.server import TOKEN, ApiServer
from tests.fakekube.store import Key, Store

IMAGE = "registry.example.com/distflow:0.1.0"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def server(tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    pytest.importorskip("kubernetes", reason="needs the extra k8s")

    def log_file(pod: dict[str, Any], container: str) -> Path:
        return logs / str(pod["metadata"]["name"])

    with ApiServer(Store(), log_file=log_file) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path, namespace="training")))
        yield server


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train_cnn.py"
    path.write_text("print('hello')\n")
    return path


def submit(script: Path, *words: str, name: str = "cnn") -> int:
    common = ["submit", "--k8s", "-n", "2", "--image", IMAGE, "--name", name]
    return cli.main([*common, *words, str(script), "--epochs", "3"])


def add_pod(server: ApiServer, name: str, index: int, **status: Any) -> None:
    labels = {
        "app.kubernetes.io/instance": name,
        "batch.kubernetes.io/job-completion-index": str(index),
    }
    metadata = {"name": f"{name}-{index}-abc", "namespace": "training", "labels": labels}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    pod["spec"] = {"nodeName": "n1", "containers": [{"name": "worker"}]}
    server.store.create(pod)
    key = Key("v1", "Pod", "training", metadata["name"])
    server.store.patch(key, {"status": status}, subresource="status")


def ended(code: int, at: str, **fields: Any) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "finishedAt": at, **fields}}
    phase = "Failed" if code else "Succeeded"
    return {"phase": phase, "containerStatuses": [{"name": "worker", "state": state}]}


def set_status(server: ApiServer, name: str, **status: Any) -> None:
    key = Key("batch/v1", "Job", "training", name)
    server.store.patch(key, {"status": status}, subresource="status")


def test_submit_makes_all_of_a_job_and_its_own_secret(server, script, capsys):
    assert submit(script) == 0
    assert "Job/cnn submitted to the namespace training: 2 workers" in capsys.readouterr().out
    job = server.store.get(Key("batch/v1", "Job", "training", "cnn"))
    main = job["spec"]["template"]["spec"]["containers"][0]
    assert main["command"] == ["python", "/workspace/code/train_cnn.py", "--epochs", "3"]
    assert main["image"] == IMAGE
    secret = server.store.get(Key("v1", "Secret", "training", "cnn-token"))
    assert len(secret["data"]["token"]) > 80
    config = server.store.get(Key("v1", "ConfigMap", "training", "cnn-code"))
    assert config["data"] == {"train_cnn.py": "print('hello')\n"}
    for obj in (secret, config):
        assert [o["uid"] for o in obj["metadata"]["ownerReferences"]] == [job["metadata"]["uid"]]


def test_the_token_is_never_printed(server, script, capsys):
    submit(script)
    secret = server.store.get(Key("v1", "Secret", "training", "cnn-token"))["data"]["token"]
    submit(script, "--dry-run", name="other")
    output = capsys.readouterr()
    assert secret not in output.out + output.err
    assert "kubectl create secret generic other-token" in output.out


@pytest.mark.parametrize("kind", ["job", "jobset", "mpijob", "trainjob", "trainjob-mpi"])
def test_every_kind_is_submitted_and_cancelled(server, script, capsys, kind: str):
    assert submit(script, "--kind", kind) == 0
    assert cli.main(["status"]) == 0
    assert "cnn" in capsys.readouterr().out
    assert cli.main(["cancel", "cnn", "--dry-run"]) == 0
    would = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert cli.main(["cancel", "cnn"]) == 0
    did = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in did if line.endswith(" deleted")} <= would
    left = [o for v, _ in KINDS.values() for k in KINDS for o in server.store.list(v, k)]
    assert left == []


def test_a_dry_run_prints_what_the_linter_and_the_renderer_know(script, capsys):
    assert submit(script, "--dry-run", "--claim", "data:1Gi", "--tls", "certificates") == 0
    manifests = list(yaml.safe_load_all(capsys.readouterr().out))
    external = frozenset({"Secret/certificates"})
    assert rules.broken(Bundle(manifests, external)) == {}
    assert submit(script, "-o", "json", "--claim", "data:1Gi", "--tls", "certificates") == 0
    assert json.loads(capsys.readouterr().out)["items"] == manifests


def test_a_dry_run_needs_no_cluster(script, capsys, monkeypatch):
    pytest.importorskip("kubernetes", reason="needs the extra k8s")
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    assert submit(script, "--dry-run") == 0
    assert submit(script) == 64
    assert "expected a cluster" in capsys.readouterr().err


def test_what_is_refused_leaves_nothing(server, script, capsys):
    submit(script)
    before = server.store.version
    assert submit(script, "--token-secret", "shared") == 1
    error = capsys.readouterr().err
    assert "already exists" in error
    assert "--name" in error
    kinds = [e.object["kind"] for e in server.store.watch(since=before, timeout_seconds=0)]
    assert kinds == []
    job = render(Spec("b", IMAGE, ("python",), 1, token_secret="t"))[-1]
    server.store.create(job, "training")
    assert submit(script, name="b") == 1  # the Job is the last of its objects
    names = [o["metadata"]["name"] for o in server.store.list("v1", "Secret")]
    assert names == ["cnn-token"]


def test_tls_auto_makes_certificates_for_the_job(server, script):
    pytest.importorskip("cryptography", reason="needs the extra tls")
    assert submit(script, "--tls", "auto") == 0
    secret = server.store.get(Key("v1", "Secret", "training", "cnn-tls"))
    assert sorted(secret["data"]) == ["ca.pem", "worker.key", "worker.pem"]


def test_scale_changes_both_numbers_of_an_elastic_job(server, script, capsys):
    submit(script, "--elastic", "1:4")
    assert cli.main(["scale", "3", "--dry-run"]) == 0
    assert "Job/cnn: would be 2 -> 3 workers" in capsys.readouterr().out
    spec = server.store.get(Key("batch/v1", "Job", "training", "cnn"))["spec"]
    assert spec["parallelism"] == 2
    assert cli.main(["scale", "4"]) == 0
    spec = server.store.get(Key("batch/v1", "Job", "training", "cnn"))["spec"]
    assert (spec["completions"], spec["parallelism"]) == (4, 4)
    assert "Job/cnn: 2 -> 4 workers" in capsys.readouterr().out
    assert cli.main(["scale", "cnn", "5"]) == 64
    assert "1 to 4 workers" in capsys.readouterr().err


def test_scale_changes_the_workers_of_an_mpijob_and_says_that_mpirun_starts_again(
    server, script, capsys
):
    submit(script, "--kind", "mpijob", "--elastic", "1:4")
    assert cli.main(["scale", "cnn", "4"]) == 0
    key = Key("kubeflow.org/v2beta1", "MPIJob", "training", "cnn")
    roles = server.store.get(key)["spec"]["mpiReplicaSpecs"]
    assert [roles[role]["replicas"] for role in ("Launcher", "Worker")] == [1, 4]
    said = capsys.readouterr().out
    assert "MPIJob/cnn: 2 -> 4 workers" in said
    assert "started again" in said
    cli.main(["status", "cnn"])
    assert "0 of 4 workers ready, elastic from 1 to 4" in capsys.readouterr().out
    assert cli.main(["scale", "cnn", "5"]) == 64
    assert "1 to 4 workers" in capsys.readouterr().err


def test_an_mpijob_without_bounds_has_a_fixed_size(server, script, capsys):
    submit(script, "--kind", "mpijob")
    assert cli.main(["scale", "cnn", "1"]) == 64
    assert "MPIJob/cnn of fixed size" in capsys.readouterr().err


def test_scale_refuses_a_job_of_fixed_size(server, script, capsys):
    submit(script)
    assert cli.main(["scale", "cnn", "4"]) == 64
    assert "--elastic MIN:MAX" in capsys.readouterr().err


def test_status_tells_what_failed_first_with_its_output(server, script, logs, capsys):
    submit(script)
    add_pod(server, "cnn", 0, **ended(75, "2026-01-01T00:00:01Z"))
    add_pod(server, "cnn", 1, **ended(1, "2026-01-01T00:00:02Z"))
    (logs / "cnn-1-abc").write_text("Traceback\nValueError: no such file\n")
    condition = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy"}
    set_status(server, "cnn", conditions=[condition])
    assert cli.main(["status", "cnn"]) == 1
    output = capsys.readouterr().out
    assert "Job/cnn: failed (PodFailurePolicy)" in output
    assert "rank 1 failed first: failed: exit code 1" in output
    assert "[rank 1] ValueError: no such file" in output


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ended(137, "", reason="OOMKilled"), "killed: out of memory"),
        (ended(139, ""), "killed by signal 11 (SIGSEGV)"),
        (
            ended(143, "") | {"conditions": [
                {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
            ]},
            "evicted: EvictionByEvictionAPI",
        ),
        (
            {"phase": "Pending", "containerStatuses": [
                {"name": "worker", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
            ]},
            "waits: ImagePullBackOff",
        ),
        (
            {"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "False", "message": "0/3 nodes have room"}
            ]},
            "waits for a node: 0/3 nodes have room",
        ),
    ],
)  # fmt: skip
def test_status_says_in_words_what_a_pod_does(server, script, capsys, status, words):
    submit(script)
    add_pod(server, "cnn", 0, **status)
    cli.main(["status", "cnn"])
    assert words in capsys.readouterr().out


def test_logs_have_the_rank_before_each_line(server, script, logs, capsys):
    submit(script)
    for index in range(2):
        add_pod(server, "cnn", index, phase="Running")
        (logs / f"cnn-{index}-abc").write_text(f"a{index}\nb{index}")
    assert cli.main(["logs", "cnn"]) == 0
    assert capsys.readouterr().out.endswith("[rank 0] a0\n[rank 0] b0\n[rank 1] a1\n[rank 1] b1\n")
    assert cli.main(["logs", "--rank", "1", "--tail", "1"]) == 0
    assert capsys.readouterr().out == "[rank 1] b1\n"
    assert cli.main(["logs", "--rank", "7"]) == 64


def test_followed_logs_end_with_the_job(server, script, logs, capsys):
    submit(script)
    add_pod(server, "cnn", 0, phase="Running")
    log = logs / "cnn-0-abc"
    log.write_text("one\n")
    done: list[int] = []
    follower = threading.Thread(target=lambda: done.append(cli.main(["logs", "-f"])), daemon=True)
    follower.start()
    with log.open("a") as stream:
        stream.write("two\n")
    key = Key("v1", "Pod", "training", "cnn-0-abc")
    server.store.patch(key, {"status": {"phase": "Succeeded"}}, subresource="status")
    set_status(server, "cnn", conditions=[{"type": "Complete", "status": "True"}])
    follower.join(60)
    assert done == [0]
    assert capsys.readouterr().out.endswith("[rank 0] one\n[rank 0] two\n")


@pytest.mark.parametrize(
    ("condition", "code"), [({"type": "Complete"}, 0), ({"type": "Failed", "reason": "x"}, 1)]
)
def test_wait_ends_with_the_job(server, script, condition, code: int):
    submit(script)
    codes: list[int] = []
    waiter = threading.Thread(target=lambda: codes.append(cli.main(["wait", "cnn"])), daemon=True)
    waiter.start()
    set_status(server, "cnn", conditions=[condition | {"status": "True"}])
    waiter.join(60)
    assert codes == [code]


def test_wait_gives_up_in_time_with_75(server, script, capsys):
    submit(script)
    assert cli.main(["wait", "cnn", "--timeout", "0"]) == 75
    assert "has not ended after 0 s" in capsys.readouterr().err


def test_a_job_of_that_name_must_be_there(server, script, capsys):
    for words in (["status", "x"], ["logs", "x"], ["scale", "x", "2"], ["cancel", "x"], ["wait"]):
        assert cli.main(words) == 64
        assert "expected" in capsys.readouterr().err


def test_a_wrong_token_is_said(server, script, capsys):
    server.token = "another"
    assert submit(script) == 1
    assert "Sign in again" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_75(script, tmp_path, capsys, monkeypatch):
    pytest.importorskip("kubernetes", reason="needs the extra k8s")
    with ApiServer(Store()) as server:
        path = server.kubeconfig(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert cli.main(["status"]) == 75
    assert "cannot be reached" in capsys.readouterr().err


def test_the_missing_client_is_said(script, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes.config", None)
    assert submit(script) == 64
    assert 'pip install "distflow[k8s]"' in capsys.readouterr().err


# What is sent along.


def test_files_and_folders_beside_the_program_keep_their_paths(tmp_path: Path):
    (tmp_path / "lib" / "__pycache__").mkdir(parents=True)
    for name in ("train.py", "lib/model.py", "lib/__pycache__/x.pyc", "lib/.hidden"):
        (tmp_path / name).write_bytes(b"x = 1\n")
    (tmp_path / "lib" / "table.bin").write_bytes(b"\xff\xfe")
    files = code.collect(tmp_path / "train.py", [tmp_path / "lib"])
    assert sorted(files) == ["lib/model.py", "lib/table.bin", "train.py"]
    spec = Spec("a", IMAGE, ("python",), 1, files=files)
    (config,) = code.config_map(spec)
    assert len(config["data"]) == 2
    (binary,) = config["binaryData"]
    (volume,) = code.volumes(spec)
    paths = {item["key"]: item["path"] for item in volume["configMap"]["items"]}
    assert paths[binary] == "lib/table.bin"
    assert set(paths) == {*config["data"], binary}


def test_what_is_too_large_for_a_config_map_is_refused(tmp_path: Path):
    (tmp_path / "train.py").write_bytes(b"#" * (code.MOST_BYTES + 1))
    with pytest.raises(SpecError, match="at most 900 KiB"):
        code.collect(tmp_path / "train.py", [])


def test_files_of_elsewhere_are_refused(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train.py").touch()
    (tmp_path / "b.py").touch()
    with pytest.raises(SpecError, match=r"beside train\.py"):
        code.collect(tmp_path / "a" / "train.py", [tmp_path / "b.py"])
    with pytest.raises(SpecError, match="not there"):
        code.collect(tmp_path / "a" / "none.py", [])


# What cannot be.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Upper"}, "lower-case"),
        ({"name": "d" * 63}, "short enough"),
        ({"image": "x"}, "tag other than latest"),
        ({"image": "x:latest"}, "tag other than latest"),
        ({"command": ()}, "a program"),
        ({"workers": 0}, "1 or more"),
        ({"kind": "pod"}, "one of job"),
        ({"replicas": 1}, "at least as many"),
        ({"elastic": (3, 4)}, "3 <= workers"),
        ({"elastic": (1, 4), "kind": "jobset"}, "the kind job or mpijob"),
        ({"kind": "mpijob", "command": ("sh", "train.sh")}, "a program of Python's"),
        ({"memory": "much"}, "a quantity"),
        ({"shared_memory": "1Gi"}, "less than the memory"),
        ({"port": 80}, "1024 to 65535"),
        ({"metrics_port": 7117}, "another than the port"),
        ({"variables": {"DISTFLOW_RANK": "1"}}, "does not set itself"),
        ({"variables": {"AWS_SECRET_KEY": "1"}}, "no secrets"),
        ({"claim_size": "1Gi"}, "a claim's name"),
        ({"kind": "mpijob", "tls_secret": "x"}, "not encrypted"),
    ],
)
def test_a_job_that_cannot_be_is_refused(fields: dict[str, Any], message: str):
    common = {"name": "a", "image": IMAGE, "command": ("python",), "workers": 2}
    with pytest.raises(SpecError, match=message):
        Spec(**(common | fields))


@pytest.mark.parametrize(
    "words",
    [
        ["submit", "-n", "2", "train.py"],
        ["submit", "--k8s", "-n", "2", "train.py"],
        ["submit", "--k8s", "-n", "2", "--image", IMAGE],
        ["submit", "--k8s", "-n", "2", "--image", IMAGE, "/nowhere/train.py"],
        ["submit", "--k8s", "-n", "2", "--image", IMAGE, "--include", "x", "-m", "train"],
    ],
)
def test_a_wrong_command_line_is_64(words: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        sys.exit(cli.main(words))  # the parser ends the program by itself
    assert end.value.code == 64
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["submit", "status", "logs", "scale", "cancel", "wait", "lint-k8s"]
)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"distflow {command}" in capsys.readouterr().out.partition("example")[2]


def test_bounds_are_read_from_the_job():
    jobs = {name: view.JobView(render(spec)[-1], "running", "") for name, spec in SPECS.items()}
    assert operate.bounds_of(jobs["job-grpc-elastic"]) == (1, 4)
    assert operate.bounds_of(jobs["mpijob"]) == (1, 4)
    assert [operate.bounds_of(jobs[n]) for n in ("job-grpc", "jobset")] == [None] * 2
    fixed = render(dataclasses.replace(SPECS["mpijob"], elastic=None))[-1]
    assert operate.bounds_of(view.JobView(fixed, "running", "")) is None
    assert {job.size for job in jobs.values()} == {2}


def test_inside_a_pod_its_service_account_signs_in(tmp_path: Path, monkeypatch):
    inside = pytest.importorskip("kubernetes.config.incluster_config", reason="needs extra k8s")
    files = certificates.make(tmp_path)
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text(TOKEN)
    (account / "namespace").write_text("training")
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setattr(inside, "SERVICE_TOKEN_FILENAME", str(account / "token"))
    monkeypatch.setattr(inside, "SERVICE_CERT_FILENAME", str(files[0]))
    monkeypatch.setattr(cluster, "_SERVICE_ACCOUNT", account)
    with ApiServer(Store(), tls=files) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])
        found = connect()
        assert found.namespace == "training"
        assert found.list("Job") == []
        assert server.requests == ["GET /apis/batch/v1/namespaces/training/jobs?labelSelector="]


def test_connect_names_the_context_that_is_not_there(server: ApiServer):
    with pytest.raises(UsageError, match="expected a cluster"):
        connect(context="other")
