"""The real kubectl applies, lists and deletes what is rendered, at the tests' API server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from distflow_launcher.kubernetes.render import render

from tests.deploy import sources
from tests.deploy.specs import SPECS
from tests.fakekube import certificates
from tests.fakekube.server import ApiServer
from tests.fakekube.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.spawn]
Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not on PATH")
    files = certificates.make(tmp_path)
    with ApiServer(Store(), tls=files) as server:
        authority = {"certificate-authority": str(files[0])}
        config = server.kubeconfig(tmp_path, **authority)

        def call(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
            done = subprocess.run(
                [program, *words],
                env={"KUBECONFIG": str(config), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == code, done.stderr
            return done

        yield call


def test_an_overlay_is_applied_twice_changed_and_deleted(kubectl: Kubectl):
    overlay = str(sources.DEPLOY / "k8s/overlays/job-grpc-elastic")
    assert kubectl("apply", "-k", overlay).stdout.count(" created") == 4
    # kubectl patches the selector of a PodDisruptionBudget each time, and says so.
    assert kubectl("apply", "-k", overlay).stdout.count(" unchanged") == 3
    size = '{"spec": {"completions": 4, "parallelism": 4}}'
    kubectl("patch", "job", "digits-elastic", "-p", size)
    number = kubectl("get", "job", "digits-elastic", "-o", "jsonpath={.spec.parallelism}")
    assert number.stdout == "4"
    refused = kubectl(
        "patch", "job", "digits-elastic", "-p", '{"spec": {"completions": 1}}', code=1
    )
    assert "immutable" in refused.stderr
    assert kubectl("delete", "-k", overlay).stdout.count(" deleted") == 4


def test_what_python_renders_of_every_kind_is_applied_listed_and_deleted(
    kubectl: Kubectl, tmp_path: Path
):
    manifests = [manifest for name in sorted(SPECS) for manifest in render(SPECS[name])]
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    made = kubectl("apply", "--validate=strict", "-f", str(file)).stdout
    assert made.count(" created") == len(manifests)
    kinds = "jobs,jobsets,mpijobs,trainjobs,trainingruntimes,services,networkpolicies,pdb"
    listed = kubectl("get", kinds, "-o", "name").stdout.split()
    assert len(listed) == len(manifests)
    assert kubectl("delete", "-f", str(file)).stdout.count(" deleted") == len(manifests)
    assert kubectl("get", kinds, "-o", "name").stdout == ""


def test_a_misspelled_field_is_refused(kubectl: Kubectl, tmp_path: Path):
    job = render(SPECS["job-grpc"])[-1]
    job["spec"]["paralelism"] = 2
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job))
    assert "paralelism" in kubectl("apply", "-f", str(file), code=1).stderr
