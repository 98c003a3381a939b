"""Hostile connections and requests to the servers of a job: errors, bounded memory, and others are
still served."""

import os
import random
import socket
import struct
import threading

import grpc
import numpy as np
import pytest

from distflow.cluster import rendezvous
from distflow.cluster.coordinator import SERVICE, Coordinator
from distflow.cluster.membership import Membership
from distflow.comm.transport import bulk
from distflow.comm.transport.grpc import GrpcServer
from distflow.distribute import elastic_codec
from distflow.distribute.elastic_donor import Donor, fetch
from distflow.distribute.elastic_record import Record
from distflow.protos import cluster_pb2 as pb

TOKEN = "t" * 32
# A header of HTTP/2, of TLS, of HTTP/1, of our own bulk connections, and nothing at all.
OPENINGS = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"dfbulk01", b"",
]  # fmt: skip


class Servers:
    """All that listens in an elastic job."""

    def __init__(self):
        self.record = Record()
        self.record.append(elastic_codec.pack({"k": "step"}, [np.ones(3)]))
        self.coordinator = Coordinator(Membership(1, 4), token=TOKEN)
        self.stream = GrpcServer(token=TOKEN, job="hostile")
        self.donor = Donor(self.record, host="127.0.0.1", token=TOKEN)
        self.rendezvous = rendezvous.RendezvousServer(2, token=TOKEN)
        # Hundreds of strangers at once are more than who may be unknown: they are turned away.
        self.stream.bulk.admit(1, 0, [1])

    def ports(self):
        def port_of(address):
            return int(address.rpartition(":")[2])

        return [
            port_of(self.coordinator.address), self.stream.port, self.stream.bulk.port,
            port_of(self.donor.address), port_of(self.rendezvous.address),
        ]  # fmt: skip

    def check(self):
        """Others are served as before."""
        beat = pb.BeatRequest(id=b"i" * 16, generation=0, position=0)
        assert call(self.coordinator.address, "Beat", beat.SerializeToString()) == "OK"
        assert len(fetch(self.donor.address, 0, token=TOKEN)) == 1
        welcome = self.stream.bulk.welcome
        friend = bulk.connect("127.0.0.1", welcome, token=TOKEN, job=1, rank=1, to=0)
        assert self.stream.bulk.socket_of(1) is not None
        friend.close()

    def close(self):
        self.coordinator.close(0.0)
        self.stream.close()
        self.donor.close()
        self.record.close()
        self.rendezvous.close(0.0)


@pytest.fixture
def servers():
    found = Servers()
    yield found
    found.close()


def call(address, method, request, token=TOKEN):
    """Returns the status of a call with these bytes as its request."""
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        name = f"/{SERVICE}/{method}"
        try:
            channel.unary_unary(name)(
                request, timeout=10, metadata=((rendezvous.TOKEN_HEADER, token),)
            )
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def attack(servers, count, seed):
    """Opens strange connections, up to fifty at a time, which stay, hang up or reset."""
    rng, before, threads = random.Random(seed), resident_bytes(), threading.active_count()
    strangers = []
    ports = servers.ports()
    for number in range(count):
        stranger = socket.create_connection(("127.0.0.1", ports[number % len(ports)]), timeout=5)
        strangers.append(stranger)
        with_reset = rng.random() < 0.3
        if with_reset:
            linger = struct.pack("ii", 1, 0)
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        try:
            stranger.sendall(rng.choice(OPENINGS) + rng.randbytes(rng.choice([0, 1, 100, 5000])))
        except OSError:
            pass  # the server has hung up first
        if with_reset or len(strangers) > 50:
            strangers.pop(rng.randrange(len(strangers))).close()
    for stranger in strangers:
        stranger.close()
    servers.check()
    assert resident_bytes() - before < 128 << 20
    assert threading.active_count() - threads < 200


def good_requests():
    member = pb.Member(
        id=b"m" * 16, slot=1, description="worker 1", address="127.0.0.1:1", donor="127.0.0.1:2",
        position=3, has_state=True, generation=2, fingerprint="[]",
    )  # fmt: skip
    join = pb.JoinRequest(member=member, suspects=[b"s" * 16], known=[b"k" * 16], wait_seconds=1e-3)
    return {
        "Join": join, "Beat": pb.BeatRequest(id=b"m" * 16, generation=2, position=3),
        "Leave": pb.LeaveRequest(id=b"m" * 16),
    }  # fmt: skip


def fuzz_requests(count, seed):
    """Sends mutated requests with the right token; every answer is a reply or a typed refusal."""
    rng, before = random.Random(seed), resident_bytes()
    good = {name: request.SerializeToString() for name, request in good_requests().items()}
    coordinator = Coordinator(Membership(1, 4, settle_seconds=0.0), token=TOKEN)
    found = {}
    try:
        with grpc.insecure_channel(coordinator.address) as channel:
            for _ in range(count):
                name = rng.choice(sorted(good))
                request = bytearray(good[name])
                for _ in range(rng.choice([1, 1, 2, 8])):
                    request[rng.randrange(len(request))] = rng.randrange(256)
                try:
                    channel.unary_unary(f"/{SERVICE}/{name}")(
                        bytes(request), timeout=10, metadata=((rendezvous.TOKEN_HEADER, TOKEN),)
                    )
                    code = "OK"
                except grpc.RpcError as error:
                    code = error.code().name
                found[code] = found.get(code, 0) + 1
        assert call(coordinator.address, "Beat", good["Beat"]) == "OK"
    finally:
        coordinator.close(0.0)
    assert resident_bytes() - before < 64 << 20
    return found


TYPED = {
    "OK", "INVALID_ARGUMENT", "ALREADY_EXISTS", "FAILED_PRECONDITION",
}  # fmt: skip


def test_strange_connections_keep_nobody_out(servers):
    attack(servers, 100, seed=1)


@pytest.mark.soak
def test_1000_strange_connections_keep_nobody_out(servers):
    attack(servers, 1000, seed=2)


def test_mutated_requests_to_the_coordinator_are_answered():
    assert set(fuzz_requests(300, seed=3)) <= TYPED


@pytest.mark.soak
def test_20_000_mutated_requests_to_the_coordinator_are_answered():
    assert set(fuzz_requests(20_000, seed=4)) <= TYPED


def test_a_generation_that_cannot_be_is_refused(servers):
    request = good_requests()["Join"]
    request.member.generation = 2**64 - 1
    code = call(servers.coordinator.address, "Join", request.SerializeToString())
    assert code == "INVALID_ARGUMENT"


def test_identities_nobody_has_do_not_pile_up():
    rules = Membership(1, 4)
    for number in range(10_000):
        identity = number.to_bytes(16, "big")
        rules.beat(pb.BeatRequest(id=identity, generation=0, position=1), float(number))
        rules.leave(identity)
    sizes = [len(rules._heard_at), len(rules._positions), len(rules._gone)]
    assert max(sizes) <= 5000
