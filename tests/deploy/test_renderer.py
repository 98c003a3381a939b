"""The renderer in Python and the Kustomize tree make the same objects."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from distflow_launcher.kubernetes.render import render

from tests.deploy import kustomize, sources
from tests.deploy.specs import COMPONENTS, GRPC_ONLY, MPI_KINDS, SPECS

PAIRS = [
    (overlay, component)
    for overlay in SPECS
    for component in COMPONENTS
    if not (overlay in MPI_KINDS and component in GRPC_ONLY)
]


def by_identity(manifests: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    return {kustomize.identity(manifest): manifest for manifest in manifests}


def with_component(overlay: str, component: str, folder: Path) -> list[dict[str, Any]]:
    """The overlay's objects when its kustomization.yaml names the component."""
    tree = folder / "k8s"
    shutil.copytree(sources.DEPLOY / "k8s", tree)
    with (tree / "overlays" / overlay / "kustomization.yaml").open("a") as stream:
        stream.write(f"components:\n  - ../../components/{component}\n")
    return kustomize.render(tree / "overlays" / overlay)


def test_every_overlay_and_component_is_compared():
    assert sorted(SPECS) == [path.name for path in sources.OVERLAYS]
    folder = sources.DEPLOY / "k8s/components"
    assert sorted(COMPONENTS) == sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("overlay", sorted(SPECS))
def test_overlay_and_renderer_make_the_same_objects(overlay: str):
    theirs = kustomize.render(sources.DEPLOY / "k8s/overlays" / overlay)
    assert by_identity(render(SPECS[overlay])) == by_identity(theirs)


@pytest.mark.parametrize(("overlay", "component"), PAIRS)
def test_component_and_option_make_the_same_objects(overlay: str, component: str, tmp_path: Path):
    theirs = by_identity(with_component(overlay, component, tmp_path))
    asked = dataclasses.replace(SPECS[overlay], **COMPONENTS[component])
    if (
        component == "volcano" and overlay == "job-grpc-elastic"
    ):  # the component says two, as its comment tells
        asked = dataclasses.replace(asked, elastic=(2, 4))
        theirs.pop(("policy/v1", "PodDisruptionBudget", "", asked.name))
        job = theirs["batch/v1", "Job", "", asked.name]["spec"]["template"]["spec"]
        job["containers"][0]["env"][0]["value"] = "2:4"
    ours = by_identity(render(asked))
    if component == "podmonitor":
        # The component's monitor serves all jobs of a namespace, the renderer's is the job's own.
        monitors = ("monitoring.coreos.com/v1", "PodMonitor", "")
        own, shared = ours.pop((*monitors, asked.name)), theirs.pop((*monitors, "distflow"))
        labels = own["spec"]["selector"]["matchLabels"]
        assert labels.pop("app.kubernetes.io/instance") == asked.name
        assert own["spec"] == shared["spec"]
    assert ours == theirs


def test_what_runs_pods_is_made_last():
    for asked in SPECS.values():
        assert render(asked)[-1]["kind"] in ("Job", "JobSet", "MPIJob", "TrainJob")


def test_rendering_twice_gives_the_same_and_shares_nothing():
    first, second = (render(SPECS["job-grpc"]) for _ in range(2))
    assert first == second
    first[-1]["spec"]["template"]["spec"]["containers"][0]["env"].clear()
    assert render(SPECS["job-grpc"]) == second
