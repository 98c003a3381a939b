"""keras_fit.py runs a model and prints its table; all of its models train."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import distflow as tf

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = [
    "text_average", "text_convolution", "bidirectional_lstm", "two_grus", "transformer",
    "image_classifier", "mobilenet", "unet", "autoencoder", "recommender", "tabular",
]  # fmt: skip


@pytest.fixture
def models(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from models import keras_models

    return keras_models.MODELS


def test_all_models_are_tried_here(models):
    assert list(models) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mobilenet"])
def test_a_model_learns_its_batch(models, name):
    tf.keras.utils.set_random_seed(1)
    model, x, y = models[name](tf.keras, np.random.default_rng(0))
    losses = [float(np.ravel(model.train_on_batch(x, y))[0]) for _ in range(4)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.spawn
def test_the_table_has_a_row_for_each_framework():
    limits = ["--rounds", "1", "--batches", "2", "--seconds", "0.01"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "keras_fit.py"), "--models", "tabular", *limits],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tabular: 30 columns" in done.stdout
    assert "| distflow | " in done.stdout
