import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from distflow.cluster.coordinator import Coordinator
from distflow.cluster.membership import Membership

JOB = Path(__file__).with_name("elastic_job.py")
ROOT = Path(__file__).parents[2]
DEADLINE = 100.0


class ElasticRun:
    """`distflow run --elastic` of the job, disturbed while it runs; never outlives its test."""

    def __init__(self, options, arguments, faults="", hold=None, program=(str(JOB),)):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")}
        environment |= {"DISTFLOW_FAULT": faults} if faults else {}
        environment |= {"ELASTIC_HOLD": str(hold)} if hold else {}
        self.mark = secrets.token_hex(8)
        environment["ELASTIC_TEST"] = self.mark
        environment |= {"DISTFLOW_SILENCE": "2", "DISTFLOW_LOG_LEVEL": "INFO"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launcher", "run", *map(str, options), *program,
             *map(str, arguments)],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines = []
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self._collect, daemon=True)
        self.thread.start()

    def _collect(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()

    def wait_for(self, pattern, count=1):
        """Returns the match of the count-th line with a pattern, as soon as it has come."""
        over = time.monotonic() + DEADLINE
        with self.news:
            while True:
                found = [m for m in map(re.compile(pattern).search, self.lines) if m]
                if len(found) >= count:
                    return found[count - 1]
                if not self.thread.is_alive() or not self.news.wait(over - time.monotonic()):
                    raise AssertionError(f"no {pattern!r} in\n{self.text}")

    def at_step(self, slot, step):
        """Returns the process of a worker as soon as it has done that many steps."""
        return int(self.wait_for(rf"rank {slot}\] step {step} pid (\d+)$")[1])

    def end(self):
        """Returns (exit code, hashes of the workers that came to the end)."""
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end after {DEADLINE:g} s\n{self.text}") from None
        self.thread.join(DEADLINE)
        return code, [m[1] for m in map(re.compile(r"sha256=(\w+)").search, self.lines) if m]

    @property
    def text(self):
        return "\n".join(self.lines)

    def left_behind(self):
        """Returns the processes of this run that are still there."""
        wanted = f"ELASTIC_TEST={self.mark}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if wanted in entry.read_bytes().split(b"\0"):
                    found.append(int(entry.parent.name))
        return found

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            self.process.kill()
        self.process.wait()
        self.thread.join(5)
        self.process.stdout.close()


@pytest.fixture
def elastic():
    """Starts elastic jobs: elastic(options, arguments, faults="", hold=None)."""
    runs = []

    def start(options, arguments, **more):
        runs.append(ElasticRun(options, arguments, **more))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


@pytest.fixture(scope="session")
def golden():
    """golden(kind, steps): the hash of one process without any network."""
    found = {}

    def get(kind, steps):
        if (kind, steps) not in found:
            done = subprocess.run(
                [sys.executable, str(JOB), kind, str(steps)], capture_output=True, text=True,
                env={k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")},
                timeout=DEADLINE, check=True,
            )  # fmt: skip
            found[kind, steps] = re.search(r"sha256=(\w+)", done.stdout)[1]
        return found[kind, steps]

    return get


class Workers:
    """Workers without a launcher, and their coordinator in this process."""

    def __init__(self, folder, low, high, host="127.0.0.1"):
        self.folder, self.bounds, self.host = folder, (low, high), host
        self.token = "t" * 32
        self.processes = []
        self.coordinator = Coordinator(Membership(low, high), host=host, token=self.token)
        self.address = self.coordinator.address

    def start(self, arguments, *, faults="", prefix=(), **environment):
        slot = len(self.processes)
        self.coordinator.slot_started(slot)  # the first generation waits for all
        variables = {k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")}
        variables |= {
            "DISTFLOW_ELASTIC": ":".join(map(str, self.bounds)), "DISTFLOW_SILENCE": "2",
            "DISTFLOW_RANK": str(slot), "DISTFLOW_WORLD_SIZE": str(self.bounds[1]),
            "DISTFLOW_COORDINATOR": self.address, "DISTFLOW_TOKEN": self.token,
            "DISTFLOW_JOB": "test", "DISTFLOW_LOG_LEVEL": "INFO", "DISTFLOW_FAULT": faults,
            "PYTHONUNBUFFERED": "1", **environment,
        }  # fmt: skip
        with (self.folder / f"worker-{slot}").open("wb") as file:
            process = subprocess.Popen(
                [*prefix, sys.executable, str(JOB), *map(str, arguments)], cwd=ROOT, env=variables,
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self.processes.append(process)
        return slot

    def text(self, slot):
        return (self.folder / f"worker-{slot}").read_text()

    def wait_for(self, slot, pattern):
        """Returns the match as soon as a line of a worker has it."""
        over = time.monotonic() + DEADLINE
        while time.monotonic() < over:
            ended = self.processes[slot].poll() is not None
            found = re.search(pattern, self.text(slot), re.MULTILINE)
            if found:
                return found
            if ended:
                break
            time.sleep(0.01)  # there is nothing to wait on: the worker writes to a file
        raise AssertionError(f"worker {slot}: no {pattern!r} in\n{self.text(slot)}")

    def at_step(self, slot, step):
        self.wait_for(slot, rf"^step {step} pid")
        return self.processes[slot].pid

    def restart_coordinator(self):
        port = int(self.address.rpartition(":")[2])
        rules = Membership(*self.bounds)
        self.coordinator = Coordinator(rules, host=self.host, port=port, token=self.token)

    def end(self, slots):
        """Returns [(exit code, hash)] of some workers."""
        codes = [self.processes[slot].wait(DEADLINE) for slot in slots]
        hashes = [re.findall(r"sha256=(\w+)", self.text(slot)) for slot in slots]
        return list(zip(codes, (found[0] if found else None for found in hashes)))

    @property
    def texts(self):
        return "\n".join(f"--- {i}\n{self.text(i)}" for i in range(len(self.processes)))

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.coordinator.close(0.0)


@pytest.fixture
def workers(tmp_path):
    """Makes workers with a coordinator in this process: workers(low, high, host="127.0.0.1")."""
    made = []

    def make(low, high, **more):
        made.append(Workers(tmp_path, low, high, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()
