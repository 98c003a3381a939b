"""Data sets from folders and arrays, on files that the tests write."""

import wave

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors

utils = tf.keras.utils
pytest.importorskip("PIL", reason="needs the extra data")


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("cat", 3), ("dog", 5)):
        (tmp_path / name).mkdir()
        for i in range(count):
            image = rng.integers(0, 255, (6, 8, 3)).astype("uint8")
            utils.save_img(tmp_path / name / f"{i}.png", image, scale=False)
    return tmp_path


def test_pictures_come_with_the_numbers_of_their_folders(pictures):
    data = utils.image_dataset_from_directory(pictures, image_size=(6, 8), shuffle=False,
                                              batch_size=8)  # fmt: skip
    assert data.class_names == ["cat", "dog"]
    ((images, labels),) = list(data)
    assert images.shape == (8, 6, 8, 3)
    np.testing.assert_array_equal(labels, [0] * 3 + [1] * 5)
    expected = utils.img_to_array(utils.load_img(pictures / "cat" / "0.png"))
    np.testing.assert_array_equal(images[0], expected)


def test_pictures_train_a_model(pictures):
    data = utils.image_dataset_from_directory(pictures, image_size=(4, 4), batch_size=4, seed=1)
    model = tf.keras.Sequential([
        tf.keras.Input((4, 4, 3)), tf.keras.layers.Flatten(), tf.keras.layers.Dense(2),
    ])  # fmt: skip
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    assert len(model.fit(data, epochs=2, verbose=0).history["loss"]) == 2


@pytest.mark.parametrize(("mode", "shape"), [("categorical", (8, 2)), ("binary", (8, 1))])
def test_labels_have_the_form_asked_for(pictures, mode, shape):
    data = utils.image_dataset_from_directory(pictures, label_mode=mode, shuffle=False)
    assert next(iter(data))[1].shape == shape


def test_both_parts_have_all_files_once(pictures):
    train, test = utils.image_dataset_from_directory(
        pictures, validation_split=0.25, subset="both", seed=3, image_size=(2, 2), batch_size=None
    )
    assert len(train.file_paths) == 6
    assert len(set(train.file_paths) | set(test.file_paths)) == 8


def test_grey_pictures_have_one_channel_and_no_labels(pictures):
    data = utils.image_dataset_from_directory(pictures, labels=None, color_mode="grayscale")
    assert next(iter(data)).shape == (8, 256, 256, 1)


def test_crops_keep_the_aspect_ratio(pictures):
    data = utils.image_dataset_from_directory(pictures, image_size=(6, 6), shuffle=False,
                                              crop_to_aspect_ratio=True)  # fmt: skip
    expected = utils.img_to_array(utils.load_img(pictures / "cat" / "0.png"))[:, 1:7]
    np.testing.assert_array_equal(next(iter(data))[0][0], expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": "guessed"}, "`labels` argument should be a list"),
        ({"label_mode": "float"}, "`label_mode` argument must be one of"),
        ({"color_mode": "cmyk"}, "`color_mode` must be one of"),
        ({"validation_split": 2}, "must be between 0 and 1"),
        ({"validation_split": 0.2}, "If `subset` is set"),
        ({"validation_split": 0.2, "subset": "test"}, "`subset` must be either"),
        ({"validation_split": 0.2, "subset": "both"}, "you must provide a `seed`"),
        ({"class_names": ["cat"]}, "did not match the names of the subdirectories"),
        ({"labels": [0, 1]}, "Expected the lengths of `labels` to match"),
        ({"labels": None, "class_names": ["a"]}, "You can only pass `class_names` if"),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "Only one of"),
        ({"format": "grain"}, '`format` must be "tf"'),
    ],
)
def test_settings_that_do_not_fit_are_refused(pictures, wrong, message):
    with pytest.raises(ValueError, match=message):
        utils.image_dataset_from_directory(pictures, **wrong)


def test_texts_come_with_labels(tmp_path):
    for name, text in (("bad", "no"), ("good", "yes, fine")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text(text)
    data = utils.text_dataset_from_directory(tmp_path, shuffle=False, max_length=4)
    texts, labels = next(iter(data))
    assert texts.numpy().tolist() == [b"no", b"yes,"]
    np.testing.assert_array_equal(labels, [0, 1])


def test_sounds_are_filled_to_one_length(tmp_path):
    (tmp_path / "a").mkdir()
    for i, length in enumerate((3, 5)):
        with wave.open(str(tmp_path / "a" / f"{i}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(np.full(length, 16384, "<i2").tobytes())
    sounds, _ = next(iter(utils.audio_dataset_from_directory(tmp_path, shuffle=False)))
    np.testing.assert_array_equal(sounds[:, :, 0], [[0.5] * 3 + [0] * 2, [0.5] * 5])


def test_windows_of_a_series_have_the_targets_of_their_starts():
    data = np.arange(10)
    windows = utils.timeseries_dataset_from_array(data, data + 100, 3, sequence_stride=2,
                                                  sampling_rate=2, batch_size=10)  # fmt: skip
    x, y = next(iter(windows))
    np.testing.assert_array_equal(x, [[0, 2, 4], [2, 4, 6], [4, 6, 8]])
    np.testing.assert_array_equal(y, [100, 102, 104])


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequence_length": 0},
        {"sequence_length": 3, "sequence_stride": 0},
        {"sequence_length": 3, "sampling_rate": 99},
        {"sequence_length": 3, "start_index": 99},
        {"sequence_length": 3, "end_index": 99},
    ],
)
def test_windows_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match=f"`{list(wrong)[-1]}` must be"):
        utils.timeseries_dataset_from_array(np.arange(9), None, **wrong)


def test_a_split_keeps_order_and_sizes():
    left, right = utils.split_dataset((np.arange(10), np.arange(10) * 2), left_size=0.7)
    assert [int(a) for a, _ in left] == list(range(7))
    assert [int(b) for _, b in right] == [14, 16, 18]


def test_a_shuffled_split_repeats_with_its_seed():
    parts = [utils.split_dataset(np.arange(9), left_size=4, shuffle=True, seed=5)[0] for _ in "ab"]
    first, second = ([int(x) for x in part] for part in parts)
    assert first == second != [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "At least one of the"),
        ({"left_size": 1.5}, ValueError, r"must be a float in \(0, 1\)"),
        ({"left_size": 0}, ValueError, r"must be an int in \(0, 9\)"),
        ({"left_size": "half"}, TypeError, "expected an integer or float"),
        ({"left_size": 5, "right_size": 8}, ValueError, "should be <= 9"),
        ({"left_size": 0.6, "right_size": 0.6}, ValueError, "is greater than 1"),
    ],
)
def test_splits_that_do_not_fit_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        utils.split_dataset(np.arange(9), **arguments)


def test_a_file_that_is_no_picture_is_said(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(errors.DataLossError, match="expected a picture"):
        utils.load_img(tmp_path / "a.png")
