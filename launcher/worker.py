"""Starts one worker so that it cannot outlive the launcher.

Run as a file of its own (`python -I -S worker.py ...`) with the standard library only, so that it
costs milliseconds. Two forms:

    worker.py exec PARENT COMMAND...           becomes COMMAND, which dies with process PARENT
    worker.py report FOLDER NAMES COMMAND...   runs COMMAND under mpirun: its output goes to the
                                               pipes in FOLDER, its start and end to FOLDER/status;
                                               NAMES are the variables of MPI's rank
"""

import ctypes
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
NOT_FOUND = 127


def die_with(parent: int) -> None:
    """Makes the kernel kill this process, and what it becomes, when `parent` ends."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended before the call
        os._exit(128 + signal.SIGKILL)


def become(command: list[str]) -> NoReturn:
    """Replaces this process by the command."""
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"distflow run: cannot start {command[0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND)


def rank_from(names: str) -> tuple[int, int]:
    """Returns (rank, local rank) from the first triple of variables that is set."""
    for triple in names.split(";"):
        rank, size, local_rank = triple.split(",")
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ.get(local_rank, "0"))
    os.write(2, f"distflow run: mpirun set none of {names}\n".encode())
    os._exit(NOT_FOUND)


def report(folder: str, names: str, command: list[str]) -> int:
    """Runs the command as a child, tells FOLDER/status of it, and returns its exit code."""
    die_with(os.getppid())
    rank, local_rank = rank_from(names)
    os.environ["DISTFLOW_RANK"] = str(rank)
    os.environ["DISTFLOW_LOCAL_RANK"] = str(local_rank)
    status = os.open(os.path.join(folder, "status"), os.O_WRONLY | os.O_CLOEXEC)
    outputs = [os.open(os.path.join(folder, f"rank-{rank}.{kind}"), os.O_WRONLY) for kind in _KINDS]
    stop = (signal.SIGINT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # until there is a child to hand them to
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)
        die_with(parent)
        for number, output in enumerate(outputs, start=1):
            os.dup2(output, number)
            os.close(output)
        become(command)
    for output in outputs:
        os.close(output)

    def forward(number: int, frame: FrameType | None) -> None:
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass

    for number in stop:
        signal.signal(number, forward)
    os.write(status, f"start {rank} {child}\n".encode())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stop)
    _, wait_status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(wait_status)
    os.write(status, f"exit {rank} {code}\n".encode())
    return code if code >= 0 else 128 - code


_KINDS = ("out", "err")

if __name__ == "__main__":
    if sys.argv[1] == "exec":
        die_with(int(sys.argv[2]))
        become(sys.argv[3:])
    sys.exit(report(sys.argv[2], sys.argv[3], sys.argv[4:]))
