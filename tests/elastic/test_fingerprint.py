"""What a host computes, in a few digests."""

import json
import os
import subprocess
import sys

import pytest

CODE = (
    "import distflow\nfrom distflow.distribute.fingerprint import fingerprint\nprint(fingerprint())"
)


def fingerprint(**environment):
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    return dict(json.loads(done.stdout))


@pytest.mark.spawn
def test_two_processes_have_the_same_fingerprint():
    assert fingerprint() == fingerprint()


@pytest.mark.spawn
def test_another_executor_is_seen():
    one, other = (fingerprint(DISTFLOW_EXECUTOR=name) for name in ("numpy", "cpu"))
    assert (one["executor"], other["executor"]) == ("numpy", "cpu")


@pytest.mark.spawn
def test_another_blas_kernel_is_seen():
    """Where BLAS is OpenBLAS for x86: elsewhere the variable changes nothing."""
    found = {fingerprint(OPENBLAS_CORETYPE=kind)["BLAS"] for kind in ("Prescott", "Haswell")}
    if len(found) == 1:
        pytest.skip("this NumPy takes the same BLAS kernels for both")
