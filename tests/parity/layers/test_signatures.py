"""Arguments of layers: the same names in the same order, and the same defaults, as in Keras 3."""

import inspect

import pytest

from distflow.keras import layers
from tests.keras.battery import keras_or_skip

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
# Not classes of Keras, or with arguments of its own engine.
OTHER = {"DenseFeatures", "ThresholdedReLU", "Input", "InputLayer", "InputSpec", "Layer"}
# Name -> why its arguments stand in another way.
DIFFERENT = {
    "Conv3DTranspose": "after dilation_rate by keyword only",
    "Convolution3DTranspose": "the same",
}
# As in TF 2.0; Keras 3 wants the argument.
MORE_DEFAULTS = {("AveragePooling2D", "pool_size"), ("AvgPool2D", "pool_size")}
NAMES = sorted(set(layers.__all__) - OTHER)


def defaults(function):
    """Returns the default of each argument, in order."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in kinds}


def arguments(function):
    return list(defaults(function))


@pytest.mark.parametrize("name", NAMES)
def test_arguments_are_those_of_keras(name):
    theirs, ours = getattr(keras_or_skip().layers, name), getattr(layers, name)
    assert (arguments(ours) == arguments(theirs)) == (name not in DIFFERENT)
    if inspect.isclass(ours) and hasattr(theirs, "call"):
        assert arguments(ours.call) == arguments(theirs.call)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_those_of_keras(name):
    theirs, ours = getattr(keras_or_skip().layers, name), getattr(layers, name)
    wanted, found = defaults(theirs), defaults(ours)
    different = {(name, key) for key in wanted.keys() & found.keys() if wanted[key] != found[key]}
    assert different == {pair for pair in MORE_DEFAULTS if pair[0] == name}
