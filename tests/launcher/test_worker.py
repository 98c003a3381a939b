"""What becomes of a rank's exit code on its way to mpirun."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).parents[2] / "launcher" / "worker.py"
DEADLINE = 60.0


@pytest.mark.spawn
@pytest.mark.parametrize(
    ("code", "told"), [(0, 0), (3, 3), (137, -signal.SIGKILL), (200, 200), (255, 255)]
)
def test_mpirun_sees_a_signal_where_a_signal_was_the_end(tmp_path, code, told):
    for name in ("status", "rank-0.out", "rank-0.err"):
        (tmp_path / name).touch()
    done = subprocess.run(
        [sys.executable, "-I", "-S", WORKER, "report", tmp_path, "RANK,SIZE,LOCAL",
         "sh", "-c", f"exit {code}"],
        env={**os.environ, "RANK": "0", "SIZE": "1", "DISTFLOW_ELASTIC": "1:1"},
        capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (told, "")
