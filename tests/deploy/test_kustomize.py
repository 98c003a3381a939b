"""The renderer of the tests: equal to kubectl's where that is installed, and strict."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy import kustomize, sources

JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: a}
spec:
  template:
    spec:
      containers:
        - name: one
          image: x
          env: [{name: A, value: "1"}, {name: B, value: "2"}]
"""


def _render(folder: Path, kustomization: str, **files: str) -> list[kustomize.Manifest]:
    (folder / "kustomization.yaml").write_text(f"kind: Kustomization\n{kustomization}")
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return kustomize.render(folder)


@pytest.mark.spawn
@pytest.mark.parametrize("overlay", sources.OVERLAYS, ids=lambda path: path.name)
def test_rendering_equals_kubectl(overlay: Path):
    if shutil.which("kustomize"):
        command = ["kustomize", "build", str(overlay)]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(overlay)]
    else:
        pytest.skip("neither kustomize nor kubectl is on PATH")
    output = subprocess.run(command, check=True, capture_output=True, timeout=60, text=True).stdout
    theirs = {kustomize.identity(m): m for m in yaml.safe_load_all(output)}
    ours = {kustomize.identity(m): m for m in kustomize.render(overlay)}
    assert ours == theirs


def test_strategic_merge_joins_lists_by_name_and_puts_new_items_first(tmp_path: Path):
    patch = """
    apiVersion: batch/v1
    kind: Job
    metadata: {name: a}
    spec: {template: {spec: {containers: [
      {name: one, env: [{name: B, value: "3"}, {name: C, value: "4"}]}]}}}
    """
    (job,) = _render(tmp_path, "resources: [job.yaml]\npatches: [{path: p.yaml}]", job=JOB, p=patch)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert [(e["name"], e["value"]) for e in container["env"]] == [
        ("C", "4"),
        ("A", "1"),
        ("B", "3"),
    ]
    assert container["image"] == "x"


def test_strategic_merge_removes_null(tmp_path: Path):
    patch = "{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {template: null}}"
    (job,) = _render(tmp_path, "resources: [job.yaml]\npatches: [{path: p.yaml}]", job=JOB, p=patch)
    assert job["spec"] == {}


def test_custom_resource_lists_are_replaced(tmp_path: Path):
    custom = JOB.replace("batch/v1", "example.com/v1").replace("kind: Job", "kind: Thing")
    patch = """
    apiVersion: example.com/v1
    kind: Thing
    metadata: {name: a}
    spec: {template: {spec: {containers: [{name: two}]}}}
    """
    (thing,) = _render(
        tmp_path, "resources: [job.yaml]\npatches: [{path: p.yaml}]", job=custom, p=patch
    )
    assert thing["spec"]["template"]["spec"]["containers"] == [{"name": "two"}]


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ("[{op: test, path: /spec/template/spec/containers/0/name, value: no}]", "test failed"),
        ("[{op: replace, path: /spec/nothing, value: 1}]", "no target"),
        ("[{op: remove, path: /spec/template/spec/containers/7}]", "no target"),
        ("[{op: move, path: /spec/template, from: /spec}]", "expected add"),
    ],
)
def test_json_patch_that_does_not_fit_is_refused(tmp_path: Path, operations: str, message: str):
    text = "resources: [job.yaml]\npatches: [{path: p.yaml, target: {kind: Job}}]"
    with pytest.raises(kustomize.RenderError, match=message):
        _render(tmp_path, text, job=JOB, p=operations)


def test_patch_without_a_matching_object_is_refused(tmp_path: Path):
    text = "resources: [job.yaml]\npatches: [{path: p.yaml, target: {kind: Service}}]"
    with pytest.raises(kustomize.RenderError, match="no object matches"):
        _render(tmp_path, text, job=JOB, p="[]")


def test_name_changes_only_where_allowed(tmp_path: Path):
    text = "resources: [job.yaml]\npatches: [{path: p.yaml, target: {kind: Job}%s}]"
    rename = "[{op: replace, path: /metadata/name, value: b}]"
    (job,) = _render(tmp_path, text % "", job=JOB, p=rename)
    assert job["metadata"]["name"] == "a"
    (job,) = _render(tmp_path, text % ", options: {allowNameChange: true}", job=JOB, p=rename)
    assert job["metadata"]["name"] == "b"


def test_unknown_fields_are_refused(tmp_path: Path):
    with pytest.raises(kustomize.RenderError, match="namePrefix"):
        _render(tmp_path, "resources: [job.yaml]\nnamePrefix: x-", job=JOB)


def test_the_same_object_twice_is_refused(tmp_path: Path):
    with pytest.raises(kustomize.RenderError, match="once"):
        _render(tmp_path, "resources: [job.yaml, more.yaml]", job=JOB, more=JOB)


@pytest.mark.parametrize(
    ("fields", "image"),
    [
        ("newTag: '2'", "x:2"),
        ("newName: r.example/y, newTag: '2'", "r.example/y:2"),
        ("digest: 'sha256:00'", "x@sha256:00"),
    ],
)
def test_images_are_renamed(tmp_path: Path, fields: str, image: str):
    text = f"resources: [job.yaml]\nimages: [{{name: x, {fields}}}]"
    (job,) = _render(tmp_path, text, job=JOB)
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == image
