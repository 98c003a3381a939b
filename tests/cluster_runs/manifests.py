"""The manifests of deploy/k8s as these tests run them: the same objects, another program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.deploy import kustomize, sources

Object = dict[str, Any]
# Containers see the repository at its own path.
ELASTIC_JOB = sources.ROOT / "tests/elastic/elastic_job.py"
KEPT_JOB = sources.ROOT / "tests/cluster_runs/kept_job.py"
DIGITS = sources.ROOT / "examples/multi_worker_digits.py"


def overlay(name: str) -> list[Object]:
    """Returns the objects of an overlay, rendered."""
    return kustomize.render(sources.DEPLOY / "k8s/overlays" / name)


def with_claim(name: str, folder: Path) -> list[Object]:
    """Returns the objects of an overlay that has the component pvc."""
    shutil.copytree(sources.DEPLOY / "k8s", folder / "k8s")
    place = folder / "k8s/overlays" / name
    with (place / "kustomization.yaml").open("a") as file:
        file.write("components:\n  - ../../components/pvc\n")
    return kustomize.render(place)


def the(manifests: list[Object], kind: str) -> Object:
    """Returns the only object of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def container(manifests: list[Object]) -> Object:
    """Returns the Job's container."""
    return the(manifests, "Job")["spec"]["template"]["spec"]["containers"][0]


def run(manifests: list[Object], *words: str, **env: str) -> list[Object]:
    """Has the Job's container run another program, with variables set or added."""
    box = container(manifests)
    box["command"] = [box["command"][0], *words]
    box["env"] = [entry for entry in box["env"] if entry["name"] not in env]
    box["env"] += [{"name": name, "value": value} for name, value in env.items()]
    return manifests


def golden(*words: str, **env: str) -> str:
    """Returns what one process without any cluster prints."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")}
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=kept | env, timeout=110,
        check=True,
    )  # fmt: skip
    return done.stdout
