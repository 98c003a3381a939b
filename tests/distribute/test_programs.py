"""Whole programs in the style of TF's tutorials, on one worker and on two, by every way to start.

Each prints lines "result ..."; with V = 3 replicas they are the same for one worker and for two.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ports

PROGRAMS = Path(__file__).with_name("programs")
REPLICAS = "3"
pytestmark = [pytest.mark.slow, pytest.mark.spawn]


def environment(**more):
    return {**os.environ, "DISTFLOW_REPLICAS": REPLICAS, "DISTFLOW_TIMEOUT": "30", **more}


def results(text):
    return re.findall(r"result .*", text)


def alone(program, *arguments):
    """Returns the lines that one process prints."""
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / program), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return results(done.stdout)


def launched(program, *arguments):
    """Returns the lines of each of two workers that the launcher starts over gRPC."""
    command = [sys.executable, "-m", "distflow_launcher", "run", "-n", "2", "--backend", "grpc"]
    done = subprocess.run(
        [*command, str(PROGRAMS / program), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return [
        results("\n".join(line for line in done.stdout.splitlines() if f"[rank {rank}]" in line))
        for rank in range(2)
    ]


def with_tf_config(program, *arguments):
    """Returns the lines of two processes with a TF_CONFIG set by hand."""
    addresses = ports.held_addresses(2)
    workers = []
    for index in range(2):
        config = {
            "cluster": {"worker": addresses}, "task": {"type": "worker", "index": index},
        }  # fmt: skip
        workers.append(
            subprocess.Popen(
                [sys.executable, str(PROGRAMS / program), *map(str, arguments)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env=environment(TF_CONFIG=json.dumps(config)),
            )
        )  # fmt: skip
    try:
        texts = [worker.communicate(timeout=60)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(texts)
    return [results(text) for text in texts]


def test_keras_on_one_machine(tmp_path):
    alone("keras_on_one_machine.py", tmp_path)


def test_a_custom_loop_prints_the_same_on_one_and_two_workers():
    lines = alone("custom_loop.py")
    assert len(lines) == 4
    assert alone("custom_loop.py", "mirrored") == lines
    assert launched("custom_loop.py") == [lines, lines]
    assert with_tf_config("custom_loop.py") == [lines, lines]


@pytest.mark.parametrize("start", [launched, with_tf_config])
def test_keras_on_workers_prints_the_same_as_alone(tmp_path, start):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    lines = alone("keras_on_workers.py", tmp_path / "one")
    assert "epochs=3" in lines[0], "EarlyStopping must stop after its patience"
    assert start("keras_on_workers.py", tmp_path / "two") == [lines, lines]
    written = sorted(path.name for path in (tmp_path / "two").glob("*.keras"))
    assert written == ["at-1.keras", "at-2.keras", "at-3.keras", "saved.keras"]


@pytest.mark.parametrize("start", [launched, with_tf_config])
def test_a_custom_loop_with_one_pipeline_a_worker(tmp_path, start):
    first, second = start("custom_loop_on_workers.py", tmp_path)
    assert len(first) == 3
    assert first == second
    assert (tmp_path / "ckpt.weights.h5").exists()


def test_a_custom_loop_with_one_pipeline_alone(tmp_path):
    assert len(alone("custom_loop_on_workers.py", tmp_path)) == 3
