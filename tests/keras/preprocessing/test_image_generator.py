"""ImageDataGenerator: orders, changes, files and tables; the same numbers as TF 2's."""

import warnings

import numpy as np
import pytest

from distflow import keras
from distflow.keras.preprocessing import image
from tests.keras.battery import keras_or_skip

pytest.importorskip("PIL.Image", reason="needs Pillow: pip install distflow[data]")
pytest.importorskip("scipy.ndimage", reason="needs SciPy: pip install scipy")
_RNG = np.random.default_rng(2)
X = _RNG.uniform(0, 255, (7, 8, 6, 3)).astype("float32")
Y = np.array([0, 1, 0, 1, 0, 1, 1])
# Shapes are not square: rows and columns must not be mixed up otherwise than TF 2 does.
SETTINGS = {
    "plain": {},
    "moved": {"rotation_range": 40, "width_shift_range": 0.3, "height_shift_range": 2,
              "shear_range": 20, "zoom_range": 0.3},
    "pixels": {"width_shift_range": [1, 3], "zoom_range": (0.5, 1.5), "fill_mode": "constant",
               "cval": 7.0, "interpolation_order": 0},
    "light": {"brightness_range": (0.5, 1.5), "channel_shift_range": 30.0, "rescale": 1 / 255},
    "mirrored": {"horizontal_flip": True, "vertical_flip": True, "samplewise_center": True,
                 "samplewise_std_normalization": True},
    "reflected": {"rotation_range": 90, "fill_mode": "reflect", "data_format": "channels_first"},
    "wrapped": {"shear_range": 30, "fill_mode": "wrap", "validation_split": 0.4},
    "featurewise": {"featurewise_center": True, "featurewise_std_normalization": True},
    "whitened": {"featurewise_center": True, "zca_whitening": True, "zca_epsilon": 0.1,
                 "rescale": 1 / 255},
}  # fmt: skip


def theirs():
    keras_or_skip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from keras._tf_keras.keras.preprocessing import image as other
    return other


def batches(room, settings, x, *, how="next", **flow):
    generator = room.ImageDataGenerator(**settings)
    generator.fit(x, augment=True, seed=3)
    given = generator.flow(x, Y, batch_size=3, seed=5, **flow)
    if how == "next":
        return [next(given) for _ in range(5)]
    return [given[i] for i in range(len(given))]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["next", "getitem"])
@pytest.mark.parametrize("name", SETTINGS)
def test_batches_are_those_of_tf_2(name, how):
    settings = SETTINGS[name]
    x = X.transpose(0, 3, 1, 2) if "data_format" in settings else X
    more = {"subset": "validation"} if "validation_split" in settings else {}
    more["sample_weight"] = np.arange(7.0)
    if more.get("subset"):
        more["ignore_class_split"] = True
        del more["sample_weight"]
    mine = batches(image, settings, x, how=how, **more)
    others = batches(theirs(), settings, x, how=how, **more)
    for a, b in zip(mine, others, strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=2e-3)
            assert left.dtype == right.dtype


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "args"),
    [("random_rotation", (30,)), ("random_shift", (0.2, 0.4)), ("random_shear", (20,)),
     ("random_zoom", ((0.7, 1.4),))],
)  # fmt: skip
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2, 0)])
def test_changes_of_one_picture_are_those_of_tf_2(name, args, axes):
    x = X[0] if axes[2] == 2 else X[0].transpose(2, 0, 1)
    found = []
    for room in (image, theirs()):
        np.random.seed(4)
        found.append(getattr(room, name)(x, *args, *axes))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-3)


@pytest.fixture
def folder(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i in range(3):
            picture = keras.utils.array_to_img(X[i + 3 * (label == "dog")], scale=False)
            picture.save(tmp_path / label / f"{i}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    return tmp_path


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["binary", "categorical", "sparse", "input", None])
@pytest.mark.parametrize("subset", ["training", "validation"])
def test_files_are_those_of_tf_2(folder, mode, subset):
    found = []
    for room in (image, theirs()):
        generator = room.ImageDataGenerator(validation_split=0.4, horizontal_flip=True)
        given = generator.flow_from_directory(
            str(folder), target_size=(5, 4), class_mode=mode, batch_size=2, seed=1, subset=subset,
            color_mode="grayscale", interpolation="bilinear",
        )  # fmt: skip
        found.append((given.filenames, given.class_indices, [next(given) for _ in range(3)]))
    assert found[0][:2] == found[1][:2]
    for a, b in zip(found[0][2], found[1][2], strict=True):
        a, b = ((p,) if mode is None else p for p in (a, b))
        for left, right in zip(a, b, strict=True):
            np.testing.assert_allclose(left, right)


def test_fit_trains_on_a_flow():
    model = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.Flatten(),
                              keras.layers.Dense(1)])  # fmt: skip
    model.compile("sgd", "mse")
    flow = image.ImageDataGenerator(rescale=1 / 255, horizontal_flip=True).flow(X, Y, 3, seed=1)
    history = model.fit(flow, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2
    assert len(flow) == 3


def test_a_table_names_files_and_labels(folder):
    table = {"filename": ["cat/0.png", "dog/1.png", "no.png", "dog/2.png", "cat/1.png"],
             "class": ["c", "d", "c", "d", ["c", "d"]], "weight": [1.0, 2.0, 3.0, 4.0, 5.0],
             "size": [0.5, 1.5, 2.5, 3.5, 4.5]}  # fmt: skip
    generator = image.ImageDataGenerator()

    def flow(**more):
        with pytest.warns(UserWarning, match=r"Found 1 invalid"):
            return generator.flow_from_dataframe(table, str(folder), target_size=(8, 6),
                                                 shuffle=False, batch_size=4, **more)  # fmt: skip

    x, y, weights = next(flow(weight_col="weight"))
    assert y.tolist() == [[1, 0], [0, 1], [0, 1], [1, 1]]
    assert weights.tolist() == [1, 2, 4, 5]
    np.testing.assert_array_equal(x[0], np.floor(X[0]))
    assert next(flow(class_mode="raw", y_col="size"))[1].tolist() == [0.5, 1.5, 3.5, 4.5]
    two = next(flow(class_mode="multi_output", y_col=["size", "weight"]))[1]
    assert [part.tolist() for part in two] == [[0.5, 1.5, 3.5, 4.5], [1, 2, 4, 5]]
    only = next(flow(classes=["d"]))
    assert only[1].tolist() == [[1], [1], [1]]


def test_changed_pictures_are_written(tmp_path):
    flow = image.ImageDataGenerator().flow(X, batch_size=2, shuffle=False, save_to_dir=tmp_path,
                                           save_prefix="seen", save_format="png")  # fmt: skip
    next(flow)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert [name.split("_")[:2] for name in names] == [["seen", "0"], ["seen", "1"]]


def make(**settings):
    return image.ImageDataGenerator(**settings)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make(data_format="last"), ValueError, "`data_format` should be"),
        (lambda: make(validation_split=2), ValueError, "strictly between 0 and 1"),
        (lambda: make(zoom_range=(1, 2, 3)), ValueError, "`zoom_range` should be"),
        (lambda: make(brightness_range=1), ValueError, "brightness_range"),
        (lambda: make().fit(X[0]), ValueError, "rank 4"),
        (lambda: make().flow(X[0]), ValueError, "rank 4"),
        (lambda: make().flow(X, Y[:3]), ValueError, "same length"),
        (lambda: make().flow(X, Y, sample_weight=Y[:3]), ValueError, "same length"),
        (lambda: make().flow(X, Y, subset="test"), ValueError, "Invalid subset name"),
        (lambda: make().flow(X, Y, 7)[1], ValueError, "has length 1"),
        (lambda: make().flow_from_directory(".", color_mode="cmyk"), ValueError, "color mode"),
        (lambda: make().flow_from_directory(".", class_mode="many"), ValueError, "class_mode"),
        (lambda: make().flow_from_dataframe({"filename": [1], "class": ["a"]}), TypeError,
         "must be strings"),
        (lambda: image.apply_affine_transform(X[0], 5, row_axis=0, col_axis=0), ValueError,
         "distinct"),
        (lambda: image.apply_affine_transform(X, 5), ValueError, "multi-channel 2D"),
        (lambda: image.random_zoom(X[0], (1,)), ValueError, "two floats"),
    ],
)  # fmt: skip
def test_wrong_settings_say_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
