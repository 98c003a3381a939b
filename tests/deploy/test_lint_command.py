"""`distflow lint-k8s` as its users see it: lines, exit codes, what it reads."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import yaml
from distflow_launcher import cli
from distflow_launcher.kubernetes.lint import rules
from distflow_launcher.kubernetes.render import render

from tests.deploy import sources
from tests.deploy.specs import SPECS


def write(folder: Path, name: str = "job.yaml", **changes: object) -> Path:
    manifests = render(SPECS["job-grpc"])
    manifests[-1]["spec"] |= changes
    path = folder / name
    path.write_text(yaml.safe_dump_all(manifests))
    return path


def test_a_good_file_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["lint-k8s", str(write(tmp_path))]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_fault_is_one_line_with_file_object_and_rule(tmp_path, capsys):
    path = write(tmp_path, backoffLimit=0)
    assert cli.main(["lint-k8s", str(path)]) == 1
    output = capsys.readouterr()
    expected = f"{path}: Job/digits: backoffLimit is below one round of restarts [backoff]\n"
    assert output.out == expected
    assert "1 fault" in output.err


def test_a_folder_is_one_set_of_objects(tmp_path, capsys):
    job, *others = reversed(render(SPECS["job-grpc"]))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    (tmp_path / "rest.yaml").write_text(yaml.safe_dump({"kind": "List", "items": others}))
    assert cli.main(["lint-k8s", str(tmp_path)]) == 0
    assert cli.main(["lint-k8s", str(tmp_path / "job.yaml")]) == 1
    assert "[headless-service]" in capsys.readouterr().out


def test_standard_input_is_read(tmp_path, capsys, monkeypatch):
    text = write(tmp_path, completionMode="NonIndexed").read_text()
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert cli.main(["lint-k8s", "-"]) == 1
    assert "[indexed]" in capsys.readouterr().out


def test_rules_are_left_out_and_objects_said_to_be_there(tmp_path, capsys):
    path = write(tmp_path, backoffLimit=0)
    text = path.read_text().replace("distflow-token", "other")
    path.write_text(text)
    assert cli.main(["lint-k8s", str(path), "--skip", "backoff"]) == 1
    assert "Secret/other is not in the bundle [references]" in capsys.readouterr().out
    words = ["lint-k8s", str(path), "--skip", "backoff", "--external", "Secret/other"]
    assert cli.main(words) == 0


def test_the_rules_are_listed(capsys):
    assert cli.main(["lint-k8s", "--rules"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rules.RULES)


@pytest.mark.spawn
def test_a_kustomize_folder_is_rendered():
    if not (shutil.which("kubectl") or shutil.which("kustomize")):
        pytest.skip("neither kustomize nor kubectl is on PATH")
    for overlay in sources.OVERLAYS:
        assert cli.main(["lint-k8s", str(overlay)]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "expected YAML"),
        ("", "expected manifests; received none"),
        ("kind: Kustomization\napiVersion: kustomize.config.k8s.io/v1beta1", "rendered manifests"),
    ],
)
def test_what_cannot_be_read_is_64(tmp_path, capsys, text: str, message: str):
    (tmp_path / "x.yaml").write_text(text)
    assert cli.main(["lint-k8s", str(tmp_path / "x.yaml")]) == 64
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--skip", "backof", "x"], ["/nowhere/x.yaml"]])
def test_a_wrong_command_line_is_64(capsys, words: list[str]):
    assert cli.main(["lint-k8s", *words]) == 64
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "3", "kind: Job", "kind: Job\nmetadata: {name: 1}"])
def test_what_is_no_object_breaks_the_rule_shape(tmp_path, capsys, text: str):
    (tmp_path / "x.yaml").write_text(text)
    assert cli.main(["lint-k8s", str(tmp_path / "x.yaml")]) == 1
    assert "[shape]" in capsys.readouterr().out
