"""Timelines of real jobs: their form, what a step consists of, and a worker that is killed."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.soak, pytest.mark.spawn]

_JOB = """
import sys
import numpy as np
import distflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    k = tf.keras.layers
    model = tf.keras.Sequential([k.Conv2D(16, 3, activation="relu"), k.Conv2D(32, 3,
        activation="relu"), k.MaxPooling2D(), k.Flatten(), k.Dense(64, "relu"), k.Dense(10)])
    model.compile("adam", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
x = np.random.default_rng(0).normal(size=(512, 28, 28, 1)).astype("float32")
model.fit(x, np.arange(512) % 10, batch_size=256, epochs=int(sys.argv[1]), verbose=0)
"""


def start(folder, backend, epochs, *options):
    script = folder / "train.py"
    script.write_text(_JOB)
    command = [sys.executable, "-m", "distflow_launcher", "run", "-n", "2", "--backend", backend]
    environment = {**os.environ, "DISTFLOW_THREADS": "1"}
    return subprocess.Popen(
        [*command, *options, str(script), str(epochs)], cwd=folder, env=environment
    )


def end(process, seconds=110):
    try:
        return process.wait(seconds)
    except BaseException:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        raise


def covered(step, events):
    """The share of a step that events in its thread cover."""
    begin, stop = step["ts"], step["ts"] + step["dur"]
    total, at = 0.0, begin
    for event in sorted(events, key=lambda e: e["ts"]):
        first, last = max(event["ts"], at), min(event["ts"] + event["dur"], stop)
        if last > first:
            total, at = total + last - first, last
    return total / step["dur"]


@pytest.mark.parametrize("backend", ["grpc", "shm"])
def test_phases_add_up_to_the_step_and_arrows_have_two_ends(tmp_path, backend):
    output = tmp_path / "run.json"
    assert end(start(tmp_path, backend, 20, "--timeline", str(output))) == 0
    events = json.loads(output.read_text())["traceEvents"]
    for event in events:
        assert {"ph", "name", "pid", "tid"} <= set(event)
        assert event["ph"] in "XMsf"
        assert event["ph"] == "M" or event["ts"] >= 0
    assert {e["pid"] for e in events} == {0, 1}
    arrows = {end: {e["id"] for e in events if e["ph"] == end} for end in "sf"}
    assert arrows["s"] == arrows["f"] != set()
    for pid in (0, 1):
        mine = [e for e in events if e["ph"] == "X" and e["pid"] == pid]
        steps = [e for e in mine if e["cat"] == "step"][5:]
        shares = [
            covered(s, [e for e in mine if e["tid"] == s["tid"] and e["cat"] != "step"])
            for s in steps
        ]
        assert statistics.median(shares) > 0.95
        names = {e["name"] for e in mine}
        assert {"forward", "backward", "apply", "rendezvous", "bucket 1 ready"} <= names


def test_a_worker_that_is_killed_leaves_its_events(tmp_path):
    folder = tmp_path / "timeline"
    process = start(tmp_path, "grpc", 1000, "--env", f"DISTFLOW_TIMELINE={folder}")
    try:
        deadline = time.monotonic() + 60
        while not (files := list(folder.glob("*.json"))) or files[0].stat().st_size < 20_000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(int(files[0].stem.rpartition("-")[2]), signal.SIGKILL)
    finally:
        assert end(process) != 0
    merged = subprocess.run(
        [sys.executable, "-m", "distflow_launcher", "timeline", str(folder)], cwd=tmp_path
    )
    assert merged.returncode == 0
    events = json.loads((folder / "timeline.json").read_text())["traceEvents"]
    assert {e["pid"] for e in events if e["ph"] == "X"} == {0, 1}
