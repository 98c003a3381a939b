"""Distillation: losses by formula and equal to Keras's, training, configs, refusals."""

import numpy as np
import pytest

from distflow import keras
from tests.keras.battery import keras_or_skip

d = keras.distillation
_RNG = np.random.default_rng(9)
X = _RNG.normal(size=(8, 4)).astype("float32")
Y = _RNG.integers(0, 3, 8)


def networks(k):
    teacher = k.Sequential([k.Input((4,)), k.layers.Dense(6, "relu", name="wide"),
                            k.layers.Dense(3, name="end")])  # fmt: skip
    student = k.Sequential([k.Input((4,)), k.layers.Dense(6, "relu", name="small"),
                            k.layers.Dense(3)])  # fmt: skip
    rng = np.random.default_rng(1)
    for model in (teacher, student):
        model.set_weights([rng.normal(size=w.shape).astype("float32") for w in model.weights])
    return teacher, student


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_divergence_of_softened_probabilities_is_scaled_back():
    teacher, student = _RNG.normal(size=(2, 5, 3)).astype("float32")
    p, q = softmax(teacher / 2), softmax(student / 2)
    found = d.LogitsDistillation(2.0, keras.losses.KLDivergence()).compute_loss(teacher, student)
    np.testing.assert_allclose(found, (p * np.log(p / q)).sum(-1).mean() * 4, rtol=1e-5)


def test_the_student_comes_near_the_teacher_who_stays():
    teacher, student = networks(keras)
    before = teacher.get_weights()
    distiller = d.Distiller(teacher, student, d.FeatureDistillation("mse"), student_loss_weight=0)
    distiller.compile(keras.optimizers.Adam(0.05), "mse")
    history = distiller.fit(X, np.zeros((8, 3)), epochs=60, verbose=0).history
    assert history["distillation_loss"][-1] < 0.1 * history["distillation_loss"][0]
    np.testing.assert_array_equal(teacher.get_weights()[0], before[0])


def distilled(k, losses, weights=None, share=0.3):
    teacher, student = networks(k)
    model = k.distillation.Distiller(teacher, student, losses(k.distillation, k), weights, share)
    model.compile(k.optimizers.SGD(0.1), k.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


LOSSES = {
    "logits": (lambda d, k: d.LogitsDistillation(), None),
    "divergence": (lambda d, k: d.LogitsDistillation(4.0, k.losses.KLDivergence()), None),
    "features": (lambda d, k: [d.LogitsDistillation(2.0, "mse"),
                               d.FeatureDistillation("mae", "wide", "small")], [0.7, 0.2]),
}  # fmt: skip


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LOSSES)
def test_training_equals_that_of_keras(name):
    keras3 = keras_or_skip()
    mine, other = distilled(keras, *LOSSES[name]), distilled(keras3, *LOSSES[name])
    a = mine.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    b = other.fit(X, Y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], rtol=1e-4, atol=1e-5, err_msg=key)
    for v, w in zip(mine.student.get_weights(), other.student.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, rtol=1e-4, atol=1e-5)


def test_a_distiller_comes_back_from_its_config():
    model = distilled(keras, *LOSSES["features"])
    again = d.Distiller.from_config(model.get_config())
    assert [type(x) for x in again.distillation_losses] == [
        d.LogitsDistillation, d.FeatureDistillation
    ]  # fmt: skip
    assert again.distillation_losses[1].student_layer_name == "small"
    assert again.distillation_loss_weights == [0.7, 0.2]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_compiled_distiller_comes_back_and_trains_on(name, tmp_path):
    model = distilled(keras, *LOSSES[name])
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    runs = [m.fit(X, Y, batch_size=4, shuffle=False, verbose=0).history for m in (model, again)]
    assert runs[0] == runs[1]
    assert again.loss.get_config() == model.loss.get_config()


def other(**changes):
    sizes = {"inputs": 4, "outputs": 3} | changes
    return keras.Sequential([keras.Input((sizes["inputs"],)), keras.layers.Dense(sizes["outputs"])])


class Own(keras.Model):
    def call(self, x):
        return x


class NoScalar(d.DistillationLoss):
    def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
        return teacher_outputs - student_outputs


def make(student=None, losses=None, **kwargs):
    return d.Distiller(other(), student or other(), losses or d.LogitsDistillation(), **kwargs)


def train(losses):
    model = make(losses=losses)
    model.compile(loss="mse")
    model.fit(X, X[:, :3], verbose=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: d.LogitsDistillation(0.0), "must be positive"),
        (lambda: d.LogitsDistillation("hot"), "must be a number"),
        (lambda: d.LogitsDistillation(loss=[None, None]), "non-`None`"),
        (lambda: d.Distiller(other(), 3, d.LogitsDistillation()), "Student must be"),
        (lambda: d.Distiller(other(), other(), None), "cannot be `None`"),
        (lambda: make(other(inputs=5)), "input shapes are incompatible"),
        (lambda: make(other(outputs=5)), "output shapes are incompatible"),
        (lambda: make(student_loss_weight=2), "between 0.0 and 1.0"),
        (lambda: make(student_loss_weight="all"), "must be a number"),
        (lambda: make(losses=[d.LogitsDistillation()], distillation_loss_weights=[1, 2]), "match"),
        (lambda: make(losses=d.FeatureDistillation("mse", "no", "no")), "In teacher model"),
        (lambda: make(Own(), d.FeatureDistillation("mse", "no", "no")), "subclassed"),
        (lambda: make().compile(), "'loss' cannot be"),
        (lambda: make().compile(loss="mse", metrics="mae"), "list or tuple"),
        (lambda: train(NoScalar()), "non-scalar"),
    ],
)
def test_wrong_calls_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
