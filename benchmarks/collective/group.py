"""The parent's end of a contestant: the processes of one library, asked all at once."""

import os
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from session import QUIET, THREAD_SETTINGS
from workers.job import Job

SCRIPT = Path(__file__).with_name("rank.py")


@dataclass(frozen=True)
class Contestant:
    """A library and how its ranks are started; `peer` is the name its interpreter is given by."""

    name: str
    library: str
    launch: str
    peer: str = "distflow"
    backend: str = ""
    variant: str = ""


SHM, COPIED = "distflow shm", "distflow shm, any arrays"
GRPC, MPI = "distflow grpc", "distflow mpi"
GLOO = "gloo"
CONTESTANTS = (
    Contestant(SHM, "distflow", "distflow", backend="shm", variant="allocated"),
    Contestant(COPIED, "distflow", "distflow", backend="shm"),
    Contestant(GRPC, "distflow", "distflow", backend="grpc"),
    Contestant(MPI, "distflow", "distflow", backend="mpi"),
    Contestant("Open MPI", "mpi4py", "mpirun", peer="openmpi"),
    Contestant("MPICH", "mpi4py", "mpirun", peer="mpich"),
    Contestant(GLOO, "gloo", "torch", peer="torch"),
)


class Group(Job):
    """The ranks of one contestant; a command goes to all of them at a time.

    Args:
      contestant: which library, and how its ranks start.
      python: the interpreter that has it.
      workers: how many processes.
    """

    def __init__(self, contestant, python, workers):
        self._workers = workers
        self._log = tempfile.TemporaryFile("w+")
        self._server = socket.create_server(("127.0.0.1", 0), backlog=workers)
        environment = {**os.environ, **QUIET, "OMPI_ALLOW_RUN_AS_ROOT": "1"}
        environment.update({"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PYTHONUNBUFFERED": "1"})
        environment.update((name, "1") for name in THREAD_SETTINGS)
        environment["COLLECTIVE_CONTROL"] = f"127.0.0.1:{self._server.getsockname()[1]}"
        command = LAUNCH[contestant.launch](python, workers, contestant.backend)
        command = [*command, str(SCRIPT), contestant.library, contestant.variant]
        self.born = time.monotonic()
        self._processes = [
            subprocess.Popen(
                command, env=environment, stdout=self._log, stderr=self._log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )
        ]  # fmt: skip
        self._links = []


def _distflow(python, workers, backend):
    return [python, "-m", "distflow_launcher", "run", "-n", str(workers), "--backend", backend]


def _mpirun(python, workers, backend):
    mpirun = str(Path(python).parent / "mpirun")
    version = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False)
    crowded = workers > len(os.sched_getaffinity(0))
    options = ["--oversubscribe"] if crowded and "Open MPI" in version.stdout else []
    return [mpirun, *options, "-n", str(workers), python]


def _torch(python, workers, backend):
    launch = [python, "-m", "torch.distributed.run", "--standalone"]
    return [*launch, f"--nproc-per-node={workers}"]


LAUNCH = {"distflow": _distflow, "mpirun": _mpirun, "torch": _torch}
