"""Ends all processes of a job when its launcher has died, however it died.

Run as a file of its own (`python -I -S guardian.py JOB`) with its standard input a pipe from the
launcher. Its lines are process groups, with "-" before those that have ended, and folders to
remove; "done" means that nothing is left to guard. At the end of the input without "done" the
launcher was killed, and so is everything of the job: its process groups, and every process whose
environment carries the job's id, whatever session it moved to.
"""

import os
import shutil
import signal
import sys
import time

SWEEP_SECONDS = 2.0


def processes_of(job: str, variable: str = "DISTFLOW_JOB") -> list[int]:
    """Returns the ids of this user's processes that carry the job's id, without this one.

    Args:
      job: what the variable is.
      variable: "DISTFLOW_AGENT" for those of one host's part of a job,
        "DISTFLOW_AGENT_PROCESS" for those that one agent of the host has started.
    """
    wanted = f"{variable}={job}".encode()
    found = []
    try:
        names = os.listdir("/proc")
    except FileNotFoundError:
        return []  # no Linux: process groups must do
    for name in names:
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return found


def signal_groups(groups: list[int], number: int) -> None:
    """Sends a signal to process groups; those that have ended are passed over."""
    for group in groups:
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            continue


def signal_processes(processes: list[int], number: int) -> None:
    """Sends a signal to processes; those that have ended are passed over."""
    for process in processes:
        try:
            os.kill(process, number)
        except (ProcessLookupError, PermissionError):
            continue


def kill_all(job: str, groups: list[int], variable: str = "DISTFLOW_JOB") -> None:
    """Kills everything of the job, again and again until nothing is found."""
    over = time.monotonic() + SWEEP_SECONDS
    signal_groups(groups, signal.SIGKILL)
    while time.monotonic() < over:
        found = processes_of(job, variable)
        if not found:
            return
        signal_processes(found, signal.SIGKILL)
        time.sleep(0.01)


def main() -> None:
    """Waits for the end of the launcher."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    job = sys.argv[1]
    groups, folders = [], []
    for line in sys.stdin:
        word = line.rstrip("\n")
        if word == "done":
            return
        if word.isdigit():
            groups.append(int(word))
        elif word.startswith("-"):
            groups.remove(int(word[1:]))
        else:
            folders.append(word)
    kill_all(job, groups)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
