"""The API server of the tests over HTTP: what clients send, and what comes back."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distflow_launcher.kubernetes.render import render

from tests.deploy.specs import SPECS
from tests.fakekube import patches
from tests.fakekube.server import TOKEN, ApiServer
from tests.fakekube.store import Key, Store

JOBS = "/apis/batch/v1/namespaces/default/jobs"
SECONDS = 30


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(Store(), log_file=lambda pod, container: tmp_path / "log") as server:
        yield server


def send(
    server: ApiServer, method: str, path: str, body: Any = None, kind: str = "application/json"
) -> tuple[int, Any]:
    """Returns (status, decoded body)."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
    request = urllib.request.Request(server.url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def a_job() -> dict[str, Any]:
    return render(SPECS["job-grpc"])[-1]


def test_an_object_is_made_read_listed_and_deleted(server: ApiServer):
    code, made = send(server, "POST", JOBS, a_job())
    assert (code, made["metadata"]["namespace"]) == (201, "default")
    assert send(server, "GET", f"{JOBS}/digits") == (200, made)
    code, found = send(server, "GET", f"{JOBS}?labelSelector=app.kubernetes.io/instance%3Ddigits")
    assert (found["kind"], found["items"]) == ("JobList", [made])
    assert send(server, "GET", f"{JOBS}?labelSelector=a%3Db")[1]["items"] == []
    assert send(server, "DELETE", f"{JOBS}/digits")[0] == 200
    assert send(server, "GET", f"{JOBS}/digits")[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "change", "code", "reason"),
    [
        ("GET", f"{JOBS}/none", {}, 404, "NotFound"),
        ("GET", "/apis/batch/v1/namespaces/default/cronjobs", {}, 404, "NotFound"),
        ("GET", "/apis/batch/v2", {}, 404, "NotFound"),
        ("POST", JOBS, {"kind": "Pod"}, 400, "BadRequest"),
        ("POST", JOBS, {"metadata": {"name": "UPPER"}}, 422, "Invalid"),
        ("POST", JOBS, {"spec": {"comand": []}}, 422, "Invalid"),
        ("PUT", JOBS, {}, 405, "MethodNotAllowed"),
    ],
)
def test_a_refusal_is_a_status(server, method, path, change, code, reason):
    answer, status = send(server, method, path, None if method == "GET" else a_job() | change)
    assert (answer, status["kind"], status["reason"], status["code"]) == (
        code, "Status", reason, code,
    )  # fmt: skip


def test_a_name_is_taken_once(server: ApiServer):
    send(server, "POST", JOBS, a_job())
    code, status = send(server, "POST", JOBS, a_job())
    assert (code, status["reason"]) == (409, "AlreadyExists")


def test_an_old_version_conflicts(server: ApiServer):
    _, old = send(server, "POST", JOBS, a_job())
    patch = {"metadata": {"labels": {"a": "b"}}}
    merge = "application/merge-patch+json"
    assert send(server, "PATCH", f"{JOBS}/digits", patch, merge)[0] == 200
    code, status = send(server, "PUT", f"{JOBS}/digits", old)
    assert (code, status["reason"]) == (409, "Conflict")


def test_without_the_token_nothing_is_answered(server: ApiServer):
    request = urllib.request.Request(server.url + "/api", headers={"Authorization": "Bearer no"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=SECONDS)
    caught.value.close()
    assert caught.value.code == 401


def test_a_job_changes_its_size_whole_or_not_at_all(server: ApiServer):
    send(server, "POST", JOBS, a_job())
    merge = "application/merge-patch+json"
    both = {"spec": {"completions": 3, "parallelism": 3}}
    assert send(server, "PATCH", f"{JOBS}/digits", both, merge)[0] == 200
    code, status = send(server, "PATCH", f"{JOBS}/digits", {"spec": {"completions": 4}}, merge)
    assert code == 422
    assert "immutable" in status["message"]


def test_a_dry_run_changes_nothing(server: ApiServer):
    assert send(server, "POST", f"{JOBS}?dryRun=All", a_job())[0] == 201
    assert send(server, "GET", f"{JOBS}/digits")[0] == 404


def test_a_watch_tells_of_changes_until_it_ends(server: ApiServer):
    _, made = send(server, "POST", JOBS, a_job())
    lines: list[dict[str, Any]] = []
    version = made["metadata"]["resourceVersion"]

    def watch() -> None:
        path = f"{JOBS}?watch=1&resourceVersion={version}&timeoutSeconds={SECONDS}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(server.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            for line in answer:
                lines.append(json.loads(line))
                if lines[-1]["type"] == "DELETED":
                    return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    send(server, "PATCH", f"{JOBS}/digits", {"spec": {"suspend": True}},
         "application/merge-patch+json")  # fmt: skip
    send(server, "DELETE", f"{JOBS}/digits")
    thread.join(SECONDS)
    assert [line["type"] for line in lines] == ["MODIFIED", "DELETED"]
    assert lines[0]["object"]["spec"]["suspend"] is True


def test_the_log_of_a_pod_is_read_and_followed_to_its_end(server: ApiServer, tmp_path: Path):
    log = tmp_path / "log"
    log.write_text("one\ntwo\n")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    pod["spec"] = {"containers": [{"name": "main"}]}
    server.store.create(pod)
    path = f"{server.url}/api/v1/namespaces/default/pods/p/log"

    def read(query: str = "") -> str:
        request = urllib.request.Request(path + query, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return str(answer.read(), "utf-8")

    assert read() == "one\ntwo\n"
    assert read("?tailLines=1") == "two\n"
    texts: list[str] = []
    thread = threading.Thread(target=lambda: texts.append(read("?follow=true")), daemon=True)
    thread.start()
    with log.open("a") as stream:
        stream.write("three\n")
    status = {"status": {"phase": "Succeeded"}}
    server.store.patch(Key("v1", "Pod", "default", "p"), status, subresource="status")
    thread.join(SECONDS)
    assert texts == ["one\ntwo\nthree\n"]


def test_strategic_merge_follows_the_directives():
    old = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "x": {"a": 1, "b": 2}}
    patch = {
        "env": [{"name": "C", "value": "3"}, {"$patch": "delete", "name": "A"}],
        "$setElementOrder/env": [{"name": "B"}, {"name": "C"}],
        "x": {"$retainKeys": ["b"], "b": 3},
    }
    assert patches.strategic(old, patch) == {
        "env": [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}],
        "x": {"b": 3},
    }


def test_strategic_merge_replaces_lists_of_no_key():
    assert patches.strategic({"args": ["a", "b"]}, {"args": ["c"]}) == {"args": ["c"]}
    assert patches.strategic({"env": [{"name": "A"}]}, {"env": None}) == {}
