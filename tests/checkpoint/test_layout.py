"""A checkpoint's files: what was written is read, and what is damaged or half is found."""

import errno
import hashlib
import os

import ml_dtypes
import numpy as np
import pytest

from distflow.base import errors
from distflow.checkpoint import disk, layout

VALUES = {
    "w": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.asarray(1.5, ml_dtypes.bfloat16),
    "empty": np.zeros((0, 3), np.int64),
    "flag": np.asarray([True, False]),
    "z": np.asarray([1 + 2j], np.complex64),
    "words": np.asarray([b"a", b"", "grün".encode()], object),
}


class Killed(BaseException):
    """Nothing runs after it, as after kill -9: not even what cleans up."""


class DyingDisk(disk.Disk):
    """Lets `budget` bytes and operations through, then dies for good."""

    def __init__(self, budget):
        self.budget = budget

    def write(self, file, data):
        data = bytes(data)
        part = data[: max(self.budget, 0)]
        file.write(part)
        file.flush()
        self._spend(len(data))

    def sync(self, file):
        self._spend(1)

    def rename(self, source, target):
        self._spend(1)
        super().rename(source, target)

    def sync_folder(self, folder):
        self._spend(1)

    def remove(self, path):
        self._spend(1)
        super().remove(path)

    def _spend(self, amount):
        self.budget -= amount
        if self.budget < 0:
            raise Killed


def save(folder, number=1.0, name="ckpt"):
    values = {**VALUES, "w": VALUES["w"] * number}
    layout.write(str(folder / name), values, [{"children": {}}], {"step": int(number)})


def load(folder, name="ckpt"):
    with layout.Reader(str(folder / name)) as reader:
        return {key: reader.read(key) for key in reader.manifest.entries}, reader.manifest


def test_values_are_read_as_written(tmp_path):
    save(tmp_path)
    values, _ = load(tmp_path)
    assert list(values) == list(VALUES)
    for key, value in VALUES.items():
        assert values[key].dtype == value.dtype
        np.testing.assert_array_equal(values[key], value)


def test_the_manifest_says_digests_shapes_dtypes_and_facts(tmp_path):
    save(tmp_path, 7)
    manifest = layout.read_manifest(str(tmp_path / "ckpt"))
    entry = manifest.entries["w"]
    assert (entry.dtype, entry.shape, entry.num_bytes) == ("float32", (3, 4), 48)
    assert entry.sha256 == hashlib.sha256((VALUES["w"] * np.float32(7)).tobytes()).hexdigest()
    assert manifest.facts["step"] == 7
    assert set(manifest.facts["versions"]) == {"distflow", "numpy", "python"}


def test_the_data_file_is_the_bytes_one_after_another(tmp_path):
    save(tmp_path)
    manifest = layout.read_manifest(str(tmp_path / "ckpt"))
    raw = (tmp_path / manifest.data).read_bytes()
    assert raw.startswith(VALUES["w"].tobytes())
    assert len(raw) == manifest.num_bytes


def test_a_second_save_leaves_two_files(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 2
    assert load(tmp_path)[1].facts["step"] == 2


def test_every_flipped_bit_is_found(tmp_path):
    save(tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 2
    for path in paths:
        good = path.read_bytes()
        for place in range(len(good)):
            bad = bytearray(good)
            bad[place] ^= 1 << (place % 8)
            path.write_bytes(bad)
            with pytest.raises(errors.DataLossError, match="ckpt"):
                layout.verify(str(tmp_path / "ckpt"))
        path.write_bytes(good)
    layout.verify(str(tmp_path / "ckpt"))


@pytest.mark.parametrize("cut", [0, 1, 20, -1])
def test_every_truncation_is_found(tmp_path, cut):
    save(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        good = path.read_bytes()
        path.write_bytes(good[:cut])
        with pytest.raises(errors.DataLossError):
            layout.verify(str(tmp_path / "ckpt"))
        path.write_bytes(good)


def test_a_missing_data_file_is_damage_that_names_it(tmp_path):
    save(tmp_path)
    (tmp_path / layout.read_manifest(str(tmp_path / "ckpt")).data).unlink()
    with pytest.raises(errors.DataLossError, match="no such file"):
        layout.Reader(str(tmp_path / "ckpt"))


def test_a_missing_checkpoint_says_what_to_check(tmp_path):
    with pytest.raises(errors.NotFoundError, match="the number at the end"):
        layout.read_manifest(str(tmp_path / "ckpt"))


def test_a_process_killed_at_any_byte_leaves_old_or_new(tmp_path, monkeypatch):
    save(tmp_path, 1)
    kept = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    seen = set()
    for budget in range(100_000):
        dying = DyingDisk(budget)
        monkeypatch.setattr(disk, "disk", dying)
        try:
            save(tmp_path, 2)
            finished = True
        except Killed:
            finished = False
        monkeypatch.setattr(disk, "disk", disk.Disk())
        values, manifest = load(tmp_path)
        step = manifest.facts["step"]
        np.testing.assert_array_equal(values["w"], VALUES["w"] * np.float32(step))
        seen.add(step)
        if finished:
            break
        for path in tmp_path.iterdir():
            path.unlink()
        for name, content in kept.items():
            (tmp_path / name).write_bytes(content)
    assert finished
    assert seen == {1, 2}


def test_the_next_save_sweeps_what_a_killed_process_left(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "disk", DyingDisk(30))
    with pytest.raises(Killed):
        save(tmp_path)
    monkeypatch.setattr(disk, "disk", disk.Disk())
    (left,) = tmp_path.iterdir()
    save(tmp_path, 2)
    assert left.exists()  # its process lives: this one
    parts = left.name.rsplit(".", 3)
    left.rename(tmp_path / ".".join([parts[0], "4194304", *parts[2:]]))
    save(tmp_path, 3)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, 1)

    class Full(disk.Disk):
        def write(self, file, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "disk", Full())
    with pytest.raises(errors.ResourceExhaustedError, match=r"ckpt\.data.*No space left"):
        save(tmp_path, 2)
    monkeypatch.setattr(disk, "disk", disk.Disk())
    assert load(tmp_path)[1].facts["step"] == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_too_little_space_is_said_before_any_byte(tmp_path, monkeypatch):
    real = os.statvfs(tmp_path)
    fields = list(real)
    fields[4] = 0  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(fields))
    with pytest.raises(errors.ResourceExhaustedError, match="0 free bytes"):
        save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_a_typed_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.OpError, match="cannot write"):
        save(tmp_path / "file")


def test_python_objects_are_refused(tmp_path):
    with pytest.raises(errors.InvalidArgumentError, match="strings or numbers"):
        layout.write(str(tmp_path / "c"), {"x": np.asarray([{}], object)}, [], {})


def test_values_can_be_read_after_the_checkpoint_was_deleted(tmp_path):
    save(tmp_path)
    with layout.Reader(str(tmp_path / "ckpt")) as reader:
        layout.remove(str(tmp_path / "ckpt"))
        assert not list(tmp_path.iterdir())
        np.testing.assert_array_equal(reader.read("w"), VALUES["w"])
