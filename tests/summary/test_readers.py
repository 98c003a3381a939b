"""Event files are what TensorBoard reads: compared with its own package, and TensorFlow's."""

import numpy as np
import pytest

import distflow as tf


@pytest.fixture
def folder(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    with writer.as_default():
        for step in range(3):
            tf.summary.scalar("curve", 0.5 * step, step=step)
        tf.summary.histogram("weights", np.arange(100.0), step=1)
        tf.summary.image("picture", np.ones((1, 4, 6, 3)), step=1)
        tf.summary.text("notes", "**bold**", step=1)
        tf.summary.audio("sound", np.zeros((1, 80, 1), np.float32), 8000, step=1)
    writer.close()
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_shows_each_in_its_dashboard(folder):
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard"
    )
    util = pytest.importorskip("tensorboard.util.tensor_util")
    found = reader.EventAccumulator(str(folder))
    found.Reload()
    plugins = {tag: found.SummaryMetadata(tag).plugin_data.plugin_name for tag in
               found.Tags()["tensors"]}  # fmt: skip
    assert plugins == {
        "curve": "scalars", "weights": "histograms", "picture": "images", "notes": "text",
        "sound": "audio",
    }  # fmt: skip
    curve = [(e.step, float(util.make_ndarray(e.tensor_proto))) for e in found.Tensors("curve")]
    assert curve == [(0, 0.0), (1, 0.5), (2, 1.0)]
    buckets = util.make_ndarray(found.Tensors("weights")[0].tensor_proto)
    assert buckets.shape == (30, 3)
    assert buckets[:, 2].sum() == 100


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_files_hold_what_tensorflows_do(folder, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorFlow's summaries need tensorboard")
    tensorflow = pytest.importorskip("tensorflow")

    def read(path):
        for file in sorted(path.glob("events*")):
            for event in tensorflow.compat.v1.train.summary_iterator(str(file)):
                for value in event.summary.value:
                    yield (
                        event.step,
                        value.tag,
                        value.metadata,
                        tensorflow.make_ndarray(value.tensor),
                    )

    theirs = tmp_path / "theirs"
    writer = tensorflow.summary.create_file_writer(str(theirs))
    with writer.as_default():
        for step in range(3):
            tensorflow.summary.scalar("curve", 0.5 * step, step=step)
        tensorflow.summary.histogram("weights", np.arange(100.0), step=1)
        tensorflow.summary.image("picture", np.ones((1, 4, 6, 3)), step=1)
        tensorflow.summary.text("notes", "**bold**", step=1)
        tensorflow.summary.audio("sound", np.zeros((1, 80, 1), np.float32), 8000, step=1)
    writer.close()
    for ours, expected in zip(read(folder), read(theirs), strict=True):
        assert ours[:2] == expected[:2]
        assert ours[2].plugin_data == expected[2].plugin_data
        assert (ours[3].dtype, ours[3].shape) == (expected[3].dtype, expected[3].shape)
        if ours[3].dtype != object:
            np.testing.assert_allclose(ours[3], expected[3])
        elif ours[1] == "picture":
            assert ours[3][:2].tolist() == expected[3][:2].tolist()
        elif ours[1] == "notes":
            assert ours[3] == expected[3]
