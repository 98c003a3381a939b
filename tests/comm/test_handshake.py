"""Who is let in over gRPC: only a stream whose every word fits."""

from types import SimpleNamespace

import pytest

from distflow.comm.transport import frames
from distflow.comm.transport.grpc_channel import grpc
from distflow.comm.transport.grpc_handshake import Door, introduction

JOB = "digits:1"
SAID = dict(
    introduction(token="secret", job=frames.job_number(JOB), rank=1, to=0, world_size=3)
)  # fmt: skip


class Refused(Exception):
    """What a call that was ended raises."""


class Stream:
    """A call that says some words, and remembers why it was ended."""

    def __init__(self, said):
        self.invocation_metadata = said.items
        self.code = None

    def abort(self, code, text):
        self.code = code
        raise Refused(text)


def door(admits=True, job=JOB):
    found = Door("secret", job)
    host = SimpleNamespace(rank=0, world_size=3, peers=[1, 2], admit=lambda peer: admits)
    found.open_for(host)
    return found, host


def test_a_stream_that_fits_is_let_in():
    found, host = door()
    assert found.admit(Stream(SAID)) == (host, 1)
    assert found.refused == []


@pytest.mark.parametrize("key", sorted(SAID))
@pytest.mark.parametrize("value", [None, "", "other", "2\0", "-1"])
def test_a_stream_with_another_word_is_refused_and_why_is_kept(key, value):
    said = {name: word for name, word in SAID.items() if name != key or value is not None}
    if value is not None:
        said[key] = value
    found, _ = door()
    stream = Stream(said)
    with pytest.raises(Refused):
        found.admit(stream)
    wrong = grpc.StatusCode.FAILED_PRECONDITION
    assert stream.code is (grpc.StatusCode.UNAUTHENTICATED if "token" in key else wrong)
    assert len(found.refused) == 1


def test_a_second_stream_of_a_rank_is_refused():
    found, _ = door(admits=False)
    with pytest.raises(Refused, match="rank '1' is not expected"):
        found.admit(Stream(SAID))


def test_a_job_that_was_not_known_before_is_compared_as_well():
    found, _ = door(job=None)
    found.job = "digits:2"
    with pytest.raises(Refused, match="another job or generation"):
        found.admit(Stream(SAID))


def test_who_waits_at_a_door_that_closes_is_sent_away():
    found = Door("secret", JOB)
    found.close()
    stream = Stream(SAID)
    with pytest.raises(Refused, match="not ready"):
        found.admit(stream)
    assert stream.code is grpc.StatusCode.UNAVAILABLE


def test_the_newest_ten_refusals_are_kept():
    found, _ = door()
    for number in range(25):
        with pytest.raises(Refused):
            found.admit(Stream({**SAID, "distflow-rank": str(100 + number)}))
    assert [text[:8] for text in found.refused] == [f"rank {100 + n}" for n in range(15, 25)]
