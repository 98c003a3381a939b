"""`.keras` and `.weights.h5` files of one library load in the other, with equal outputs."""

import numpy as np
import pytest

from distflow import keras as ours
from tests.parity.saving.models import MODELS

# Warnings here are those of the other side.
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
# float32 through two libraries; bfloat16 keeps 8 bits.
TOLERANCES = {"half": {"rtol": 2e-2, "atol": 2e-2}}


def run(model, data):
    return model(data, training=False)


def leaves(k, structure):
    if isinstance(structure, dict):
        return [x for key in sorted(structure) for x in leaves(k, structure[key])]
    if isinstance(structure, list | tuple):
        return [x for part in structure for x in leaves(k, part)]
    return [np.asarray(structure, np.float32)]


def same_outputs(name, here, model, there, loaded):
    _, data = MODELS[name]
    tolerance = TOLERANCES.get(name, {"rtol": 1e-4, "atol": 1e-5})
    pairs = zip(leaves(here, run(model, data)), leaves(there, run(loaded, data)), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, **tolerance)


def scrambled(model):
    """The model with weights that no initializer would give."""
    rng = np.random.default_rng(3)
    for v in model.weights:
        v.assign(rng.uniform(0.1, 0.9, tuple(v.shape)).astype("float32"))
    return model


@pytest.mark.parametrize("name", MODELS)
def test_keras_loads_the_archive_of_a_model_made_here(theirs, tmp_path, name):
    model = scrambled(MODELS[name][0](ours))
    model.save(tmp_path / "m.keras")
    loaded = theirs.saving.load_model(tmp_path / "m.keras")
    same_outputs(name, ours, model, theirs, loaded)


@pytest.mark.parametrize("name", MODELS)
def test_the_archive_of_a_model_made_by_keras_loads_here(theirs, tmp_path, name):
    model = scrambled(MODELS[name][0](theirs))
    model.save(tmp_path / "m.keras")
    loaded = ours.saving.load_model(tmp_path / "m.keras")
    same_outputs(name, theirs, model, ours, loaded)


@pytest.mark.parametrize("name", MODELS)
def test_weights_go_both_ways(theirs, tmp_path, name):
    make, _ = MODELS[name]
    for here, there in ((ours, theirs), (theirs, ours)):
        model, other = scrambled(make(here)), make(there)
        model.save_weights(tmp_path / "m.weights.h5")
        other.load_weights(tmp_path / "m.weights.h5")
        same_outputs(name, here, model, there, other)


@pytest.mark.parametrize("name", MODELS)
def test_weights_of_an_archive_load_into_a_model(theirs, tmp_path, name):
    make, _ = MODELS[name]
    model, other = scrambled(make(theirs)), make(ours)
    model.save(tmp_path / "m.keras")
    other.load_weights(tmp_path / "m.keras")
    same_outputs(name, theirs, model, ours, other)
