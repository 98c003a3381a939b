"""What workers send (`distflow.telemetry.pulse`) is what the launcher hears."""

import json
import os
import select
import threading

import pytest

from distflow.base.place import here
from distflow.telemetry import pulse
from launcher.reports import Reports
from tests.launcher.test_ssh import TRAIN

DEADLINE = 20.0


@pytest.fixture
def reports(monkeypatch):
    """The launcher's end, to which a pulse of this process sends as rank 3."""
    found = Reports()
    monkeypatch.setattr(here, "rank", 3)
    monkeypatch.setattr(here, "step", 42)
    monkeypatch.setattr(pulse, "_told", None)
    monkeypatch.setattr(pulse, "_noted", {})
    monkeypatch.setattr(pulse, "_pulse", pulse.Pulse(found.path))
    yield found
    pulse._pulse.close()
    found.close()


def next_of(reports, wanted):
    """Returns the next message that is wanted, as soon as it has come."""
    while select.select([reports], [], [], DEADLINE)[0]:
        for message in reports.read():
            if wanted(message):
                return message
    raise AssertionError("no such message came")


def test_a_worker_says_how_far_it_is(reports):
    assert pulse.is_due()
    pulse.note("loss", 0.5)
    assert not pulse.is_due()
    message = next_of(reports, lambda m: "loss" in m)
    assert (message["rank"], message["step"], message["loss"]) == (3, 42, 0.5)
    assert message["process"] == os.getpid()


def test_the_launcher_hears_the_rank_it_gave_not_that_in_an_elastic_generation(
    reports, monkeypatch
):
    monkeypatch.setenv("DISTFLOW_RANK", "5")
    assert next_of(reports, lambda m: "step" in m and m["rank"] != 3)["rank"] == 5


def test_a_loss_that_is_no_number_is_left_out(reports):
    pulse.note("loss", float("nan"))
    assert "loss" not in next_of(reports, lambda m: "step" in m)


def test_an_error_is_told_once_with_its_traceback(reports):
    try:
        raise ValueError("boom")
    except ValueError as error:
        for _ in range(2):
            pulse.tell_error(type(error), error, error.__traceback__)
    message = next_of(reports, lambda m: "error" in m)
    assert message["error"] == "ValueError"
    assert message["traceback"].startswith("Traceback (most recent call last):\n")
    assert message["traceback"].endswith("ValueError: boom\n")
    assert not any("error" in m for m in reports.read())


def test_a_launcher_that_does_not_read_keeps_no_worker_waiting(reports):
    sender = threading.Thread(
        target=lambda: [pulse._pulse.send({"filler": "x" * 1000}) for _ in range(5000)]
    )
    sender.start()
    sender.join(DEADLINE)
    assert not sender.is_alive()


def test_a_launcher_that_has_gone_is_no_error(reports):
    reports.close()
    pulse._pulse.send({"step": 1})


@pytest.mark.spawn
def test_a_timeline_has_all_workers_and_leaves_no_folder(start_program, tmp_path, monkeypatch):
    script, output = tmp_path / "train.py", tmp_path / "timeline.json"
    script.write_text(TRAIN)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    job = start_program(["-n", "2", "--timeline", output, script])
    assert job.end() == 0, job.err
    events = json.loads(output.read_text())["traceEvents"]
    names = {e["args"]["name"].partition(" (")[0] for e in events if e["name"] == "process_name"}
    assert names == {"rank 0", "rank 1"}
    assert "distflow run: timeline: " in job.err
    assert list((tmp_path / "scratch").glob("distflow-timeline-*")) == []
