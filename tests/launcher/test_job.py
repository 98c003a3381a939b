"""The loop of a job, at its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0
# The terminal takes nothing until what came after the job's end has been heard.
DRIVER = """
import os, sys
from launcher import job, local, plan

heard = []

class Full(job.Printer):
    def has_room(self):
        return bool(heard)

class Starter(local.LocalStarter):
    def start(self, job):
        super().start(job)
        reader, self.writer = os.pipe()
        job.listen(reader, lambda: heard.append(os.read(reader, 10)))

    def is_over(self, job):
        if not super().is_over(job):
            return False
        os.write(self.writer, b"late")
        return True

job.Printer = Full
made = plan.make_plan([sys.executable, "-c", "print('hello')"], num_workers=1, backend="grpc")
code = job.Job(made, Starter()).run()
print(*heard, flush=True)
sys.exit(code)
"""


@pytest.mark.spawn
def test_what_comes_while_the_last_output_waits_for_the_terminal_is_heard():
    env = {k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=DEADLINE,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[rank 0] hello\nb'late'\n")
