"""`distflow run --tls auto`: workers of the job talk encrypted, and nobody else may."""

import importlib
import os
import stat
import tempfile
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest

from distflow.base import errors, flags, tls
from distflow.cluster.rendezvous import RendezvousServer
from distflow.comm.transport.grpc import GrpcServer

cryptography = pytest.importorskip("cryptography")
_make = importlib.import_module("launcher.tls").make


@pytest.fixture
def job(tmp_path):
    """The folder of a job's certificates, in force."""
    folder = tmp_path / "job"
    folder.mkdir()
    _make(folder)
    with flags.override(DISTFLOW_TLS=str(folder)):
        yield folder


@pytest.fixture
def foreign(tmp_path):
    """The folder of another job's certificates."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    _make(folder)
    return folder


def answer(address, seconds=3.0):
    """Calls the rendezvous; returns the status code."""
    channel = tls.channel(address, [("grpc.enable_http_proxy", 0)])
    try:
        channel.unary_unary("/distflow.cluster.Rendezvous/Get")(b"", timeout=seconds)
    except grpc.RpcError as error:
        return error.code()
    finally:
        channel.close()
    return grpc.StatusCode.OK


def test_the_files_are_for_this_user_only(job):
    assert sorted(path.name for path in job.iterdir()) == sorted(tls.FILES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in job.iterdir()} == {0o600}


def test_a_worker_of_the_job_is_answered(job):
    server = RendezvousServer(1)
    try:
        assert answer(server.address) is grpc.StatusCode.OK
    finally:
        server.close(0)


def test_a_worker_of_another_job_is_refused(job, foreign):
    server = RendezvousServer(1)
    try:
        with flags.override(DISTFLOW_TLS=str(foreign)):
            assert answer(server.address, 1.0) is not grpc.StatusCode.OK
    finally:
        server.close(0)


def test_a_client_without_certificates_is_refused(job):
    server = RendezvousServer(1)
    try:
        with flags.override(DISTFLOW_TLS=None):
            assert answer(server.address, 1.0) is not grpc.StatusCode.OK
    finally:
        server.close(0)


def test_frames_travel_encrypted(job):
    servers = [GrpcServer(job="tls") for _ in range(2)]
    addresses = [server.address for server in servers]
    found = [None, None]

    def connect(rank):
        found[rank] = servers[rank].connect(rank, addresses, connect_timeout_seconds=30)

    threads = [threading.Thread(target=connect, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    one, other = found
    sent = np.arange(1 << 18, dtype=np.float32)
    one.send(1, 7, b"meta", [sent])
    frame = other.recv(0, timeout_seconds=20, what="test")
    np.testing.assert_array_equal(frame.body.view(np.float32), sent)
    one.close()
    other.close()


def test_a_folder_without_the_files_is_one_clear_error(tmp_path):
    with flags.override(DISTFLOW_TLS=str(tmp_path)):
        with pytest.raises(errors.InvalidArgumentError, match=r"ca\.pem, worker\.pem"):
            tls.material()


@pytest.mark.spawn
def test_workers_meet_encrypted_and_no_key_stays(run):
    before = set(Path(tempfile.gettempdir()).glob("distflow-tls-*"))
    done = run(["-n", "2", "--backend", "grpc", "--tls", "auto"], "meet")
    assert done.end() == 0, done.err
    assert set(Path(tempfile.gettempdir()).glob("distflow-tls-*")) <= before
    assert "DISTFLOW_TLS" not in os.environ
