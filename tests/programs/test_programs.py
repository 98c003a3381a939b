"""Programs as TF2's users write them run unchanged, and give TensorFlow's numbers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import distflow as tf
from tests.programs import table

PROGRAMS = table.programs()


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tf.keras.backend.clear_session()


@pytest.mark.parametrize("name", table.cases(PROGRAMS))
def test_program_gives_recorded_numbers(name):
    got = table.plain(PROGRAMS[name](tf, np))
    assert not table.differences(got, table.golden()[name])


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", table.cases(PROGRAMS))
def test_program_gives_tensorflows_numbers(name, monkeypatch):
    tensorflow = pytest.importorskip("tensorflow")
    Path("tensorflow").mkdir()
    monkeypatch.chdir("tensorflow")
    expected = table.plain(PROGRAMS[name](tensorflow, np))
    monkeypatch.chdir("..")
    got = table.plain(PROGRAMS[name](tf, np))
    assert not table.differences(got, expected)


def test_every_golden_result_has_a_program():
    assert set(table.golden()) == set(PROGRAMS)


@pytest.mark.spawn
def test_rooms_loaded_after_the_seed_do_not_move_it(tmp_path):
    script = tmp_path / "seeded.py"
    script.write_text(
        "import random, sys\n"
        "import distflow as tf\n"
        "tf.keras.utils.set_random_seed(7)\n"
        "state = random.getstate()\n"
        "model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Flatten()])\n"
        "model.compile('sgd', 'mse')\n"
        "model.summary(print_fn=lambda *args, **_: None)\n"
        "sys.exit(0 if random.getstate() == state else 1)\n"
    )
    root = Path(tf.__file__).parents[1]
    assert (
        subprocess.run(
            [sys.executable, script],
            cwd=root,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(root)},
        ).returncode
        == 0
    )
