import io
import tarfile

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors

utils = tf.keras.utils


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [[0, 0, 1], [2, 3, 4]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 4]]),
        ({"maxlen": 2}, [[0, 1], [3, 4]]),
        ({"maxlen": 2, "truncating": "post", "value": 9}, [[9, 1], [2, 3]]),
    ],
)
def test_sequences_are_padded(settings, expected):
    np.testing.assert_array_equal(utils.pad_sequences([[1], [2, 3, 4]], **settings), expected)


@pytest.mark.parametrize(
    ("sequences", "settings", "message"),
    [
        (5, {}, "`sequences` must be iterable"),
        ([1, 2], {}, "must be a list of iterables"),
        ([[1]], {"padding": "middle"}, 'Padding type "middle" not understood'),
        ([[1]], {"truncating": "middle"}, 'Truncating type "middle" not understood'),
        ([[1]], {"value": "x"}, "is not compatible with `value`'s type"),
    ],
)
def test_sequences_that_do_not_fit_are_refused(sequences, settings, message):
    with pytest.raises(ValueError, match=message):
        utils.pad_sequences(sequences, **settings)


def test_a_batch_is_packed_and_unpacked():
    assert utils.pack_x_y_sample_weight(1, 2) == (1, 2)
    assert utils.unpack_x_y_sample_weight((1, 2)) == (1, 2, None)
    with pytest.raises(ValueError, match="Data is expected to be in format"):
        utils.unpack_x_y_sample_weight((1, 2, 3, 4))


def test_a_config_freezes_and_goes_through_json():
    config = utils.Config(units=4)
    config.rate = 0.5
    assert (config["rate"], config.as_dict()) == (0.5, {"units": 4, "rate": 0.5})
    assert utils.Config.from_json(config.to_json()) == config
    config.freeze()
    with pytest.raises(ValueError, match="because the config is frozen"):
        config.units = 5
    with pytest.raises(AttributeError, match="Did you mean 'units'"):
        _ = config.unit


def test_a_bar_shows_means(capsys):
    bar = utils.Progbar(2, verbose=2)
    bar.update(1, [("loss", 1.0)])
    bar.add(1, [("loss", 3.0)])
    assert "2/2" in (shown := capsys.readouterr().out)
    assert "loss: 2.0000" in shown


def test_inputs_of_a_tensor_are_found():
    a, b = tf.keras.Input((2,)), tf.keras.Input((2,))
    found = utils.get_source_inputs(tf.keras.layers.Add()([a, b, a]))
    assert {id(x) for x in found} == {id(a), id(b)}


def test_pictures_go_through_arrays():
    pytest.importorskip("PIL")
    array = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    np.testing.assert_array_equal(utils.img_to_array(utils.array_to_img(array, scale=False)), array)
    with pytest.raises(ValueError, match="Expected image array to have rank 3"):
        utils.array_to_img(np.zeros(3))
    with pytest.raises(ValueError, match="color_mode must be"):
        utils.load_img("x.png", color_mode="cmyk")


def test_a_cached_archive_is_extracted(tmp_path):
    (tmp_path / "d").mkdir()
    with tarfile.open(tmp_path / "d" / "x.tar.gz", "w:gz") as tar:
        entry = tarfile.TarInfo("a.txt")
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"hi"))
    folder = utils.get_file("x.tar.gz", "http://127.0.0.1:9/x.tar.gz", cache_dir=tmp_path,
                            cache_subdir="d", extract=True)  # fmt: skip
    with open(f"{folder}/a.txt") as file:
        assert file.read() == "hi"


def test_a_file_that_cannot_be_had_says_where_it_belongs(tmp_path):
    with pytest.raises(errors.NotFoundError, match=r"datasets/x\.txt, which is not there"):
        utils.get_file("x.txt", "http://127.0.0.1:9/x.txt", cache_dir=tmp_path)
    with pytest.raises(ValueError, match='specify the "origin"'):
        utils.get_file("x.txt")


def branched():
    a, b = tf.keras.Input((3,), name="a"), tf.keras.Input((3,), name="b")
    inner = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(3, name="d")],
                                name="inner")  # fmt: skip
    return tf.keras.Model([a, b], tf.keras.layers.Add(name="sum")([inner(a), b]))


def test_a_drawing_has_layers_and_edges():
    text = utils.model_to_dot(branched(), show_shapes=True, show_layer_names=True).to_string()
    assert '"sum" [label="sum (Add)\\noutput shape: (None, 3)"];' in text
    assert '"a" -> "inner";' in text
    assert '"inner" -> "sum";' in text


def test_a_drawing_expands_models_inside():
    text = utils.model_to_dot(branched(), expand_nested=True).to_string()
    assert 'subgraph "cluster_inner"' in text
    assert '"inner/d" -> "sum";' in text


def test_a_drawing_is_written_as_text(tmp_path):
    utils.plot_model(branched(), tmp_path / "m.dot", show_dtype=True, show_trainable=True)
    text = (tmp_path / "m.dot").read_text()
    assert text.startswith("strict digraph")
    assert "dtype: float32" in text


def test_a_picture_needs_graphviz(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError, match="expected Graphviz's program `dot`"):
        utils.plot_model(branched(), tmp_path / "m.png")
    assert not (tmp_path / "m.png").exists()


def test_a_picture_is_what_dot_writes(tmp_path, monkeypatch):
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\n/bin/cat > "$3"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    utils.plot_model(branched(), tmp_path / "m.png")
    assert (tmp_path / "m.png").read_text().startswith("strict digraph")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"rankdir": "XY"}, "rankdir among"), ({"colour": 1}, "Unrecognized keyword arguments")],
)
def test_wrong_drawings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        utils.model_to_dot(branched(), **wrong)
    with pytest.raises(ValueError, match="has not yet been built"):
        utils.model_to_dot(tf.keras.Sequential([tf.keras.layers.Dense(1)]))
