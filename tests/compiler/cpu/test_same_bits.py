"""Whole training runs end with the same bits on any number of threads and any vector unit."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distflow.compiler.cpu import isa

pytest.importorskip("llvmlite")

JOB = Path(__file__).with_name("same_bits_job.py")
# Batches that leave remainders; few enough for the units without FMA, which emulate it.
BATCHES = {"cnn": 5, "resnet": 5, "gpt": 2, "lstm": 7}


def weights(model, steps, batch, **environment):
    done = subprocess.run(
        [sys.executable, str(JOB), model, str(steps), str(batch)],
        capture_output=True, text=True, timeout=550, check=False,
        env={**os.environ, "DISTFLOW_EXECUTOR": "cpu", "DISTFLOW_THREADS": "2", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"sha256=([0-9a-f]{64})", done.stdout)


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", BATCHES)
def test_weights_after_50_steps_do_not_depend_on_threads_or_vector_unit(model):
    batch = BATCHES[model]
    expected = weights(model, 50, batch)
    assert weights(model, 50, batch, DISTFLOW_THREADS="1") == expected
    assert weights(model, 50, batch, DISTFLOW_THREADS="3") == expected
    if "avx2" in isa.offered():
        assert weights(model, 50, batch, DISTFLOW_CPU="avx2") == expected


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.timeout(600)
@pytest.mark.parametrize("model", BATCHES)
def test_units_without_fma_emulate_it(model):
    batch = BATCHES[model]
    expected = weights(model, 2, 2 if batch > 2 else 1)
    assert weights(model, 2, 2 if batch > 2 else 1, DISTFLOW_CPU="generic") == expected
