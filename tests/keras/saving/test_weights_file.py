import os

import h5py
import numpy as np
import pytest

from distflow.base import errors
from distflow.keras import Input, Model, Sequential, utils
from distflow.keras.engine.layer import Layer
from distflow.keras.saving.places import places
from tests.keras.engine.small_layers import Linear, Statistics


@pytest.fixture(autouse=True)
def _fresh_names():
    utils.clear_session()


def stack(units=2):
    return Sequential([Input((3,)), Linear(units), Linear(1, name="last"), Statistics()])


def paths_of(path):
    found = []
    with h5py.File(path) as file:
        file.visit(lambda name: found.append(name) if name.endswith("/0") else None)
    return found


class Mixed(Model):
    """Attributes of all kinds that Keras walks."""

    def __init__(self):
        super().__init__()
        self.a = Linear(2)
        self.blocks = [Linear(2), Linear(1, name="q")]
        self._hidden = Linear(3)
        self.table = {"k": Linear(4)}
        self.inner = Sequential([Linear(5)])
        self.weight = self.add_weight(shape=(2,))

    def call(self, inputs):
        for layer in (*self.blocks[:1], self._hidden, self.table["k"], self.inner, self.blocks[1]):
            layer(inputs)
        return self.a(inputs)


def test_weights_come_back(tmp_path):
    a, b = stack(), stack()
    a.save_weights(tmp_path / "x.weights.h5")
    b.load_weights(tmp_path / "x.weights.h5")
    for x, y in zip(a.get_weights(), b.get_weights()):
        np.testing.assert_array_equal(x, y)


def test_layers_of_a_stack_lie_by_class_and_place(tmp_path):
    stack().save_weights(tmp_path / "x.weights.h5")
    assert paths_of(tmp_path / "x.weights.h5") == [
        "layers/linear/vars/0", "layers/linear_1/vars/0", "layers/statistics/vars/0",
    ]  # fmt: skip


def test_groups_keep_the_layers_names(tmp_path):
    stack().save_weights(tmp_path / "x.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5") as file:
        assert file["layers/linear_1/vars"].attrs["name"] == "last"


def test_layers_of_a_subclass_lie_at_their_attributes(tmp_path):
    # The paths that Keras 3.15 gives the same class.
    model = Mixed()
    model(np.ones((1, 2)))
    model.save_weights(tmp_path / "x.weights.h5")
    assert sorted(paths_of(tmp_path / "x.weights.h5")) == [
        "a/vars/0", "blocks/linear/vars/0", "blocks/linear_1/vars/0",
        "inner/layers/linear/vars/0", "layers/linear_3/vars/0", "layers/linear_4/vars/0", "vars/0",
    ]  # fmt: skip


def test_a_property_that_gives_a_layer_is_its_place():
    class Owner(Model):
        def __init__(self):
            super().__init__()
            self._enc = Linear(1)

        @property
        def encoder(self):
            return self._enc

        def call(self, inputs):
            return self._enc(inputs)

    assert [path for path, _ in places(Owner())] == ["", "encoder"]


def test_bfloat16_weights_come_back(tmp_path):
    a = Sequential([Input((3,)), Linear(2, dtype="bfloat16")])
    b = Sequential([Input((3,)), Linear(2, dtype="bfloat16")])
    a.save_weights(tmp_path / "x.weights.h5")
    b.load_weights(tmp_path / "x.weights.h5")
    np.testing.assert_array_equal(a.get_weights()[0], b.get_weights()[0])


def test_own_save_and_load_hooks_are_used(tmp_path):
    class Counter(Layer):
        count = 0

        def call(self, inputs):
            return inputs

        def save_own_variables(self, store):
            store["count"] = np.array(7)

        def load_own_variables(self, store):
            self.count = int(store["count"])

    a, b = Sequential([Input((1,)), Counter()]), Sequential([Input((1,)), Counter()])
    a.save_weights(tmp_path / "x.weights.h5")
    b.load_weights(tmp_path / "x.weights.h5")
    assert b.layers[0].count == 7


def test_mismatch_raises_and_keeps_all_old_values(tmp_path):
    stack().save_weights(tmp_path / "x.weights.h5")
    other = Sequential([Input((3,)), Linear(2), Linear(4), Statistics()])
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"layers/linear_1.*must match"):
        other.load_weights(tmp_path / "x.weights.h5")
    for x, y in zip(before, other.get_weights()):
        np.testing.assert_array_equal(x, y)


def test_skip_mismatch_warns_and_loads_the_rest(tmp_path):
    a = stack()
    a.save_weights(tmp_path / "x.weights.h5")
    other = Sequential([Input((3,)), Linear(2), Linear(4)])
    with pytest.warns(UserWarning, match="Could not load weights in object"):
        other.load_weights(tmp_path / "x.weights.h5", skip_mismatch=True)
    np.testing.assert_array_equal(other.get_weights()[0], a.get_weights()[0])


def test_missing_layer_in_the_file_is_said(tmp_path):
    Sequential([Input((3,)), Linear(2)]).save_weights(tmp_path / "x.weights.h5")
    with pytest.raises(ValueError, match="expected 2 variables, but received 0"):
        Sequential([Input((3,)), Linear(2), Linear(1)]).load_weights(tmp_path / "x.weights.h5")


def test_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.weights.h5"
    stack().save_weights(path)
    before = path.read_bytes()

    class Broken(Layer):
        def call(self, inputs):
            return inputs

        def save_own_variables(self, store):
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        Sequential([Input((1,)), Linear(1), Broken()]).save_weights(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.weights.h5"]


def test_existing_file_is_kept_unless_overwritten(tmp_path):
    stack().save_weights(tmp_path / "x.weights.h5")
    with pytest.raises(errors.AlreadyExistsError, match="exists already"):
        stack().save_weights(tmp_path / "x.weights.h5", overwrite=False)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda p: stack().save_weights(p / "x.h5"), ValueError, "must end in `.weights.h5`"),
        (lambda p: stack().load_weights(p / "x.npz"), ValueError, "File format not supported"),
        (lambda p: stack().load_weights(p / "no.weights.h5"), ValueError, "File not found"),
        (
            lambda p: Sequential([Linear(1)]).save_weights(p / "x.weights.h5"),
            ValueError, "not yet been built",
        ),
        (
            lambda p: Sequential([Linear(1)]).load_weights(p / "x.weights.h5"),
            ValueError, "not yet been built",
        ),
        (
            lambda p: stack().save_weights(p / "none" / "x.weights.h5"),
            errors.NotFoundError, "expected the folder",
        ),
        (
            lambda p: stack().load_weights(_garbage(p / "x.weights.h5")),
            errors.DataLossError, "readable weights file",
        ),
    ],
)  # fmt: skip
def test_misuse_is_one_clear_error(tmp_path, act, error, message):
    with pytest.raises(error, match=message):
        act(tmp_path)


def _garbage(path):
    path.write_bytes(b"not hdf5 at all")
    return path
