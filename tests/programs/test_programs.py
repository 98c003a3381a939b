"""Programs as TF2's users write them run unchanged, and give TensorFlow's numbers."""

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
def test_program_gives_tensorflows_numbers(name):
    tensorflow = pytest.importorskip("tensorflow")
    expected = table.plain(PROGRAMS[name](tensorflow, np))
    got = table.plain(PROGRAMS[name](tf, np))
    assert not table.differences(got, expected)


def test_every_golden_result_has_a_program():
    assert set(table.golden()) == set(PROGRAMS)
