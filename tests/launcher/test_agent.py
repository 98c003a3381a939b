"""What an agent does on its host: it answers orders, and ends its own workers with itself."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from launcher import frames

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0


class Agent:
    """An agent of this machine, and what it has told."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launcher.agent"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, cwd=ROOT, bufsize=0, start_new_session=True,
        )  # fmt: skip
        self._decoder, self._messages = frames.Decoder(), []
        self._killer = threading.Timer(DEADLINE, self.process.kill)
        self._killer.start()

    def order(self, **words):
        self.process.stdin.write(json.dumps(words).encode() + b"\n")

    def look(self, mark):
        self.order(do="look", folder="/", program="", mark=mark)
        return self.until("info")

    def start(self, rank, command):
        """Starts a worker; returns its process."""
        self.order(
            do="start", rank=rank, command=command, environment={}, folder=str(ROOT), files={}
        )
        return self.until("started")["started"]

    def until(self, word):
        """Returns the next message that has the word."""
        while True:
            while self._messages:
                message = self._messages.pop(0)
                if word in message:
                    return message
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"the agent has ended without {word}"
            found = self._decoder.feed(data)
            self._messages += [json.loads(b) for kind, _, b in found if kind == frames.MESSAGE]

    def end(self):
        """Cuts it off, and waits for its end."""
        self.process.stdin.close()
        return self.process.wait(DEADLINE)

    def close(self):
        self._killer.cancel()
        self.process.kill()
        self.process.wait(DEADLINE)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def agent():
    """Starts agents; none outlives the test."""
    started = []

    def begin():
        started.append(Agent())
        return started[-1]

    yield begin
    for each in started:
        each.close()


@pytest.mark.spawn
def test_an_agent_that_was_cut_off_leaves_the_workers_of_the_next_one_alone(
    agent, tmp_path, all_gone
):
    mark = f"job-of-{os.getpid()}/{tmp_path}"
    first, second = agent(), agent()
    first.look(mark)
    old = first.start(0, ["sleep", "60"])
    second.look(mark)
    assert first.until("ended")["ended"] == -signal.SIGKILL
    new = second.start(0, ["sleep", "60"])
    assert first.end() == 0
    second.order(do="signal", rank=0, number=int(signal.SIGTERM))
    assert second.until("ended")["ended"] == -signal.SIGTERM
    assert all_gone([old, new])


@pytest.mark.spawn
def test_an_agent_ends_what_it_has_started_with_itself(agent, tmp_path, all_gone):
    only = agent()
    only.look(f"job-of-{os.getpid()}/{tmp_path}")
    code = "import subprocess, sys; subprocess.Popen(['sleep', '60'], start_new_session=True)"
    away = only.start(0, [sys.executable, "-c", code])
    there = only.start(1, ["sleep", "60"])
    only.until("ended")
    assert only.end() == 0
    assert all_gone([away, there])
