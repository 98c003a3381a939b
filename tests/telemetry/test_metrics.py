"""Metrics in Prometheus's text format, read with the official client's parser where it is there."""

import http.client
import socket
import urllib.error
import urllib.request

import numpy as np
import pytest

import distflow as tf
from distflow.base import flags
from distflow.comm import Communicator, InProcessHub
from distflow.telemetry import account, endpoint, metrics, steps


def parsed():
    parser = pytest.importorskip("prometheus_client.parser", reason="extra test")
    return {f.name: f for f in parser.text_string_to_metric_families(metrics.text())}


def samples(family, name):
    return {
        tuple(sorted((k, v) for k, v in s.labels.items() if k != "rank")): s.value
        for s in family.samples
        if s.name == name
    }


def test_all_families_are_understood_by_the_official_parser():
    families = parsed()
    # The parser takes "_total" off the names of counters.
    assert set(families) == {name.removesuffix("_total") for name in metrics.FAMILIES}
    for name, (family, _) in metrics.FAMILIES.items():
        assert families[name.removesuffix("_total")].type == family.kind


def test_a_histogram_counts_cumulatively_up_to_infinity(monkeypatch):
    one = metrics.Histogram((0.1, 1.0))
    monkeypatch.setitem(metrics.FAMILIES, "distflow_step_seconds", (one, "seconds"))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        one.observe(seconds)
    family = parsed()["distflow_step_seconds"]
    assert samples(family, "distflow_step_seconds_bucket") == {
        (("le", "0.1"),): 2, (("le", "1"),): 3, (("le", "+Inf"),): 4
    }  # fmt: skip
    assert samples(family, "distflow_step_seconds_count") == {(): 4}
    assert samples(family, "distflow_step_seconds_sum") == {(): pytest.approx(7.65)}


def test_steps_of_training_count_and_those_of_evaluation_do_not():
    before = metrics.steps.value
    with steps.Step():
        with steps.Step():
            pass
    with steps.Step("test_step"):
        pass
    assert metrics.steps.value == before + 1


def test_a_step_that_fails_does_not_count():
    before = metrics.steps.value
    with pytest.raises(ValueError, match="boom"), steps.Step():
        raise ValueError("boom")
    assert metrics.steps.value == before


def test_fit_counts_its_steps():
    model = tf.keras.Sequential([tf.keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = metrics.steps.value
    model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=2, epochs=2, verbose=0)
    model.evaluate(np.ones((8, 2)), np.ones((8, 1)), verbose=0)
    assert metrics.steps.value == before + 8


def test_bytes_of_a_reduction_are_counted_for_each_peer():
    hub = InProcessHub(2)
    communicators = [Communicator(hub.endpoint(rank), 2, algorithm="naive") for rank in range(2)]
    import threading

    threads = [
        threading.Thread(target=c.all_reduce, args=({c.rank: [np.ones(1000, np.float32)]},))
        for c in communicators
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    first, second = (c.account for c in communicators)
    assert first.sent[0] == second.sent[1] == 0
    assert first.sent[1] == second.received[0] >= 4000
    assert second.sent[0] == first.received[1] >= 4000


def test_bytes_of_communicators_that_are_gone_stay_counted():
    before = account.bytes_by_peer()[0]
    one = account.Account(3)
    one.sent[2] += 7
    del one
    now = account.bytes_by_peer()[0]
    assert now[2] - (before[2] if len(before) > 2 else 0) == 7


@pytest.fixture
def address():
    where = endpoint.serve("127.0.0.1", 0)
    yield where
    endpoint._server.shutdown()
    endpoint._server.server_close()
    endpoint._server = None


def test_the_endpoint_gives_what_the_parser_reads(address):
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "distflow_steps_total{" in reply.read().decode()


def test_other_paths_and_methods_are_refused(address):
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.urlopen(f"http://{address}/etc/passwd", timeout=30)
    caught.value.close()
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("POST", "/metrics", body=b"x")
    assert connection.getresponse().status == 501
    connection.close()


def test_a_port_that_is_taken_is_a_warning_and_no_error(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with flags.override(DISTFLOW_METRICS_PORT=port, DISTFLOW_LOCAL_RANK=0):
            endpoint.start()
    endpoint._server = None


def test_it_listens_on_loopback_unless_told_otherwise():
    assert flags.FLAGS["DISTFLOW_METRICS_HOST"].default == "127.0.0.1"
