"""What is refused here, Keras refuses as well."""

import pytest

from tests.keras.engine.wrong_calls import CALLS

# Warnings here are those of the other side.
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
# Refused here only: Keras 3.15 does something with them, or fails later.
STRICTER = {
    "models: an input twice", "models: an input in the middle", "models: a stack without a shape",
    "models: a clone of a number", "training: steps_per_execution of 0", "training: no rows",
    "training: no loss", "training: a split of everything",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(CALLS) - STRICTER))
def test_keras_refuses_it(theirs, name, tmp_path):
    room, call, _ = CALLS[name]
    with pytest.raises(Exception):  # noqa: B017, PT011 - Keras's class may be any
        call(theirs, tmp_path) if room == "saving" else call(theirs)
