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
ORPHAN_SECONDS = 0.3


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Makes the kernel signal this process, and what it becomes, when `parent` ends."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
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
    """Runs the command, tells FOLDER/status of it, and returns its exit code.

    mpirun knows this process and may kill it at once when another rank fails. So a second one, out
    of mpirun's reach, watches the command and lives long enough to tell how it ended.
    """
    die_with(os.getppid())
    leader = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # until there is a child to hand them to
    reporter = os.fork()
    if reporter == 0:
        os._exit(watch(leader, folder, names, command))
    hand_on(reporter)
    _, status = os.waitpid(reporter, 0)
    code = os.waitstatus_to_exitcode(status)
    # Not all codes above 128 are those of signals: Python's sys.exit(-1) is 255.
    if code - 128 in signal.valid_signals() and "DISTFLOW_ELASTIC" in os.environ:
        # An MPI that tells the others of lost ranks takes only those for lost that a signal killed.
        for number in _STOP:
            signal.signal(number, signal.SIG_DFL)
        os.kill(leader, code - 128)
    return code if code >= 0 else 128 - code


def watch(leader: int, folder: str, names: str, command: list[str]) -> int:
    """Starts the command in a session of its own and reports its start and end."""
    os.setsid()
    die_with(leader, signal.SIGTERM)
    rank, local_rank = rank_from(names)
    os.environ["DISTFLOW_RANK"] = str(rank)
    os.environ["DISTFLOW_LOCAL_RANK"] = str(local_rank)
    report_to = os.open(os.path.join(folder, "status"), os.O_WRONLY | os.O_CLOEXEC)
    outputs = [os.open(os.path.join(folder, f"rank-{rank}.{kind}"), os.O_WRONLY) for kind in _KINDS]
    me = os.getpid()
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        die_with(me)
        for number, output in enumerate(outputs, start=1):
            os.dup2(output, number)
            os.close(output)
        become(command)
    for output in outputs:
        os.close(output)
    os.write(report_to, f"start {rank} {child}\n".encode())
    hand_on(child, leader)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    # A command that had to be killed because mpirun killed our leader is not what failed first.
    word = "exit" if os.getppid() == leader or code != -signal.SIGKILL else "swept"
    os.write(report_to, f"{word} {rank} {code}\n".encode())
    return code if code >= 0 else 128 - code


def hand_on(child: int, leader: int | None = None) -> None:
    """Hands signals on to the child from now on; kills it soon after the leader has died."""

    def send(number: int) -> None:
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass  # it has ended

    def forward(number: int, frame: FrameType | None) -> None:
        if leader is not None and os.getppid() != leader:
            # It may be ending by itself, in MPI_Abort: the launcher should hear of that first.
            signal.setitimer(signal.ITIMER_REAL, ORPHAN_SECONDS)
        else:
            send(number)

    signal.signal(signal.SIGALRM, lambda number, frame: send(signal.SIGKILL))
    for number in _STOP:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)


_KINDS = ("out", "err")
_STOP = (signal.SIGINT, signal.SIGTERM)

if __name__ == "__main__":
    if sys.argv[1] == "exec":
        die_with(int(sys.argv[2]))
        become(sys.argv[3:])
    sys.exit(report(sys.argv[2], sys.argv[3], sys.argv[4:]))
