"""compare.py runs, reports who cannot, and judges by the fastest peer."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.fixture
def report(module):
    return module("report")


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    file = tmp_path_factory.mktemp("compare") / "found.json"
    command = [sys.executable, str(BENCHMARKS / "compare.py"), "--models", "mlp", "--rounds", "2"]
    limits = ["--steps", "6", "--seconds", "60", "--peer", "jax=false", "--json", str(file)]
    done = subprocess.run([*command, *limits], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())["models"]["mlp"]


@pytest.mark.slow
@pytest.mark.spawn
def test_each_round_adds_samples_of_training_and_inference(outcome):
    row = outcome[1]["distflow"]
    assert all(len(row[phase]) == 6 for phase in ("train", "infer 1", "infer 64"))


@pytest.mark.slow
@pytest.mark.spawn
@pytest.mark.parametrize("name", ["distflow", "distflow eager"])
def test_the_model_trains(outcome, name):
    first, last = outcome[1][name]["losses"]
    assert last < first


@pytest.mark.slow
@pytest.mark.spawn
def test_a_peer_that_cannot_start_is_named_and_the_others_go_on(outcome):
    assert "- JAX jit: not there: ended with code 1" in outcome[0]


@pytest.mark.spawn
def test_a_process_that_ended_before_it_was_asked_is_a_contestant_error(module):
    session = module("session")
    opened = session.Session("false", module("field").CONTESTANTS[0], "mlp")
    opened._process.wait()
    with pytest.raises(session.ContestantError, match="ended with code 1"):
        opened.ask("first")
    opened.close()


def test_the_bar_is_judged_against_the_fastest_way_of_any_peer(report):
    results = {
        "distflow": {"train": [1.0, 2.0, 30.0]},
        "distflow eager": {"train": [0.1]},
        "TF function": {"train": [8.0]},
        "torch eager": {"train": [4.0]},
        "JAX jit": {},
    }
    assert report.verdict("mlp", results) == [("mlp: step / best peer (torch eager)", 0.5, 0.7)]


def test_torch_best_is_the_least_median_of_its_ways(report):
    results = {
        "torch eager": {"train": [3.0, 3.0, 0.1]},
        "torch channels_last": {"train": [2.0]},
        "torch compile": {},
        "JAX jit": {"train": [1.0]},
    }
    assert report.torch_best(results, "train") == 2.0


def test_an_eager_bar_is_set_for_the_seeds_cnn(report):
    results = {"distflow eager": {"train": [3.0]}, "torch eager": {"train": [2.0]}}
    assert ("cnn: eager step / torch eager", 1.5, 1) in report.verdict("cnn", results)
