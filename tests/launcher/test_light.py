"""The launcher of workers that share a host loads neither tensors nor NumPy."""

import subprocess
import sys

import pytest


def imported_after(code):
    """Returns the modules of a fresh process after some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.spawn
def test_the_rendezvous_is_loaded_without_tensors_and_numpy():
    found = imported_after(
        "from distflow_launcher import light; light.load('cluster.rendezvous').RendezvousServer"
    )
    assert "distflow.cluster.rendezvous" in found
    assert not {"numpy", "distflow.core", "distflow.ops"} & found


@pytest.mark.spawn
def test_the_command_line_of_run_loads_nothing_of_distflow():
    found = imported_after("from distflow_launcher import cli; cli.build_parser('run')")
    assert not {name for name in found if name.split(".")[0] in ("distflow", "grpc", "numpy")}


@pytest.mark.spawn
def test_a_package_that_was_imported_stays_whole():
    found = imported_after(
        "import distflow as tf\nfrom distflow_launcher import light\n"
        "light.load('cluster.rendezvous')\nassert tf.constant(1.0) is not None"
    )
    assert "distflow.core" in found
