"""Every overlay renders, fits the schemas of three Kubernetes versions, and keeps our rules."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from distflow_launcher.kubernetes.lint import rules
from distflow_launcher.kubernetes.lint.bundle import Bundle, environment
from distflow_launcher.kubernetes.render import render
from distflow_launcher.kubernetes.spec import KINDS

from tests.deploy import kustomize, schemas, sources
from tests.deploy.specs import COMPONENTS, GRPC_ONLY, MPI_KINDS, SPECS

EACH_OVERLAY = pytest.mark.parametrize("overlay", sources.OVERLAYS, ids=lambda path: path.name)


OVERLAYS = ["job-grpc", "job-grpc-elastic", "jobset", "mpijob", "trainjob", "trainjob-mpi"]


def test_all_overlays_are_found():
    assert [path.name for path in sources.OVERLAYS] == OVERLAYS


@EACH_OVERLAY
@pytest.mark.parametrize("version", schemas.VERSIONS)
def test_built_in_kinds_fit_the_strict_schema(overlay: Path, version: str):
    manifests = [m for m in kustomize.render(overlay) if not schemas.is_custom(m)]
    assert manifests
    assert [e for m in manifests for e in schemas.errors(m, version, None)] == []


@pytest.mark.parametrize("overlay", ["jobset", "mpijob", "trainjob", "trainjob-mpi"])
def test_custom_kinds_fit_their_closed_crds(overlay: str):
    crds = sources.crds()
    if crds is None:
        pytest.skip("no CRD files: set DISTFLOW_TEST_K8S_CRDS to a folder that holds them")
    manifests = kustomize.render(sources.DEPLOY / "k8s/overlays" / overlay)
    custom = [m for m in manifests if schemas.is_custom(m)]
    assert len(custom) == (2 if overlay.startswith("trainjob") else 1)
    assert [e for m in custom for e in schemas.errors(m, schemas.VERSIONS[0], crds)] == []


@EACH_OVERLAY
def test_overlay_keeps_every_rule(overlay: Path):
    assert rules.broken(Bundle(kustomize.render(overlay))) == {}


@pytest.mark.parametrize("component", sorted(COMPONENTS))
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_with_a_component_keeps_every_rule_and_schema(overlay: str, component: str):
    """By the renderer: test_renderer.py says that the Kustomize tree makes the same."""
    if overlay in MPI_KINDS and component in GRPC_ONLY:
        pytest.skip("MPI's workers have neither TLS nor metrics")
    asked = dataclasses.replace(SPECS[overlay], **COMPONENTS[component])
    manifests = [
        m for m in render(asked) if (m["apiVersion"], m["kind"]) not in schemas.WITHOUT_SCHEMA
    ]
    assert rules.broken(Bundle(render(asked))) == {}
    crds = sources.crds()
    for manifest in manifests:
        if crds is not None or not schemas.is_custom(manifest):
            assert schemas.errors(manifest, schemas.VERSIONS[-1], crds) == []


def test_two_jobs_in_one_namespace_share_no_object():
    rendered = [kustomize.render(overlay) for overlay in sources.OVERLAYS]
    identities = [kustomize.identity(m) for manifests in rendered for m in manifests]
    assert len(set(identities)) == len(identities)


@EACH_OVERLAY
def test_images_are_built_from_what_the_command_names(overlay: Path):
    dockerfile = (sources.DEPLOY / "Dockerfile").read_text()
    assert "COPY examples/ /workspace/examples/" in dockerfile
    words = [
        word
        for pods in Bundle(kustomize.render(overlay)).pods()
        for word in pods.main["command"] + pods.main.get("args", [])
    ]
    assert [w for w in words if w.endswith(".py")] == ["/workspace/examples/multi_worker_digits.py"]


def test_sshd_uses_the_key_where_the_operator_mounts_it():
    manifests = kustomize.render(sources.DEPLOY / "k8s/overlays/mpijob")
    (job,) = [m for m in manifests if m["kind"] == "MPIJob"]
    path = job["spec"]["sshAuthMountPath"]
    server = (sources.DEPLOY / "mpi/sshd_config").read_text().splitlines()
    client = (sources.DEPLOY / "mpi/ssh_config").read_text()
    assert f"HostKey {path}/id_rsa" in server
    assert f"AuthorizedKeysFile {path}/authorized_keys" in server
    assert "Port 2222" in server
    assert f"IdentityFile {path}/id_rsa\n" in client


def test_pods_run_as_the_user_of_the_image():
    dockerfile = (sources.DEPLOY / "Dockerfile").read_text()
    for overlay in sources.OVERLAYS:
        for pods in Bundle(kustomize.render(overlay)).pods():
            user = pods.spec["securityContext"]["runAsUser"]
            assert f"useradd --uid {user} " in dockerfile
            assert f"USER {user}:" in dockerfile


def test_readme_makes_the_secret_that_the_job_needs():
    manifests = kustomize.render(sources.DEPLOY / "k8s/overlays/job-grpc")
    (pods,) = Bundle(manifests).pods()
    assert environment(pods.main)["DISTFLOW_TOKEN"] is None
    (entry,) = [e for e in pods.main["env"] if e["name"] == "DISTFLOW_TOKEN"]
    name = entry["valueFrom"]["secretKeyRef"]["name"]
    readme = (sources.DEPLOY / "kubernetes.md").read_text()
    assert f"kubectl create secret generic {name}" in readme


def test_dockerfile_copies_what_the_build_needs_and_dockerignore_lets_it_pass():
    lines = (sources.DEPLOY / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    names = [name for words in copies if "--from" not in words[0] for name in words]
    copied = {name.rstrip("/") for name in names if not name.startswith("--")}
    ignore = (sources.DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    assert {n for n in copied if not any(n == a or n.startswith(f"{a}/") for a in allowed)} == set()
    build_files = {"pyproject.toml", "setup.py", "README.md", "LICENSE"}
    assert {n for n in build_files if (sources.ROOT / n).exists()} <= copied
    assert {"distflow", "launcher", "examples"} <= copied


def test_ssh_takes_its_settings_whatever_the_mode_of_the_checkout():
    """ssh refuses a file that the group may write, which a checkout with umask 002 has."""
    lines = (sources.DEPLOY / "Dockerfile").read_text().splitlines()
    copies = [line for line in lines if line.startswith("COPY") and "deploy/mpi/ssh" in line]
    assert len(copies) == 2
    assert all("--chmod=0644" in line for line in copies)


def test_the_image_has_every_dependency_by_its_hash():
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11 or later")
    project = tomllib.loads((sources.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        "grpc": project["dependencies"] + extras["keras-io"] + extras["digits"],
        "mpi": extras["mpi"],
    }
    for name, requirements in wanted.items():
        text = (sources.DEPLOY / f"requirements/{name}.txt").read_text()
        blocks = re.split(r"\n(?=[a-z])", re.sub("^#.*\n", "", text, flags=re.M))
        assert all("--hash=sha256:" in block for block in blocks)
        pinned = {block.partition("==")[0] for block in blocks}
        needed = {re.split("[><=;\\[ ]", r)[0].lower().replace("_", "-") for r in requirements}
        assert needed <= pinned


def test_the_page_names_every_overlay_component_and_kind():
    page = (sources.DEPLOY / "kubernetes.md").read_text()
    assert "{job-grpc,job-grpc-elastic,jobset,trainjob,trainjob-mpi,mpijob}" in page
    for name in [*COMPONENTS, *KINDS]:
        assert f"| `{name}` |" in page
