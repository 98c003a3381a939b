import numpy as np
import pytest

from distflow.keras import Input, Model, Sequential, utils
from distflow.keras.engine.summary import memory_text
from tests.keras.engine.small_layers import Linear, Statistics


@pytest.fixture(autouse=True)
def _fresh_names():
    utils.clear_session()


def text_of(model, **kwargs):
    lines = []
    model.summary(print_fn=lines.append, **kwargs)
    assert len(lines) == 1
    return lines[0]


def stack():
    return Sequential([Input((3,)), Linear(2), Statistics()])


def test_table_is_that_of_keras():
    # As Keras 3.15 draws it for two such layers.
    rows = """\
Model: "sequential"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ linear (Linear)                 │ (None, 2)              │             8 │
├─────────────────────────────────┼────────────────────────┼───────────────┤
│ statistics (Statistics)         │ (None, 2)              │             4 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
 Total params: 12 (48.00 B)
 Trainable params: 10 (40.00 B)
 Non-trainable params: 2 (8.00 B)
"""
    assert text_of(stack()) == rows


def test_branches_have_a_column_of_connections():
    x = Input((2,), name="x")
    y = Linear(2, name="y")(x)
    text = text_of(Model(x, x + y))
    assert "Connected to" in text
    assert "x[0][0]," in text
    assert "y[0][0]" in text


def test_unbuilt_layers_are_marked():
    text = text_of(Sequential([Linear(2)]))
    assert "0 (unbuilt)" in text
    assert "?" in text


def test_layers_of_a_subclass_have_shapes_after_a_call():
    class Mine(Model):
        def __init__(self):
            super().__init__()
            self.inner = Linear(7)

        def call(self, inputs):
            return self.inner(inputs)

    model = Mine()
    model(np.ones((4, 3)))
    assert "(4, 7)" in text_of(model)


def test_nested_models_are_shown_on_demand():
    model = Sequential([Input((3,)), Sequential([Input((3,)), Linear(2)])])
    assert "└ linear" not in text_of(model)
    assert "└ linear" in text_of(model, expand_nested=True)


def test_frozen_layers_are_shown_on_demand():
    model = stack()
    model.layers[0].trainable = False
    text = text_of(model, show_trainable=True)
    assert "│   N   │" in text
    assert "│   Y   │" in text
    assert "Trainable params: 2 (8.00 B)" in text


def test_layer_range_selects_rows():
    text = text_of(stack(), layer_range=["stat", "stat.*"])
    assert "statistics (" in text
    assert "linear (" not in text


def test_wrong_layer_range_is_said():
    with pytest.raises(ValueError, match="does not match the model layers: 'zz'"):
        text_of(stack(), layer_range=["zz", "stat"])


def test_width_and_positions_are_kept():
    text = text_of(stack(), line_length=100, positions=[0.5, 0.8, 1.0])
    assert {len(line) for line in text.splitlines() if line[0] in "┏│└"} == {100}


def test_without_print_fn_it_goes_to_standard_output(capsys):
    stack().summary()
    assert "Total params: 12 (48.00 B)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0.00 B"), (1023, "1023.00 B"), (2140, "2.09 KB"), (3 << 20, "3.00 MB")]
)
def test_memory_is_written_in_units(size, text):
    assert memory_text(size) == text
