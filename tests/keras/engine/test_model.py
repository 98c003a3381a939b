import numpy as np
import pytest

from distflow.base.shapes import TensorShape
from distflow.keras import Input, Model, utils
from tests.keras.engine.small_layers import Halve, Linear


@pytest.fixture(autouse=True)
def _fresh_names():
    utils.clear_session()


class MyModel(Model):
    """The seed's subclass, with its own compute_output_shape."""

    def __init__(self, num_classes=10):
        super().__init__(name="my_model")
        self.num_classes = num_classes
        self.dense_1 = Linear(32)
        self.dense_2 = Linear(num_classes)

    def call(self, inputs):
        return self.dense_2(self.dense_1(inputs))

    def compute_output_shape(self, input_shape):
        shape = TensorShape(input_shape).as_list()
        shape[-1] = self.num_classes
        return TensorShape(shape)


def test_subclass_is_built_by_its_first_call():
    model = MyModel(3)
    assert model.weights == []
    assert tuple(model(np.ones((2, 4))).shape) == (2, 3)
    assert len(model.weights) == 4


def test_subclass_is_built_by_a_shape():
    model = MyModel(3)
    model.build((None, 4))
    assert [tuple(v.shape) for v in model.weights] == [(4, 32), (32,), (32, 3), (3,)]


def test_training_argument_is_accepted_even_where_call_has_none():
    assert tuple(MyModel(3)(np.ones((2, 4)), training=True).shape) == (2, 3)


def test_subclass_is_a_layer_of_a_functional_model():
    x = Input((4,))
    model = Model(x, MyModel(3)(x))
    assert model.output_shape == (None, 3)
    assert tuple(model(np.ones((2, 4), "float32")).shape) == (2, 3)
    assert len(model.weights) == 4


def test_layers_and_get_layer():
    model = MyModel(3)
    assert [layer.name for layer in model.layers] == ["linear", "linear_1"]
    assert model.get_layer("linear_1") is model.dense_2
    assert model.get_layer(index=0) is model.dense_1


def test_own_build_may_make_the_layers():
    class Late(Model):
        def build(self, input_shape):
            self.inner = Linear(input_shape[-1])
            super().build(input_shape)

        def call(self, inputs):
            return self.inner(inputs)

    assert tuple(Late()(np.ones((2, 5))).shape) == (2, 5)


def test_training_reaches_the_layers():
    class Trains(Model):
        def __init__(self):
            super().__init__()
            self.inner = Halve()

        def call(self, inputs, training=False):
            return self.inner(inputs)

    assert Trains()(np.ones((1, 1)), training=True).numpy() == 0.5


def test_layers_cannot_be_replaced_as_a_whole():
    with pytest.raises(AttributeError):
        MyModel(3).layers = []


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m: m.get_layer("zz"), r"No such layer: zz. Existing layers are: \['linear'"),
        (lambda m: m.get_layer(index=9), "index 9 but model only has 2 layers"),
        (lambda m: m.get_layer(), "either a layer name or layer index"),
        (lambda m: m.count_params(), "isn't built"),
        (lambda m: m.build((3,)), "cannot be built by calling"),
    ],
)
def test_misuse_is_one_clear_error(act, message):
    with pytest.raises(ValueError, match=message):
        act(MyModel(3))
