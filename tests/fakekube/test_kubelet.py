"""The tests' kubelet does to a container what a node does: files, user, names, signals, probes."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakekube import network, volumes
from tests.fakekube.cgroup import quantity
from tests.fakekube.kubelet import Kubelet
from tests.fakekube.store import Key, Store, key_of

pytestmark = pytest.mark.spawn
FACTS = """
import json, os, socket
def text(path):
    return open(path).read()
def is_writable(folder):
    try:
        open(folder + "/probe", "w").close()
    except OSError:
        return False
    return True
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), sorted(os.getgroups())],
    "caps": [l.split()[1] for l in text("/proc/self/status").splitlines() if l[:6] == "CapEff"],
    "cwd": os.getcwd(), "host": socket.gethostname(), "ip": socket.gethostbyname("h.svc"),
    "env": {k: os.environ.get(k) for k in ("A", "B", "C", "NAME", "PATH")},
    "config": text("/config/x"), "key": text("/secret/k"),
    "mode": os.stat("/secret/k").st_mode & 0o777,
    "writable": [p for p in ("/tmp", "/usr", "/etc", "/config", "/workspace") if is_writable(p)],
    "devices": os.listdir("/sys/class/net"),
}))
"""


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    lost = network.missing()
    if lost:
        pytest.skip(f"no pods as processes here: {lost}")
    tmp_path.chmod(0o755)
    with Kubelet(Store(), tmp_path / "node") as made:
        yield made
    made.store.close()


def pod(*command: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "command": list(command), **spec.pop("container", {})}
    whole = {"restartPolicy": "Never", "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": whole}


def wait(kubelet: Kubelet, made: dict[str, Any], holds: Callable[[dict[str, Any]], Any]) -> Any:
    over = time.monotonic() + 60
    while time.monotonic() < over:
        found = kubelet.store.get(key_of(made))
        if holds(found.get("status", {})):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{found}\n{kubelet.log(made)}")


def ended(kubelet: Kubelet, made: dict[str, Any]) -> dict[str, Any]:
    found = wait(kubelet, made, lambda status: status.get("phase") in ("Succeeded", "Failed"))
    return found["status"]["containerStatuses"][0]["state"]["terminated"]


def test_a_container_sees_what_its_manifest_says(kubelet: Kubelet):
    kubelet.store.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"x": "1"}}
    )
    key = base64.b64encode(b"s3cret").decode()
    kubelet.store.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": key}}
    )
    kubelet.store.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "svc"},
         "spec": {"clusterIP": "None", "selector": {"app": "a"}, "publishNotReadyAddresses": True}}
    )  # fmt: skip
    manifest = pod(
        "python", "-c", FACTS, hostname="h", subdomain="svc", shareProcessNamespace=True,
        securityContext={"runAsUser": 10001, "runAsGroup": 10002, "fsGroup": 10003},
        volumes=[{"name": "t", "emptyDir": {}}, {"name": "c", "configMap": {"name": "cm"}},
                 {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o400}}],
        container={
            "env": [
                {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"},
                {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "securityContext": {"readOnlyRootFilesystem": True},
            "volumeMounts": [{"name": "t", "mountPath": "/tmp"},
                             {"name": "c", "mountPath": "/config", "readOnly": True},
                             {"name": "s", "mountPath": "/secret", "readOnly": True}],
        },
    )  # fmt: skip
    manifest["metadata"]["labels"] = {"app": "a"}
    made = kubelet.store.create(manifest)
    assert ended(kubelet, made)["exitCode"] == 0, kubelet.log(made)
    facts = json.loads(kubelet.log(made))
    ip = kubelet.store.get(key_of(made))["status"]["podIP"]
    assert facts["ids"] == [10001, 10002, [10003]]
    assert facts["caps"] == ["0000000000000000"]
    assert (facts["cwd"], facts["host"], facts["ip"]) == ("/workspace", "h", ip)
    path = facts["env"].pop("PATH")
    assert facts["env"] == {"A": "1", "B": "12", "C": "s3cret", "NAME": "p"}
    assert "/opt/venv/bin" in path
    assert (facts["config"], facts["key"], facts["mode"]) == ("1", "s3cret", 0o440)
    assert facts["writable"] == ["/tmp"]
    assert sorted(facts["devices"]) == ["eth0", "lo"]


HEAR = "import signal, sys, time; {}; print('ready', flush=True); time.sleep(100)"


def deleted(kubelet: Kubelet, program: str, *, shared: bool, grace: float) -> tuple[int, float]:
    """Runs a program, deletes its pod, and returns (exit code, seconds until it was gone)."""
    made = kubelet.store.create(pod("python", "-c", program, shareProcessNamespace=shared))
    over = time.monotonic() + 60
    while "ready" not in kubelet.log(made):
        assert time.monotonic() < over
        time.sleep(0.02)
    run = kubelet.run_of(key_of(made))
    start = time.monotonic()
    kubelet.store.delete(key_of(made), grace_seconds=grace)
    run.join()
    code = run.processes["c"].code
    assert code is not None
    return code, time.monotonic() - start


def test_a_pod_that_hears_sigterm_ends_at_once(kubelet: Kubelet):
    program = HEAR.format("signal.signal(signal.SIGTERM, lambda *a: sys.exit(3))")
    assert deleted(kubelet, program, shared=False, grace=60)[0] == 3


def test_default_signals_end_a_command_that_is_not_the_first_process(kubelet: Kubelet):
    assert deleted(kubelet, HEAR.format("pass"), shared=True, grace=60)[0] == 143


def test_a_deaf_first_process_is_killed_after_the_grace_period(kubelet: Kubelet):
    code, seconds = deleted(kubelet, HEAR.format("pass"), shared=False, grace=0.5)
    assert code == 137
    assert seconds >= 0.5


def test_a_command_that_is_not_there_ends_with_128(kubelet: Kubelet):
    made = kubelet.store.create(pod("no-such-command"))
    assert ended(kubelet, made)["exitCode"] == 128
    assert "no-such-command" in kubelet.log(made)


def test_a_failed_container_starts_again_where_its_policy_says_so(kubelet: Kubelet):
    claim = {"name": "v", "persistentVolumeClaim": {"claimName": "v"}}
    mounts = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    made = kubelet.store.create(
        pod("sh", "-c", "test -e /v/x || { touch /v/x; exit 5; }", restartPolicy="OnFailure",
            volumes=[claim], container=mounts)
    )  # fmt: skip
    assert ended(kubelet, made)["exitCode"] == 0
    status = kubelet.store.get(key_of(made))["status"]
    assert status["containerStatuses"][0]["restartCount"] == 1


SERVE = ("python", "-u", "-m", "http.server", "8000")


@pytest.mark.parametrize(
    "probe",
    [
        {"tcpSocket": {"port": "web"}},
        {"httpGet": {"port": 8000, "path": "/"}},
        {"exec": {"command": ["python", "-c", "import socket;"
                              "socket.create_connection(('127.0.0.1', 8000))"]}},
    ],
    ids=["tcpSocket", "httpGet", "exec"],
)  # fmt: skip
def test_a_pod_is_ready_when_its_probe_says_so(kubelet: Kubelet, probe: dict[str, Any]):
    asked = {**probe, "periodSeconds": 0.1, "timeoutSeconds": 10, "failureThreshold": 1000}
    container = {"readinessProbe": asked, "ports": [{"name": "web", "containerPort": 8000}]}
    made = kubelet.store.create(pod(*SERVE, container=container))
    ready = {"type": "Ready", "status": "True"}
    found = wait(kubelet, made, lambda status: ready in status.get("conditions", []))
    assert found["status"]["phase"] == "Running"


def test_a_pod_that_does_not_live_is_ended(kubelet: Kubelet):
    probe = {"tcpSocket": {"port": 9}, "periodSeconds": 0.1, "failureThreshold": 2}
    made = kubelet.store.create(
        pod("sleep", "100", shareProcessNamespace=True, container={"livenessProbe": probe})
    )
    assert ended(kubelet, made)["exitCode"] == 143


def test_a_pod_waits_for_its_secret(kubelet: Kubelet):
    reference = {"secretKeyRef": {"name": "late", "key": "k"}}
    container = {"env": [{"name": "K", "valueFrom": reference}]}
    made = kubelet.store.create(pod("sh", "-c", "echo $K", container=container))
    wait(kubelet, made, lambda status: "'late' not found" in status.get("message", ""))
    kubelet.store.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"},
         "stringData": {"k": "here"}}
    )  # fmt: skip
    ended(kubelet, made)
    assert kubelet.log(made) == "here\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_is_left_of_a_closed_node(tmp_path: Path):
    if network.missing():
        pytest.skip(f"no pods as processes here: {network.missing()}")
    tmp_path.chmod(0o755)
    with Kubelet(Store(), tmp_path / "node") as made:
        found = made.store.create(pod("sh", "-c", "trap '' TERM; sleep 5071 & echo ready; wait"))
        over = time.monotonic() + 60
        while "ready" not in made.log(found):
            assert time.monotonic() < over
            time.sleep(0.02)
    left = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not [words for words in left if b"sleep\0005071" in words]
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


def test_values_that_cannot_be_read_are_errors():
    assert [quantity(q) for q in ("512Mi", "250m", "2", 1)] == [512 * 2**20, 0.25, 2, 1]
    with pytest.raises(ValueError, match="not known"):
        quantity("1 GB")
    assert volumes.expand("$(A)/$(B)", {"A": "x"}) == "x/$(B)"
    assert Key("v1", "Pod", "default", "p") == key_of(pod("x"))
