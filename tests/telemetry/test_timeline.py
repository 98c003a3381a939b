"""Timelines: whole JSON at any moment, events of the right threads, one clock after the merge."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from distflow.base import flags
from distflow.telemetry import timeline
from launcher.timeline import merge

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recorder(tmp_path):
    """A timeline that records into tmp_path."""
    with flags.override(DISTFLOW_TIMELINE=str(tmp_path)):
        timeline.start()
        yield timeline.active
        timeline.close()


def events_of(path):
    return json.loads(Path(path).read_text())


def test_an_event_has_the_form_of_chromes_trace_events(recorder):
    start = timeline.now()
    recorder.add('loop "a"', "compute", start, {"bytes": 3}, start + 1500)
    recorder.flush()
    (event,) = [e for e in events_of(recorder.path) if e["ph"] == "X"]
    assert event["name"] == 'loop "a"'
    assert event["cat"] == "compute"
    assert event["pid"] == os.getpid()
    assert event["ts"] == pytest.approx(start / 1e3, abs=1e-2)
    assert event["dur"] == 1.5
    assert event["args"] == {"bytes": 3}


def test_the_file_is_a_whole_array_before_any_event_and_after_each_flush(recorder):
    assert events_of(recorder.path)
    for number in range(3):
        recorder.add(f"event {number}", "compute", timeline.now())
        recorder.flush()
        assert sum(e["ph"] == "X" for e in events_of(recorder.path)) == number + 1


def test_threads_have_rows_with_names(recorder):
    def work():
        recorder.add("there", "comm", timeline.now())

    recorder.add("here", "compute", timeline.now())
    thread = threading.Thread(target=work, name="distflow-courier")
    thread.start()
    thread.join(10)
    recorder.flush()
    events = events_of(recorder.path)
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    rows = {e["name"]: names[e["tid"]] for e in events if e["ph"] == "X"}
    assert rows == {"here": "main", "there": "comm"}


def test_stopped_and_started_again_it_goes_on_in_one_file(recorder):
    recorder.add("before", "compute", timeline.now())
    timeline.stop()
    assert timeline.active is None
    timeline.start()
    assert timeline.active is recorder
    recorder.add("after", "compute", timeline.now())
    recorder.flush()
    assert [e["name"] for e in events_of(recorder.path) if e["ph"] == "X"] == ["before", "after"]


def test_it_ends_with_a_warning_at_its_largest_size(tmp_path):
    one = timeline.Timeline(tmp_path, most_bytes=2000)
    timeline.active = one
    for number in range(100):
        one.add(f"event {number}", "compute", timeline.now())
    one.flush()
    assert timeline.active is None
    one.close()
    assert events_of(one.path)


def test_without_the_setting_nothing_is_recorded():
    timeline.start()
    assert timeline.active is None


def write(folder, rank, host, boot, offset, events, unix=10_000, rows=()):
    """Writes a worker's file as it would: times in microseconds of its own clock."""
    clock = {
        "rank": rank, "host": host, "process": 100 + rank, "boot": boot, "offset_ns": offset,
        "rtt_ns": 10, "monotonic_ns": 0, "unix_ns": unix, "job": "j",
    }  # fmt: skip
    lines = [{"ph": "M", "name": "clock", "pid": 100 + rank, "tid": 0, "args": clock}, *rows]
    for name, ts in events:
        lines.append({"ph": "X", "name": name, "pid": 100 + rank, "tid": 1, "ts": ts, "dur": 1.0})
    (folder / f"timeline-{host}-{100 + rank}.json").write_text(json.dumps(lines))


def merged(folder):
    assert merge(folder, folder / "all.json")[0]
    events = json.loads((folder / "all.json").read_text())["traceEvents"]
    return {e["name"]: (e["pid"], e["ts"]) for e in events if e["ph"] == "X"}


def test_workers_of_one_host_share_its_clock(tmp_path):
    write(tmp_path, 0, "a", "boot", 0, [("first", 100.0)])
    write(tmp_path, 1, "b", "boot", 77_000, [("second", 130.0)])
    assert merged(tmp_path) == {"first": (0, 0.0), "second": (1, 30.0)}


def test_other_hosts_are_shifted_by_the_offset_that_they_measured(tmp_path):
    write(tmp_path, 0, "a", "boot a", 0, [("first", 1000.0)])
    write(tmp_path, 1, "b", "boot b", -400_000, [("second", 1450.0)])
    assert merged(tmp_path) == {"first": (0, 0.0), "second": (1, 50.0)}


def test_without_a_measured_offset_the_wall_clocks_decide(tmp_path):
    write(tmp_path, 0, "a", "boot a", None, [("first", 1000.0)], unix=10_000_000)
    write(tmp_path, 1, "b", "boot b", None, [("second", 1000.0)], unix=10_020_000)
    assert merged(tmp_path) == {"first": (0, 0.0), "second": (1, 20.0)}


def test_a_file_torn_in_the_midst_of_a_write_gives_its_whole_lines(tmp_path):
    write(tmp_path, 0, "a", "boot", 0, [])
    (path,) = tmp_path.glob("timeline-*")
    lines = "".join(json.dumps(e) + ",\n" for e in events_of(path))
    whole = '{"ph":"X","name":"whole","pid":100,"tid":1,"ts":5,"dur":1},\n'
    path.write_text("[\n" + lines + whole + '{"ph":"X","name":"to')
    assert set(merged(tmp_path)) == {"whole"}


def test_a_worker_that_took_the_place_of_a_lost_one_has_a_row_of_its_own(tmp_path):
    write(tmp_path, 0, "a", "boot", 0, [("first", 1.0)])
    write(tmp_path, 0, "b", "boot", 0, [("second", 2.0)])
    found = merged(tmp_path)
    assert found["first"][0] != found["second"][0]


def test_an_empty_folder_gives_no_file(tmp_path):
    assert merge(tmp_path, tmp_path / "all.json") == (0, 0)
    assert not list(tmp_path.iterdir())


_KILLED = """
import os, sys, time
from distflow.telemetry import timeline
timeline.install()
print("ready", flush=True)
n = 0
while True:
    for _ in range(50):
        timeline.now()
        if timeline.active is not None:
            timeline.active.add(f"event {n}", "compute", timeline.now()); n += 1
    if n and not n % 1000:
        timeline.active.flush()
        print(n, flush=True)
"""


@pytest.mark.spawn
def test_after_kill_9_the_merged_file_holds_what_was_flushed(tmp_path):
    environment = {**os.environ, "DISTFLOW_TIMELINE": str(tmp_path), "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED], stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            flushed = [int(process.stdout.readline()) for _ in range(3)][-1]
        finally:
            process.send_signal(signal.SIGKILL)
        process.wait(30)
    merge(tmp_path, tmp_path / "all.json")
    events = events_of(tmp_path / "all.json")["traceEvents"]
    assert sum(e["ph"] == "X" for e in events) >= flushed


_TOGGLED = """
import os, signal, sys, time
from distflow.telemetry import timeline
timeline.install()
for state in (False, True):
    os.kill(os.getpid(), signal.SIGUSR1)
    deadline = time.monotonic() + 30
    while (timeline.active is not None) != state:
        assert time.monotonic() < deadline
        time.sleep(0.001)
print("toggled")
"""


@pytest.mark.spawn
def test_sigusr1_stops_recording_and_starts_it_again(tmp_path):
    environment = {**os.environ, "DISTFLOW_TIMELINE": str(tmp_path), "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _TOGGLED], capture_output=True, env=environment, text=True,
        timeout=60,
    )  # fmt: skip
    assert done.stdout == "toggled\n", done.stderr
