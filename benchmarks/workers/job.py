"""The parent's end of a job of workers: starts it, asks all workers at once, and ends it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from session import QUIET, THREAD_SETTINGS, ContestantError

SCRIPT = Path(__file__).with_name("worker.py")


class Job:
    """The workers of one contestant; a command goes to all of them at a time.

    Args:
      contestant: a `field.Contestant`.
      python: the interpreter that has its framework.
      model: a name of `spec.SPECS`.
      workers: how many processes.
      batch: rows of each of them.
      backend: what `distflow run --backend` gets (distflow only).
      cache: folder of compiled code (distflow only).
    """

    def __init__(self, contestant, python, model, *, workers, batch, backend="auto", cache=None):
        self._workers = workers
        self._log = tempfile.TemporaryFile("w+")
        self._server = socket.create_server(("127.0.0.1", 0), backlog=workers)
        environment = {**os.environ, **QUIET}
        environment.update((name, "1") for name in THREAD_SETTINGS)
        environment["MULTI_WORKER_CONTROL"] = f"127.0.0.1:{self._server.getsockname()[1]}"
        if cache is not None:
            environment["DISTFLOW_CACHE_DIR"] = str(cache)
        script = [str(SCRIPT), contestant.framework, contestant.variant, model, str(batch)]
        self.born = time.monotonic()
        self._processes = [
            subprocess.Popen(
                command, env={**environment, **extra}, stdout=self._log, stderr=self._log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )
            for command, extra in _LAUNCH[contestant.framework](python, script, workers, backend)
        ]  # fmt: skip
        self._links = []

    def ask(self, do, *, timeout=100, **arguments):
        """Returns the answers of all workers to a command.

        Raises:
          ContestantError: with the framework's own words, or the last of its log if it ended.
        """
        try:
            self._connect(timeout)
            line = json.dumps({"do": do, **arguments}) + "\n"
            for link, _ in self._links:
                link.settimeout(timeout)
                link.sendall(line.encode())
            lines = [file.readline() for _, file in self._links]
        except OSError as error:
            raise ContestantError(f"{self._last_words()} ({error})") from error
        if not all(lines):
            raise ContestantError(self._last_words())
        replies = [json.loads(line) for line in lines]
        for reply in replies:
            if "error" in reply:
                raise ContestantError(reply["error"])
        return [reply["answer"] for reply in replies]

    def close(self):
        """Ends all processes of the job."""
        for link, file in self._links:
            with contextlib.suppress(OSError):
                file.close()
            link.close()
        self._server.close()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._log.close()

    def _connect(self, timeout):
        deadline = time.monotonic() + timeout
        self._server.settimeout(0.5)
        while len(self._links) < self._workers:
            try:
                link, _ = self._server.accept()
                self._links.append((link, link.makefile()))
            except TimeoutError:
                ended = [p.poll() for p in self._processes if p.poll() not in (None, 0)]
                if ended or time.monotonic() > deadline:
                    raise ContestantError(self._last_words()) from None

    def _last_words(self):
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        return "\n".join(lines[-12:]) if lines else "nothing in its log"


def _distflow(python, script, workers, backend):
    launch = [python, "-m", "distflow_launcher", "run", "-n", str(workers), "--backend", backend]
    return [([*launch, *script], {})]


def _torch(python, script, workers, backend):
    launch = [python, "-m", "torch.distributed.run", "--standalone"]
    return [([*launch, f"--nproc-per-node={workers}", *script], {})]


def _tensorflow(python, script, workers, backend):
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    jobs = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        jobs.append(([python, *script], {"TF_CONFIG": json.dumps(config)}))
    return jobs


# Each gives the processes to start, and what their environments have besides.
_LAUNCH = {"distflow": _distflow, "torch": _torch, "tensorflow": _tensorflow}


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [server.getsockname()[1] for server in servers]
