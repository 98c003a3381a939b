"""Folders of checkpoints: keeping, finding, and falling back to what is whole."""

import os
import threading

import pytest

import distflow as tf
from distflow.checkpoint import disk, folder, layout


def manager(path, max_to_keep=2, value=0.0, **kwargs):
    checkpoint = tf.train.Checkpoint(v=tf.Variable(value))
    return tf.train.CheckpointManager(checkpoint, path, max_to_keep, **kwargs)


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    return caplog


def damage(prefix):
    path = layout.read_manifest(prefix).data_path
    with open(path, "r+b") as file:
        file.write(b"\xff")


def test_the_last_few_are_kept(tmp_path):
    m = manager(tmp_path)
    paths = [m.save() for _ in range(4)]
    assert paths == [f"{tmp_path}/ckpt-{i}" for i in range(1, 5)]
    assert m.checkpoints == paths[2:]
    assert m.latest_checkpoint == paths[3]
    assert len(list(tmp_path.glob("*.index"))) == len(list(tmp_path.glob("*.data-*"))) == 2


def test_none_keeps_all(tmp_path):
    m = manager(tmp_path, None)
    for _ in range(4):
        m.save()
    assert len(m.checkpoints) == 4


def test_the_file_checkpoint_has_tfs_form(tmp_path):
    m = manager(tmp_path)
    for _ in range(3):
        m.save()
    assert (tmp_path / "checkpoint").read_text().splitlines() == [
        'model_checkpoint_path: "ckpt-3"',
        'all_model_checkpoint_paths: "ckpt-2"',
        'all_model_checkpoint_paths: "ckpt-3"',
    ]
    state = tf.train.get_checkpoint_state(tmp_path)
    assert state.model_checkpoint_path == f"{tmp_path}/ckpt-3"
    assert state.all_model_checkpoint_paths == [f"{tmp_path}/ckpt-2", f"{tmp_path}/ckpt-3"]


def test_a_new_manager_goes_on_where_the_old_one_was(tmp_path):
    old = manager(tmp_path, value=7.0)
    old.save()
    old.save()
    new = manager(tmp_path)
    assert new.checkpoints == old.checkpoints
    assert new.restore_or_initialize() == f"{tmp_path}/ckpt-2"
    assert float(new.checkpoint.v) == 7
    assert new.save() == f"{tmp_path}/ckpt-3"
    assert new.checkpoints == [f"{tmp_path}/ckpt-2", f"{tmp_path}/ckpt-3"]


def test_without_a_checkpoint_init_fn_is_called(tmp_path):
    calls = []
    m = manager(tmp_path, init_fn=lambda: calls.append(1))
    assert m.restore_or_initialize() is None
    assert calls == [1]
    assert m.latest_checkpoint is None


def test_one_an_hour_stays_for_good(tmp_path, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(layout.time, "time_ns", lambda: int(now[0] * 1e9))
    m = manager(tmp_path, 1, keep_checkpoint_every_n_hours=1)
    m._kept_at = now[0]
    for _ in range(6):
        now[0] += 1800
        m.save()
    assert sorted(p.name for p in tmp_path.glob("*.index")) == [
        "ckpt-2.index", "ckpt-4.index", "ckpt-6.index"
    ]  # fmt: skip


def test_the_interval_is_counted_in_steps(tmp_path):
    step = tf.Variable(0, dtype=tf.int64)
    m = manager(tmp_path, None, step_counter=step, checkpoint_interval=5)
    saved = []
    for i in range(12):
        step.assign(i)
        saved.append(m.save())
    assert [s for s in saved if s] == [f"{tmp_path}/ckpt-{i}" for i in (0, 5, 10)]
    assert m.save(check_interval=False) == f"{tmp_path}/ckpt-11"
    assert layout.read_manifest(m.latest_checkpoint).facts["step"] == 11


def test_a_number_can_be_given(tmp_path):
    m = manager(tmp_path, checkpoint_name="model")
    assert m.save(checkpoint_number=42) == f"{tmp_path}/model-42"


@pytest.mark.parametrize(
    "arguments", [{"max_to_keep": 0}, {"max_to_keep": -1}, {"checkpoint_interval": 5}]
)
def test_wrong_settings_are_refused(tmp_path, arguments):
    with pytest.raises(ValueError, match=r"max_to_keep|step_counter"):
        manager(tmp_path, **arguments)


def test_a_damaged_newest_falls_back_with_a_warning(tmp_path, warnings):
    m = manager(tmp_path, None, value=1.0)
    m.save()
    m.checkpoint.v.assign(2.0)
    m.save()
    damage(f"{tmp_path}/ckpt-2")
    assert tf.train.latest_checkpoint(tmp_path) == f"{tmp_path}/ckpt-1"
    assert "ckpt-2" in warnings.text
    assert "is damaged" in warnings.text
    assert "The checkpoint before it is taken" in warnings.text
    again = manager(tmp_path)
    assert again.restore_or_initialize() == f"{tmp_path}/ckpt-1"
    assert float(again.checkpoint.v) == 1


def test_a_damaged_manifest_falls_back_too(tmp_path, warnings):
    m = manager(tmp_path, None)
    m.save()
    m.save()
    (tmp_path / "ckpt-2.index").write_bytes(b"\0\1\2")
    assert tf.train.latest_checkpoint(tmp_path) == f"{tmp_path}/ckpt-1"
    assert "ckpt-2.index is damaged" in warnings.text


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b'model_checkpoint_path: "ckpt-1"\n'])
def test_the_file_checkpoint_may_be_lost_or_old(tmp_path, content):
    m = manager(tmp_path)
    m.save()
    m.save()
    (tmp_path / "checkpoint").unlink()
    if content is not None:
        (tmp_path / "checkpoint").write_bytes(content)
    assert tf.train.latest_checkpoint(tmp_path) == f"{tmp_path}/ckpt-2"
    assert manager(tmp_path).save() == f"{tmp_path}/ckpt-1"  # not restored: starts to count


def test_a_checkpoint_checked_once_is_not_read_again(tmp_path, monkeypatch):
    manager(tmp_path).save()
    tf.train.latest_checkpoint(tmp_path)
    monkeypatch.setattr(layout, "verify", lambda prefix: pytest.fail("read again"))
    assert tf.train.latest_checkpoint(tmp_path)


def test_an_empty_folder_has_no_newest(tmp_path):
    assert tf.train.latest_checkpoint(tmp_path) is None
    assert tf.train.latest_checkpoint(tmp_path / "none") is None
    assert tf.train.get_checkpoint_state(tmp_path) is None


def test_data_without_a_manifest_is_swept(tmp_path, monkeypatch):
    m = manager(tmp_path)
    m.save()
    left = tmp_path / "ckpt-9.data-0123456789abcdef"
    left.write_bytes(b"killed before the manifest")
    m.save()
    assert left.exists()  # it may be another worker's, who writes just now
    os.utime(left, (0, 0))
    m.save()
    assert not list(tmp_path.glob("ckpt-9*"))


def test_saving_in_a_thread_rotates_as_well(tmp_path):
    m = manager(tmp_path)
    options = tf.train.CheckpointOptions(enable_async=True)
    for _ in range(5):
        m.save(options=options)
    m.sync()
    assert m.checkpoints == [f"{tmp_path}/ckpt-4", f"{tmp_path}/ckpt-5"]


def test_a_failed_save_keeps_those_before(tmp_path, monkeypatch):
    m = manager(tmp_path, 1)
    m.save()

    class Full(disk.Disk):
        def write(self, file, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "disk", Full())
    with pytest.raises(tf.errors.ResourceExhaustedError):
        m.save()
    assert m.checkpoints == [f"{tmp_path}/ckpt-1"]
    assert tf.train.latest_checkpoint(tmp_path) == f"{tmp_path}/ckpt-1"


def test_the_reader_shows_names_shapes_and_values(tmp_path):
    path = manager(tmp_path, value=4.0).save()
    reader = tf.train.load_checkpoint(tmp_path)
    key = "v/.ATTRIBUTES/VARIABLE_VALUE"
    assert reader.has_tensor(key)
    assert reader.get_tensor(key) == 4
    assert reader.get_variable_to_shape_map()[key] == []
    assert reader.get_variable_to_dtype_map()[key] is tf.float32
    assert b"v/.ATTRIBUTES/VARIABLE_VALUE (DT_FLOAT32) []" in reader.debug_string()
    assert tf.train.load_variable(path, key) == 4
    with pytest.raises(tf.errors.NotFoundError, match="has no value 'x'"):
        reader.get_tensor("x")
    with pytest.raises(tf.errors.NotFoundError):
        tf.train.load_checkpoint(tmp_path.parent / "nothing")


def test_the_iterator_yields_each_new_one(tmp_path):
    m = manager(tmp_path)
    first = m.save()
    found = tf.train.checkpoints_iterator(tmp_path, timeout=10)
    assert next(found) == first
    thread = threading.Thread(target=m.save)
    thread.start()
    assert next(found) == f"{tmp_path}/ckpt-2"
    thread.join()


def test_the_iterator_ends_after_its_timeout(tmp_path):
    answers = iter([False, True])
    found = tf.train.checkpoints_iterator(tmp_path, timeout=0, timeout_fn=lambda: next(answers))
    assert list(found) == []


def test_the_state_file_survives_a_newline_in_a_name(tmp_path):
    folder.remember(f'{tmp_path}/a"\nb')
    assert folder.get_checkpoint_state(tmp_path).model_checkpoint_path == f'{tmp_path}/a"\nb'
