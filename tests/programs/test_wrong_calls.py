"""A mistake is one clear, typed error that says what was expected."""

import numpy as np
import pytest

import distflow as tf
from tests.programs import table
from tests.programs.wrong_calls import WRONG

# FailedPrecondition, Unimplemented and so on are OpErrors; the others are Python's and TF's.
CLEAR = (tf.errors.OpError, TypeError, ValueError)
# Where TF and Keras raise another class on purpose.
ALSO = {
    "plus_equals": RuntimeError,
    "tape_used_twice": RuntimeError,
    "layer_without_super": RuntimeError,
    "model_without_call": NotImplementedError,
    "weights_of_unbuilt_layer": AttributeError,
}


@pytest.mark.parametrize("name", table.cases(WRONG))
def test_mistake_is_a_clear_error(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tf.keras.backend.clear_session()
    program, words = WRONG[name]
    with pytest.raises(ALSO.get(name, CLEAR)) as caught:
        program(tf, np)
    text = str(caught.value).lower()
    assert text
    assert all(word.lower() in text for word in words.split()), text
