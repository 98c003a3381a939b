"""Metrics against Keras 3 on TensorFlow: results, states, configs, names."""

import json
import re

import numpy as np
import pytest

from distflow.keras import metrics
from tests.keras.battery import keras_or_skip
from tests.keras.pieces import METRICS, weights_of

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
each_metric = pytest.mark.parametrize("sample", METRICS, ids=str)


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


@each_metric
@pytest.mark.parametrize("weighted", [False, True])
def test_result_and_state_equal_those_of_keras(keras, sample, weighted):
    theirs, ours = sample.make(keras.metrics), sample.make(metrics)
    weights = weights_of(sample) if weighted else None
    for _ in range(2):
        theirs.update_state(*sample.inputs, sample_weight=weights)
        ours.update_state(*sample.inputs, sample_weight=weights)
    expected = np.asarray(theirs.result())
    found = ours.result().numpy()
    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-6)
    assert len(theirs.variables) == len(ours.variables)
    for one, other in zip(theirs.variables, ours.variables):
        np.testing.assert_allclose(other.numpy(), np.asarray(one), rtol=1e-5, atol=5e-6)


def plain(config):
    return json.loads(json.dumps(config, default=lambda x: np.asarray(x).tolist()))


@each_metric
def test_config_equals_that_of_keras(keras, sample):
    theirs, ours = (m.get_config() for m in (sample.make(keras.metrics), sample.make(metrics)))
    assert re.sub(r"_\d+$", "", theirs["name"]) == re.sub(r"_\d+$", "", ours["name"])
    theirs["name"] = ours["name"]
    # Keras forgets the axis of CosineSimilarity.
    kept = {key: value for key, value in ours.items() if key in theirs or key != "axis"}
    assert plain(theirs) == plain(kept)
    getattr(keras.metrics, sample.name).from_config(ours)
    getattr(metrics, sample.name).from_config(theirs)


def test_names_equal_those_of_keras(keras):
    for name in metrics.NAMES:
        if name in ("logcosh", "kld", "KLD", "bce", "BCE") or "wrapper" in name.lower():
            continue
        if any(part in name.lower() for part in ("iou", "io_u", "_at_")) or "At" in name:
            continue  # their classes need arguments
        assert type(keras.metrics.get(name)).__name__ == type(metrics.get(name)).__name__
