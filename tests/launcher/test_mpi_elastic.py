"""One mpirun after the other on this host: the next one starts with nothing of the one before.

Here mpirun is a script that starts two ranks; `tests/elastic/test_over_mpi` has a real one.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0
MPIRUN = """#!/bin/sh
export OMPI_COMM_WORLD_SIZE=2
shift 2
OMPI_COMM_WORLD_RANK=0 "$@" &
OMPI_COMM_WORLD_RANK=1 "$@"
code=$?
wait
exit $code
"""
# Says at its end how many process groups were guarded at once.
DRIVER = """
import importlib.util, os, sys
from launcher import mpi_elastic, plan
from launcher.mpirun import Mpirun
from tests.launcher.watched import Watched
plan.find_mpirun = lambda: Mpirun(sys.argv[1], "an MPI", "1", ())
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: name == "mpi4py" or found(name, *rest)

made = plan.make_plan(
    [sys.executable, *sys.argv[2:]], num_workers=2, backend="mpi", elastic=(2, 2), max_restarts=2,
    linger_seconds=0.2, variables={"LAUNCHER": str(os.getpid())},
)
job = Watched(made, mpi_elastic.MpiRestarter())
code = job.run()
print("guarded", job.most, flush=True)
sys.exit(code)
"""
# Rank 1 is lost in the first runs; `turn` is the number of the run.
WORKER = """
import os, sys
turn = len(os.listdir(sys.argv[1]))
if os.environ["DISTFLOW_RANK"] == "0":
    sys.exit()
open(f"{sys.argv[1]}/{turn}", "w").close()
"""


@pytest.fixture
def run(tmp_path):
    """Runs a job of two ranks; returns its exit code and what it said."""

    def begin(last):
        mpirun, worker, turns = tmp_path / "mpirun", tmp_path / "worker.py", tmp_path / "turns"
        mpirun.write_text(MPIRUN)
        mpirun.chmod(0o755)
        worker.write_text(WORKER + last)
        turns.mkdir()
        env = {k: v for k, v in os.environ.items() if not k.startswith("DISTFLOW_")}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, mpirun, worker, turns], cwd=ROOT, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=DEADLINE,
        )  # fmt: skip
        return done.returncode, done.stdout

    return begin


@pytest.mark.spawn
def test_nothing_of_an_mpirun_is_kept_for_the_next_one(run):
    code, said = run("""
names = []
for fd in os.listdir(f"/proc/{os.environ['LAUNCHER']}/fd"):
    try:
        names.append(os.readlink(f"/proc/{os.environ['LAUNCHER']}/fd/{fd}"))
    except FileNotFoundError:
        pass
pipes = [name for name in names if "/rank-" in name]
print("pipes", len(pipes), "removed", sum(name.endswith("(deleted)") for name in pipes), flush=True)
if turn < 2:
    os.kill(os.getpid(), 9)
""")
    assert code == 0, said
    assert "restart 2 of 2" in said
    assert said.count("[rank 1] pipes 4 removed 0\n") == 3, said
    most = re.search(r"guarded (\d+)\n", said)
    assert int(most[1]) <= 3, said  # one mpirun's and those of two ranks


@pytest.mark.spawn
def test_the_abort_of_a_run_before_is_not_taken_for_that_of_this_one(run):
    code, said = run("""
if turn == 0:
    print("Abort(75) on node 1 (rank 1 in comm 0): once", file=sys.stderr, flush=True)
    os._exit(1)
sys.exit(3)
""")
    assert "rank 1 is lost (exit code 75); restart 1 of 2" in said
    assert code == 3, said
    assert "restart 2" not in said
