"""The parent's end of a contestant: starts its process, asks it, and ends it."""

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

SCRIPT = Path(__file__).with_name("contestant.py")
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",  # the default, said aloud
    "JAX_PLATFORMS": "cpu",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "CUDA_VISIBLE_DEVICES": "",
}
THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "DISTFLOW_THREADS",
    "NPROC",  # XLA's thread pool, in JAX
)


class ContestantError(Exception):
    """The contestant cannot do what it was asked, or has ended."""


class Session:
    """One process of one contestant; commands go to it one at a time."""

    def __init__(self, python, contestant, model, *, threads=None, cache=None):
        threads = threads or len(os.sched_getaffinity(0))
        environment = {**os.environ, **QUIET}
        # Bytecode is written by installations, or once (`peers.byte_compile`): all have it.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment.update((name, str(threads)) for name in THREAD_SETTINGS)
        if contestant.cache_setting and cache:
            environment[contestant.cache_setting] = str(cache)
        processors = sorted(os.sched_getaffinity(0))[:threads]
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [
                python, str(SCRIPT), contestant.framework, contestant.variant, model,
                repr(time.monotonic()),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env=environment, preexec_fn=lambda: os.sched_setaffinity(0, processors),
        )  # fmt: skip

    def ask(self, do, *, timeout=240, **arguments):
        """Returns the answer to a command.

        Raises:
          ContestantError: with the framework's own words, or the last of its log if it ended.
        """
        deadline = threading.Timer(timeout, self._process.kill)
        deadline.start()
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            deadline.cancel()
        if not line:
            raise ContestantError(self._last_words(timeout))
        reply = json.loads(line)
        if "error" in reply:
            raise ContestantError(reply["error"])
        return reply["answer"]

    def close(self):
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):  # what it did not live to read
            self._process.stdin.close()
        self._process.stdout.close()
        self._log.close()

    def _last_words(self, timeout):
        code = self._process.wait()
        self._log.seek(0)
        lines = [line for line in self._log.read().splitlines() if line.strip()]
        words = lines[-1] if lines else f"nothing in its log (limit: {timeout} s)"
        return f"ended with code {code}: {words}"
