"""Published files: found, downloaded from a local server, checked, unpacked, said to be missing."""

import functools
import hashlib
import http.server
import io
import logging
import os
import pickle
import socket
import sys
import tarfile
import threading

import numpy as np
import pytest

from distflow.base import errors, log
from distflow.keras.datasets import arrays, files

pytest.importorskip("pooch", reason="needs distflow[data]")
DATA = b"some published bytes"
SHA = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def server(tmp_path):
    """Address of a server of the files in tmp_path/served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    (tmp_path / "served").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{found.server_port}/"
    found.shutdown()
    thread.join()
    found.server_close()


def test_a_file_is_downloaded_once(home, server, tmp_path):
    (tmp_path / "served" / "a.bin").write_bytes(DATA)
    path = files.fetch("test", "a.bin", server + "a.bin", SHA)
    assert path == str(home / "datasets" / "a.bin")
    assert (home / "datasets" / "a.bin").read_bytes() == DATA
    (tmp_path / "served" / "a.bin").unlink()
    assert files.fetch("test", "a.bin", server + "a.bin", SHA) == path


def test_a_download_with_another_checksum_is_refused_and_not_kept(home, server, tmp_path):
    (tmp_path / "served" / "a.bin").write_bytes(DATA + b"!")
    with pytest.raises(errors.NotFoundError, match="hash"):
        files.fetch("test", "a.bin", server + "a.bin", SHA)
    assert not (home / "datasets" / "a.bin").exists()


def test_a_file_that_the_server_lacks_is_an_error_that_says_where_it_belongs(home, server):
    with pytest.raises(errors.NotFoundError) as raised:
        files.fetch("test", "a.bin", server + "a.bin", SHA)
    text = str(raised.value)
    assert str(home / "datasets" / "a.bin") in text
    assert f"Get {server}a.bin and put it there" in text
    assert "404" in text


def test_without_a_server_the_error_says_which_file_goes_where(home):
    with socket.socket() as closed:  # bound, but nobody listens
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x.bin"
        with pytest.raises(errors.NotFoundError, match=r"datasets/x\.bin, which is not there"):
            files.fetch("test", "x.bin", url, SHA)


def test_without_pooch_the_error_has_the_pip_command(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(errors.NotFoundError, match=r"pip install \"distflow\[data\]\""):
        files.fetch("test", "x.bin", "http://127.0.0.1/x.bin")


def test_a_path_of_the_user_s_is_taken_as_it_is(tmp_path, home):
    (tmp_path / "mine.bin").write_bytes(b"mine")
    assert files.fetch("test", str(tmp_path / "mine.bin"), "http://127.0.0.1/x", SHA) == str(
        tmp_path / "mine.bin"
    )


def test_a_cached_file_with_another_checksum_is_used_with_a_warning(home, caplog, monkeypatch):
    monkeypatch.setattr(log.get_logger(), "propagate", True)
    (home / "datasets").mkdir(parents=True)
    (home / "datasets" / "a.bin").write_bytes(b"other")
    with caplog.at_level(logging.WARNING):
        files.fetch("test", "a.bin", "http://127.0.0.1/a", SHA)
    assert "not the published file" in caplog.text


def archive_of(path, **members):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(f"top/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_members_are_unpacked(tmp_path):
    archive_of(tmp_path / "a.tar.gz", one=b"1", two=b"2")
    files.unpack(str(tmp_path / "a.tar.gz"), ["top/one", "top/two"], str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path / "out")) == ["one", "two"]


@pytest.mark.parametrize("keep", [0, 40, 90])
def test_a_damaged_archive_is_said(tmp_path, keep):
    archive_of(tmp_path / "a.tar.gz", one=os.urandom(4000))
    data = (tmp_path / "a.tar.gz").read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(data[:keep])
    with pytest.raises(errors.DataLossError, match="archive"):
        files.unpack(str(tmp_path / "a.tar.gz"), ["top/one"], str(tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def test_pickled_arrays_are_read_and_nothing_else(tmp_path):
    ragged = np.empty(2, dtype=object)
    ragged[:] = [[1, 2], [3]]
    np.savez(tmp_path / "a.npz", x=ragged, y=np.arange(2))
    x, y = arrays.read_npz("test", str(tmp_path / "a.npz"), ("x", "y"))
    assert [list(row) for row in x] == [[1, 2], [3]]
    assert y.tolist() == [0, 1]
    bad = np.empty(1, dtype=object)
    bad[:] = [Evil()]
    np.savez(tmp_path / "b.npz", x=bad)
    with pytest.raises(errors.DataLossError, match="system is no part of an array"):
        arrays.read_npz("test", str(tmp_path / "b.npz"), ("x",))


def test_a_batch_that_runs_code_is_refused(tmp_path):
    (tmp_path / "batch").write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(errors.DataLossError, match="no part of an array"):
        arrays.read_batch("test", str(tmp_path / "batch"), "labels")
