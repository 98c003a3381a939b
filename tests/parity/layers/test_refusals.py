"""What is refused here is refused by Keras 3 as well, but for a list of calls that it lets pass."""

import pytest

from tests.keras.battery import keras_or_skip
from tests.keras.layers import test_errors

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
# Message -> what Keras does with the call.
STRICTER = {
    "positive integer": "lora_rank=0 is no LoRA",
    "output dimensions": "takes the first ones",
    "logit_soft_cap": "divides by a negative cap",
    "output_size": "fails in the call",
    "dropout": "drops more than everything",
    "output_shape": "fails in the call",
    "output_sequence_length": "fails in the call",
    "height": "fails in the call",
    "interpolation": "fails in the call",
    "only one": "cuts",
    "mode": "fails in the call",
    "ascending": "makes all pixels one value",
}


@pytest.mark.parametrize("index", range(len(test_errors.CASES)))
def test_keras_refuses_it_too(monkeypatch, index):
    keras = keras_or_skip()
    call, message = test_errors.CASES[index]
    monkeypatch.setattr(test_errors, "layers", keras.layers)
    try:
        call()
        refused = False
    except Exception:  # noqa: BLE001 - any kind of refusal
        refused = True
    assert refused == (message not in STRICTER)
