"""tf.summary: what is written, read back by our own reader; other readers: test_readers.py."""

import io
import struct
import wave
import zlib

import numpy as np
import pytest

import distflow as tf
from distflow.base import errors
from distflow.protos import summary_pb2
from distflow.summary import graphs, media, records, values


def events(folder):
    """All events of a folder's files but the first of each."""
    found = []
    for path in sorted(folder.glob("events*")):
        first, *rest = records.decode(path.read_bytes())
        assert summary_pb2.Event.FromString(first).file_version == "brain.Event:2"
        found += [summary_pb2.Event.FromString(record) for record in rest]
    return found


def scalars(folder):
    return [
        (e.step, v.tag, float(np.frombuffer(v.tensor.tensor_content, "<f4")[0]))
        for e in events(folder)
        for v in e.summary.value
    ]


@pytest.fixture
def writer(tmp_path):
    return tf.summary.create_file_writer(str(tmp_path))


def test_scalars_have_tag_step_and_value(tmp_path, writer):
    with writer.as_default():
        assert tf.summary.scalar("loss", 0.5, step=3).numpy() is np.True_
        with tf.name_scope("a"), tf.name_scope("b"):
            tf.summary.scalar("loss", tf.constant(2), step=tf.constant(4, tf.int64))
    assert scalars(tmp_path) == [(3, "loss", 0.5), (4, "a/b/loss", 2.0)]


def test_the_step_in_force_is_that_of_the_writer_or_of_set_step(tmp_path, writer):
    step = tf.Variable(7, dtype=tf.int64)
    with writer.as_default(step=step):
        tf.summary.scalar("x", 1.0)
        step.assign_add(1)
        tf.summary.scalar("x", 1.0)
    assert tf.summary.experimental.get_step() is None
    tf.summary.experimental.set_step(20)
    try:
        with writer.as_default():
            tf.summary.scalar("x", 1.0)
    finally:
        tf.summary.experimental.set_step(None)
    assert [step for step, _, _ in scalars(tmp_path)] == [7, 8, 20]


def test_without_a_step_it_is_an_error_that_says_how(writer):
    with writer.as_default(), pytest.raises(ValueError, match=r"set_step\(\)"):
        tf.summary.scalar("x", 1.0)


def test_without_a_writer_nothing_is_written():
    assert not tf.summary.scalar("x", 1.0, step=1).numpy()
    assert not tf.summary.should_record_summaries().numpy()


def test_a_noop_writer_drops_all():
    with tf.summary.create_noop_writer().as_default():
        assert not tf.summary.scalar("x", 1.0, step=1).numpy()


@pytest.mark.parametrize("condition", [lambda: tf.constant(False), False, tf.constant(False)])
def test_record_if_leaves_out(tmp_path, writer, condition):
    with writer.as_default():
        with tf.summary.record_if(condition):
            assert not tf.summary.scalar("no", 1.0, step=1).numpy()
            assert not tf.summary.should_record_summaries().numpy()
        tf.summary.scalar("yes", 1.0, step=1)
    assert [tag for _, tag, _ in scalars(tmp_path)] == ["yes"]


def test_in_a_traced_function_each_run_writes(tmp_path, writer):
    @tf.function
    def step(x, number):
        with writer.as_default():
            tf.summary.scalar("sum", tf.reduce_sum(x), step=number)
        return x * 2

    for number in range(3):
        step(tf.ones(4) * number, tf.constant(number, tf.int64))
    writer.flush()
    assert scalars(tmp_path) == [(0, "sum", 0.0), (1, "sum", 4.0), (2, "sum", 8.0)]
    assert step.experimental_get_tracing_count() == 1


def test_a_condition_in_a_traced_function_is_asked_in_each_run(tmp_path, writer):
    @tf.function
    def step(number):
        with writer.as_default(), tf.summary.record_if(tf.equal(number % 2, 0)):
            tf.summary.scalar("even", number, step=number)

    for number in range(4):
        step(tf.constant(number, tf.int64))
    writer.flush()
    assert [step for step, _, _ in scalars(tmp_path)] == [0, 2]


def test_a_closed_writer_refuses(tmp_path, writer):
    writer.close()
    with pytest.raises(RuntimeError, match="already closed"), writer.as_default():
        pass


def test_closing_in_the_block_and_again_does_nothing_more(tmp_path, writer):
    with writer.as_default():
        tf.summary.scalar("x", 1.0, step=0)
        writer.close()
    writer.flush()
    writer.close()
    assert scalars(tmp_path) == [(0, "x", 1.0)]


def test_a_closed_default_writer_is_flushed_without_an_error(writer):
    writer.set_as_default()
    try:
        writer.close()
        tf.summary.flush()
    finally:
        tf.summary.create_noop_writer().set_as_default()


def test_events_wait_for_the_queue_or_a_flush(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path), max_queue=2)
    writer.set_as_default()
    try:
        tf.summary.scalar("x", 1.0, step=0)
        assert not scalars(tmp_path)
        for step in (1, 2):
            tf.summary.scalar("x", 1.0, step=step)
        assert len(scalars(tmp_path)) == 3
        tf.summary.scalar("x", 1.0, step=3)
        tf.summary.flush()
        assert len(scalars(tmp_path)) == 4
    finally:
        tf.summary.create_noop_writer().set_as_default()


def test_a_scalar_must_be_one(writer):
    with writer.as_default(), pytest.raises(errors.InvalidArgumentError, match="a scalar"):
        tf.summary.scalar("x", [1.0, 2.0], step=0)


def test_histogram_counts_as_numpy():
    data = np.random.default_rng(0).normal(size=1000)
    found = values.histogram_buckets(data, 30)
    counts, edges = np.histogram(data, 30)
    np.testing.assert_allclose(found[:, 0], edges[:-1])
    np.testing.assert_allclose(found[:, 1], edges[1:])
    assert found[:, 2].tolist() == counts.tolist()


@pytest.mark.parametrize(
    ("data", "last", "total"),
    [([], 0, 0), ([2.0, 2.0], 2, 2), ([np.nan, 1.0, np.inf], 1, 1)],
    ids=["empty", "equal", "not finite"],
)
def test_histogram_of_special_data(data, last, total):
    found = values.histogram_buckets(data, 5)
    assert found.shape == (5, 3)
    assert (found[-1, 2], found[:, 2].sum()) == (last, total)


def unpacked(data):
    """The pixels of a PNG whose rows have filter 0."""
    at, found = 8, {}
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        found[kind] = body
        at += length + 12
    width, height, depth, colours, *_ = struct.unpack(">IIBBBBB", found[b"IHDR"])
    channels = {0: 1, 4: 2, 2: 3, 6: 4}[colours]
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, -1)
    assert depth == 8
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_holds_the_pixels(channels):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.uint8)
    np.testing.assert_array_equal(unpacked(media.png(image)), image)


def test_floats_become_bytes_with_saturation():
    image = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan]).reshape(1, 6, 1)
    assert media.as_bytes(image).reshape(-1).tolist() == [0, 0, 127, 255, 255, 0]


def test_images_write_size_and_at_most_so_many(tmp_path, writer):
    with writer.as_default():
        tf.summary.image("pictures", np.zeros((5, 4, 6, 3)), step=1, max_outputs=2)
    (event,) = events(tmp_path)
    width, height, *pictures = event.summary.value[0].tensor.string_val
    assert (width, height, len(pictures)) == (b"6", b"4", 2)


def test_audio_is_wav(tmp_path, writer):
    sound = np.array([0.0, 1.0, -1.0, 0.5])[None, :, None]
    with writer.as_default():
        tf.summary.audio("sound", sound, 8000, step=1)
    (event,) = events(tmp_path)
    with wave.open(io.BytesIO(event.summary.value[0].tensor.string_val[0])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (8000, 1, 4)
        samples = np.frombuffer(file.readframes(4), "<i2")
    np.testing.assert_allclose(samples / 32767, sound.reshape(-1), atol=1e-4)


@pytest.mark.parametrize("data", ["# title", tf.constant("x"), [["a", "b"], ["c", "d"]]])
def test_text_and_tables(tmp_path, writer, data):
    with writer.as_default():
        tf.summary.text("notes", data, step=0)
    (event,) = events(tmp_path)
    assert event.summary.value[0].metadata.plugin_data.plugin_name == "text"
    assert len(event.summary.value[0].tensor.string_val) == (4 if isinstance(data, list) else 1)


def test_text_must_be_text(writer):
    with writer.as_default(), pytest.raises(errors.InvalidArgumentError, match="text"):
        tf.summary.text("notes", 3.0, step=0)


def test_write_and_raw_messages_keep_what_they_get(tmp_path, writer):
    about = values.metadata("mine", 2, b"settings")
    value = summary_pb2.Summary.Value(tag="raw", simple_value=4.0)
    with writer.as_default():
        with tf.name_scope("ignored"):
            tf.summary.write("tensor", tf.ones((2, 3), tf.float64), step=5, metadata=about)
        summary = summary_pb2.Summary(value=[value])
        tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=6)
    tensor, raw = events(tmp_path)
    assert tensor.summary.value[0].tag == "tensor"
    assert tensor.summary.value[0].metadata == about
    assert [d.size for d in tensor.summary.value[0].tensor.tensor_shape.dim] == [2, 3]
    assert (raw.step, raw.summary.value[0].simple_value) == (6, 4.0)


def test_graphs_of_functions_that_ran_are_exported(tmp_path, writer):
    @tf.function
    def f(x):
        return tf.nn.relu(x) + 1.0

    tf.summary.trace_on()
    f(tf.ones(3))
    with writer.as_default():
        tf.summary.trace_export("f", step=0)
    (event,) = events(tmp_path)
    graph = summary_pb2.GraphDef.FromString(event.graph_def)
    nodes = {node.name: node for node in graph.node}
    assert nodes["x"].op == "Placeholder"
    assert nodes["x"].attr["_output_shapes"].list.shape[0].dim[0].size == 3
    known = set(nodes)
    assert all(name.partition(":")[0] in known for n in graph.node for name in n.input)
    with pytest.raises(ValueError, match="Must enable trace"):
        tf.summary.trace_export("f", step=0)


def test_nodes_of_a_graph_have_names_of_their_own():
    @tf.function
    def f(mul, mul_1):
        return mul * mul_1 * mul_1

    spec = tf.TensorSpec([2], tf.float32)
    graph = f.get_concrete_function(spec, spec).graph
    found = graphs.graph_def([graph, graph])
    names = [node.name.removeprefix(f"{graph.name}/") for node in found.node]
    assert names[:5] == ["mul", "mul_1", "mul_2", "mul_3", "output_0"]
    assert names[5:] == [f"{graph.name}_1/{name}" for name in names[:5]]


def test_a_graph_is_written_by_itself(tmp_path, writer):
    @tf.function
    def f(x):
        return x * 2.0

    concrete = f.get_concrete_function(tf.TensorSpec([None], tf.float32))
    with writer.as_default():
        tf.summary.graph(concrete.graph)
        with pytest.raises(TypeError, match="graph"):
            tf.summary.graph("no graph")
    (event,) = events(tmp_path)
    assert {n.op for n in summary_pb2.GraphDef.FromString(event.graph_def).node} >= {"mul"}
