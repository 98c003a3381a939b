"""Metrics against Keras 3 on TensorFlow: results, states, configs, names."""

import json

import numpy as np
import pytest

from distflow.keras import metrics
from tests.keras.battery import METRICS, WEIGHTS, keras_or_skip

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
each_metric = pytest.mark.parametrize("sample", METRICS, ids=str)


@pytest.fixture(scope="module")
def keras():
    return keras_or_skip()


@each_metric
@pytest.mark.parametrize("weighted", [False, True])
def test_result_and_state_equal_those_of_keras(keras, sample, weighted):
    theirs, ours = sample.make(keras.metrics), sample.make(metrics)
    weights = WEIGHTS if weighted else None
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


@each_metric
def test_config_equals_that_of_keras(keras, sample):
    theirs, ours = (m.get_config() for m in (sample.make(keras.metrics), sample.make(metrics)))
    theirs["name"] = ours["name"]
    assert json.dumps(theirs) == json.dumps(ours)


def test_names_equal_those_of_keras(keras):
    for name in metrics.NAMES:
        if name in ("logcosh", "kld", "KLD", "bce", "BCE") or "wrapper" in name.lower():
            continue
        assert type(keras.metrics.get(name)).__name__ == type(metrics.get(name)).__name__
