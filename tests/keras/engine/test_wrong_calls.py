"""Wrong calls end with one clear typed error, of a class that users of Keras catch."""

import pytest

from distflow import keras
from tests.keras.engine.wrong_calls import CALLS

TYPED = (ValueError, TypeError, NotImplementedError, AttributeError, RuntimeError)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_wrong_calls_are_refused(name, tmp_path):
    room, call, message = CALLS[name]
    with pytest.raises(TYPED, match=message) as caught:
        call(keras, tmp_path) if room == "saving" else call(keras)
    # An error of ours, or of Python's for an argument that a function does not have.
    assert not isinstance(caught.value, AssertionError | KeyError | IndexError)
    assert str(caught.value)


def test_the_table_is_long():
    assert len(CALLS) >= 70
