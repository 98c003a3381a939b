import dataclasses
import socket
import threading

import grpc
import pytest

from distflow.base import errors
from distflow.cluster import WorkerEnvironment, rendezvous
from distflow.cluster.client import (
    RendezvousClient,
    advertised_host,
    exchange_addresses,
    host_rendezvous,
)
from tests.support import ports

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def server():
    with_token = rendezvous.RendezvousServer(2, token=TOKEN)
    yield with_token
    with_token.close(0)


def worker(server, rank, size=2, token=TOKEN, address=None):
    return WorkerEnvironment(
        rank=rank,
        world_size=size,
        local_rank=rank,
        backend="grpc",
        coordinator=address or server.address,
        token=token,
    )


def in_thread(function, *arguments):
    """Runs function in a thread; the returned callable joins and gives its result or error."""
    box = {}

    def run():
        try:
            box["value"] = function(*arguments)
        except errors.OpError as error:
            box["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join():
        thread.join(20)
        assert not thread.is_alive()
        if "error" in box:
            raise box["error"]
        return box.get("value")

    return join


def test_all_ranks_learn_all_addresses(server):
    joins = [in_thread(exchange_addresses, worker(server, r), f"h{r}:{r + 1}", 20) for r in (1, 0)]
    assert [join() for join in joins] == [["h0:1", "h1:2"]] * 2


def test_timeout_names_the_missing_rank_and_the_server(server):
    with pytest.raises(errors.WorkerLateError) as caught:
        exchange_addresses(worker(server, 0), "h:1", 0.3)
    assert caught.value.rank == 1
    assert "rank 1 has not registered" in str(caught.value)
    assert server.address in str(caught.value)


def test_wrong_and_missing_tokens_are_refused(server):
    for token in ("f" * 32, None):
        with pytest.raises(errors.PermissionDeniedError, match="token") as caught:
            exchange_addresses(worker(server, 0, token=token), "h:1", 5)
        assert TOKEN not in str(caught.value)
    assert server.missing() == [0, 1]


def test_second_process_with_a_rank_is_refused_and_both_are_named(server):
    with pytest.raises(errors.WorkerLateError):
        exchange_addresses(worker(server, 1), "first:1", 0.1)
    with RendezvousClient(worker(server, 1), incarnation=b"another") as second:
        with pytest.raises(errors.AlreadyExistsError) as caught:
            second.register("second:1", 5)
    assert "rank 1 is held by process" in str(caught.value)
    assert "first:1" in str(caught.value)
    assert "second:1" in str(caught.value)


def test_a_rank_that_went_silent_before_the_start_is_replaced(server):
    with pytest.raises(errors.WorkerLateError):
        exchange_addresses(worker(server, 1), "first:1", 0.1)
    server._holders[1].last_seen -= rendezvous.SILENT_SECONDS + 1
    other = in_thread(exchange_addresses, worker(server, 0), "zero:1", 20)
    with RendezvousClient(worker(server, 1), incarnation=b"another") as second:
        assert second.register("second:1", 20) == ["zero:1", "second:1"]
    assert other() == ["zero:1", "second:1"]


def test_two_ranks_cannot_have_one_address(server):
    with pytest.raises(errors.WorkerLateError):
        exchange_addresses(worker(server, 0), "h:1", 0.1)
    with pytest.raises(errors.AlreadyExistsError, match="address of rank 0"):
        exchange_addresses(worker(server, 1), "h:1", 5)


def test_workers_of_another_world_size_are_refused(server):
    with pytest.raises(errors.InvalidArgumentError, match="this job has 2 workers"):
        exchange_addresses(worker(server, 0, size=3), "h:1", 5)


@pytest.mark.parametrize("address", ["", "host", "h:0", "h" * 300 + ":1"])
def test_bad_addresses_are_refused(server, address):
    with pytest.raises(errors.InvalidArgumentError):
        exchange_addresses(worker(server, 0), address, 5)


def test_a_lost_worker_ends_the_wait_of_the_others(server):
    join = in_thread(exchange_addresses, worker(server, 0), "h:1", 20)
    server.mark_lost(1, "killed by signal 9")
    with pytest.raises(errors.WorkerLostError, match="killed by signal 9") as caught:
        join()
    assert caught.value.rank == 1


def test_server_that_is_not_there_is_named():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(errors.UnavailableError, match=address):
            exchange_addresses(worker(None, 1, address=address), "h:1", 0.5)


def test_port_in_use_is_one_clear_error(server, capfd):
    port = int(server.address.rpartition(":")[2])
    with pytest.raises(errors.UnavailableError, match=rf"127\.0\.0\.1:{port}.*in use"):
        rendezvous.RendezvousServer(2, port=port, token=TOKEN)
    assert capfd.readouterr().err == ""


def test_rank_zero_hosts_the_server_itself():
    (address,) = ports.held_addresses(1)
    zero = dataclasses.replace(worker(None, 0, address=address), hosts_coordinator=True)
    join = in_thread(exchange_addresses, worker(None, 1, address=address), "h1:1", 20)
    assert exchange_addresses(zero, "h0:1", 20) == ["h0:1", "h1:1"]
    assert join() == ["h0:1", "h1:1"]
    with pytest.raises(errors.UnavailableError, match="in use"):
        host_rendezvous(zero)


def test_known_addresses_need_no_server():
    known = WorkerEnvironment(0, 2, 0, "grpc", addresses=["a:1", "b:1"])
    assert exchange_addresses(known, "ignored:1") == ["a:1", "b:1"]


def test_values_are_read_by_all_and_written_once(server):
    with RendezvousClient(worker(server, 0)) as zero, RendezvousClient(worker(server, 1)) as one:
        join = in_thread(one.get, ["a", "b"], 20)
        zero.set("a", b"1")
        zero.set("b", b"\x00\xff")
        zero.set("a", b"1")
        assert join() == [b"1", b"\x00\xff"]
        with pytest.raises(errors.AlreadyExistsError, match="set by rank 0"):
            one.set("a", b"2")
        with pytest.raises(errors.DeadlineExceededError, match="'c'"):
            one.get(["a", "c"], 0.1)


def test_oversized_values_and_keys_are_refused(server):
    with RendezvousClient(worker(server, 0)) as client:
        with pytest.raises(errors.InvalidArgumentError, match="16384 bytes"):
            client.set("a", b"x" * (rendezvous.MAX_VALUE_BYTES + 1))
        with pytest.raises(errors.InvalidArgumentError, match="a key has"):
            client.set("", b"x")


def test_oversized_message_is_refused_by_the_server(server):
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary(f"/{rendezvous.SERVICE}/Set")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\0" * (rendezvous.MAX_MESSAGE_BYTES + 1), timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_garbage_is_an_error_and_not_a_crash(server):
    metadata = ((rendezvous.TOKEN_HEADER, TOKEN),)
    with grpc.insecure_channel(server.address) as channel:
        for method in ("Register", "Set", "Get", "Barrier"):
            call = channel.unary_unary(f"/{rendezvous.SERVICE}/{method}")
            with pytest.raises(grpc.RpcError):
                call(b"\xff\xff\xff", timeout=10, metadata=metadata)
    assert server.missing() == [0, 1]


def test_barrier_opens_when_all_have_come(server):
    with RendezvousClient(worker(server, 0)) as zero, RendezvousClient(worker(server, 1)) as one:
        with pytest.raises(errors.WorkerLateError, match="rank 1 has not arrived"):
            zero.barrier("start", 0.1)
        one.barrier("start", 20)
        zero.barrier("start", 20)


def test_other_hosts_are_not_served_without_a_token():
    with pytest.raises(errors.InvalidArgumentError, match="needs a token"):
        rendezvous.RendezvousServer(2, host="0.0.0.0")


def test_short_tokens_are_refused_without_showing_them():
    with pytest.raises(errors.InvalidArgumentError, match="22 or more") as caught:
        rendezvous.RendezvousServer(2, token="hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_name_that_is_not_known_yet_is_waited_for(monkeypatch):
    known, answers = socket.getaddrinfo, [socket.gaierror("not yet"), socket.gaierror("not yet")]

    def lookup(host, port, **options):
        if answers:
            raise answers.pop()
        return known("127.0.0.1", port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert advertised_host("pod-0.service:1", 20) == "127.0.0.1"
    assert not answers


def test_a_name_that_never_comes_is_an_error_with_the_name(monkeypatch):
    def lookup(host, port, **options):
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(errors.UnavailableError, match=r"pod-0\.service:1"):
        advertised_host("pod-0.service:1", 0)


def test_loopback_coordinator_means_loopback_workers():
    assert advertised_host("localhost:1") == "127.0.0.1"
    assert advertised_host(None) == "127.0.0.1"
