"""A worker in the place of a lost one waits until the job that lost it has ended; then it joins."""

from __future__ import annotations

import threading

import pytest

from distflow.base import errors
from distflow.cluster import WorkerEnvironment, rendezvous
from distflow.cluster.client import RendezvousClient
from distflow.cluster.environments import kubernetes

TOKEN = "0123456789abcdef0123456789abcdef"


def worker(address: str, rank: int, has_successor: bool = True) -> WorkerEnvironment:
    return WorkerEnvironment(
        rank, 2, 0, "grpc", coordinator=address, token=TOKEN, has_successor=has_successor
    )


def meet(address: str, prefix: str, ranks: tuple[int, ...], results: list[list[str]]) -> None:
    """Registers ranks, each in a thread, and waits for all of them."""

    def register(rank: int) -> None:
        incarnation = f"{prefix}-{rank}".encode()
        with RendezvousClient(worker(address, rank), incarnation=incarnation) as client:
            results.append(client.register(f"{prefix}{rank}:1", 20))

    threads = [threading.Thread(target=register, args=(rank,), daemon=True) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)


def test_it_joins_the_next_job_at_the_same_address():
    first = rendezvous.RendezvousServer(2, token=TOKEN)
    port = int(first.address.rpartition(":")[2])
    met: list[list[str]] = []
    meet(first.address, "old", (0, 1), met)
    assert met == [["old0:1", "old1:1"]] * 2
    later: list[list[str]] = []
    successor = threading.Thread(target=meet, args=(first.address, "new", (1,), later), daemon=True)
    successor.start()
    first.close(0)
    second = rendezvous.RendezvousServer(2, port=port, token=TOKEN)
    try:
        meet(second.address, "new", (0,), later)
        successor.join(20)
        assert later == [["new0:1", "new1:1"]] * 2
    finally:
        second.close(0)


@pytest.mark.parametrize("has_successor", [False, True])
def test_only_a_successor_waits(has_successor: bool):
    server = rendezvous.RendezvousServer(2, token=TOKEN)
    try:
        meet(server.address, "old", (0, 1), [])
        expected = errors.UnavailableError if has_successor else errors.AlreadyExistsError
        second = worker(server.address, 1, has_successor)
        with RendezvousClient(second, incarnation=b"new") as client:
            with pytest.raises(expected, match="is held by"):
                client.register("new1:1", 0.3)
    finally:
        server.close(0)


def test_pods_of_an_indexed_job_have_successors(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "JOB_COMPLETION_INDEX": "1", "DISTFLOW_WORLD_SIZE": "2",
        "DISTFLOW_COORDINATOR": "job-0.job:7117",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert kubernetes.read().has_successor
