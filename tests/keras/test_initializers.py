"""Initializers: moments, bounds, seeds, names, configs and errors."""

import json

import numpy as np
import pytest

import distflow.ops.operators  # noqa: F401
from distflow.keras import initializers, random, windows
from tests.keras.battery import keras_or_skip

SHAPE = (300, 200)  # 300 inputs, 200 outputs


def draw(initializer, shape=SHAPE):
    return initializer(shape).numpy()


# name: (standard deviation, bound)
DISTRIBUTIONS = {
    "RandomNormal": (0.05, None),
    "RandomUniform": (0.1 / np.sqrt(12), 0.05),
    "TruncatedNormal": (0.05 * 0.87962566, 0.1),
    "GlorotUniform": (np.sqrt(2 / 500), np.sqrt(6 / 500)),
    "GlorotNormal": (np.sqrt(2 / 500), 2 * np.sqrt(2 / 500) / 0.87962566),
    "HeUniform": (np.sqrt(2 / 300), np.sqrt(6 / 300)),
    "HeNormal": (np.sqrt(2 / 300), 2 * np.sqrt(2 / 300) / 0.87962566),
    "LecunUniform": (np.sqrt(1 / 300), np.sqrt(3 / 300)),
    "LecunNormal": (np.sqrt(1 / 300), 2 * np.sqrt(1 / 300) / 0.87962566),
    "VarianceScaling": (np.sqrt(1 / 300), 2 * np.sqrt(1 / 300) / 0.87962566),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution_has_its_moments_and_bounds(name):
    stddev, bound = DISTRIBUTIONS[name]
    values = draw(getattr(initializers, name)(seed=1))
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=4 * stddev / np.sqrt(values.size))
    assert values.std() == pytest.approx(stddev, rel=0.01)
    if bound is not None:
        assert abs(values).max() <= bound * (1 + 1e-6)
        assert abs(values).max() >= bound * 0.99


def test_window_of_a_convolution_counts_as_inputs_and_outputs():
    values = draw(initializers.GlorotUniform(seed=1), (3, 3, 20, 40))
    assert abs(values).max() == pytest.approx(np.sqrt(6 / (9 * 60)), rel=0.01)


def test_axes_say_what_counts_as_input():
    values = draw(initializers.GlorotUniform(1, input_axes=[0], output_axes=[1, 2]), (30, 20, 15))
    assert abs(values).max() == pytest.approx(np.sqrt(6 / 330), rel=0.01)


def test_same_seed_gives_the_same_values_in_every_call():
    one = initializers.GlorotUniform(seed=3)
    np.testing.assert_array_equal(draw(one), draw(one))
    np.testing.assert_array_equal(draw(one), draw(initializers.GlorotUniform(seed=3)))
    assert (draw(one) != draw(initializers.GlorotUniform(seed=4))).any()


def test_no_seed_means_a_drawn_one_that_set_random_seed_repeats():
    random.set_random_seed(5)
    first, second = draw(initializers.HeNormal()), draw(initializers.HeNormal())
    random.set_random_seed(5)
    np.testing.assert_array_equal(draw(initializers.HeNormal()), first)
    assert (first != second).any()


def test_a_generator_gives_new_values_in_every_call():
    initializer = initializers.RandomNormal(seed=random.SeedGenerator(1))
    assert (draw(initializer) != draw(initializer)).any()


def test_orthogonal_columns_have_norm_one_and_right_angles():
    for shape in ((6, 4), (4, 6), (2, 3, 4)):
        matrix = draw(initializers.Orthogonal(gain=2.0, seed=1), shape).reshape(-1, shape[-1])
        small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_fixed_values():
    np.testing.assert_array_equal(draw(initializers.Zeros(), (2,)), [0, 0])
    np.testing.assert_array_equal(draw(initializers.Ones(), (2,)), [1, 1])
    np.testing.assert_array_equal(draw(initializers.Constant([1, 2]), (2, 2)), [[1, 2], [1, 2]])
    np.testing.assert_array_equal(draw(initializers.Identity(3), (2, 2)), 3 * np.eye(2))
    assert initializers.Zeros()((2,), dtype="int64").dtype == "int64"


@pytest.mark.parametrize("name", sorted(initializers.NAMES))
def test_every_name_is_serialised_and_found_again(name):
    initializer = initializers.get(name)
    again = initializers.get(json.loads(json.dumps(initializers.serialize(initializer))))
    assert type(again) is type(initializer)
    assert again.get_config() == initializer.get_config()


def test_classes_and_functions_are_accepted():
    assert isinstance(initializers.get(initializers.Zeros), initializers.Zeros)
    function = initializers.get(lambda shape, dtype=None: np.ones(shape))
    assert function((2,)).sum() == 2
    assert initializers.get(None) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: initializers.get("glorot"), "Did you mean"),
        (lambda: initializers.Orthogonal()((3,)), "two-dimensional"),
        (lambda: initializers.Identity()((3,)), "2D"),
        (lambda: initializers.VarianceScaling(scale=-1), "scale"),
        (lambda: initializers.VarianceScaling(mode="a"), "mode"),
        (lambda: initializers.VarianceScaling(distribution="a"), "distribution"),
        (lambda: initializers.RandomNormal(seed="a"), "seed"),
        (lambda: initializers.STFT(side="left"), "side"),
        (lambda: initializers.STFT(scaling="a"), "scaling"),
        (lambda: initializers.STFT(window="a"), "hann"),
        (lambda: initializers.STFT(window=[1.0, 2.0])((3, 1, 3)), r"\(3,\)"),
    ],
)
def test_mistake_is_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(initializers.NAMES) - {"Constant", "constant"}))
def test_config_and_distribution_equal_those_of_keras(name):
    theirs, ours = keras_or_skip().initializers.get(name), initializers.get(name)
    assert type(theirs).__name__ == type(ours).__name__
    assert theirs.get_config() == ours.get_config()
    if "stft" in name.lower():
        return
    a, b = np.asarray(theirs(SHAPE)), draw(ours)
    assert b.std() == pytest.approx(a.std(), rel=0.02)
    if "rthogonal" not in name and not name.lower().endswith("normal"):
        assert b.max() == pytest.approx(a.max(), rel=0.02)


def test_fourier_kernels_are_the_transform_of_a_frame():
    frame = np.random.default_rng(1).normal(size=16)
    kernels = [draw(initializers.STFT(side, None, None), (16, 1, 9)) for side in ("real", "imag")]
    found = [frame @ kernel[:, 0] for kernel in kernels]
    expected = np.fft.rfft(frame)
    np.testing.assert_allclose(found[0], expected.real, atol=1e-5)
    np.testing.assert_allclose(found[1], expected.imag, atol=1e-5)


@pytest.mark.parametrize("name", windows.NAMES)
@pytest.mark.parametrize("periodic", [False, True])
def test_windows_equal_those_of_scipy(name, periodic):
    signal = pytest.importorskip("scipy.signal")
    for size in (1, 2, 7, 8):
        expected = signal.get_window(name, size, fftbins=periodic)
        np.testing.assert_allclose(windows.window(name, size, periodic), expected, atol=1e-12)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scaling", [None, "density", "spectrum"])
@pytest.mark.parametrize("side", ["real", "imag"])
def test_fourier_kernels_equal_those_of_keras(side, scaling):
    pytest.importorskip("scipy")
    settings = {"side": side, "window": "hamming", "scaling": scaling, "periodic": True}
    theirs = keras_or_skip().initializers.STFT(**settings)((12, 1, 9))
    np.testing.assert_allclose(draw(initializers.STFT(**settings), (12, 1, 9)), theirs, atol=3e-6)
