"""Where the Python code of another process of this host is, also when that is stuck.

A worker lends a file in memory to `faulthandler`, which writes the stacks of all threads there on
SIGUSR2: in C, so that a program that hangs in native code is seen as well. Who asks finds the file
by its name among the process's open ones; without it no signal is sent, as that would be the end
of a process that does not know it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import time
from pathlib import Path

NAME = "distflow-stacks"
ASK = signal.SIGUSR2
_PATIENCE_SECONDS = 1.0
_LOOK_SECONDS = 0.01

_file: int | None = None


def install() -> None:
    """Lets others ask this process; not where the program uses SIGUSR2 itself, nor twice."""
    global _file
    if _file is not None or not hasattr(os, "memfd_create"):
        return
    if signal.getsignal(ASK) is not signal.SIG_DFL:
        return
    with contextlib.suppress(OSError):
        _file = os.memfd_create(NAME)
        faulthandler.register(ASK, file=_file, all_threads=True)


def of_process(pid: int, seconds: float = _PATIENCE_SECONDS) -> str:
    """Returns the stacks of a process, the innermost frames first; "" if it does not answer.

    Blocks for `seconds` at most: a process that is stopped (SIGSTOP) cannot answer.
    """
    found = _find(pid)
    if found is None:
        return ""
    try:
        with found.open("rb") as file:
            before = file.seek(0, os.SEEK_END)
            os.kill(pid, ASK)
            return _read(file.fileno(), before, seconds)
    except OSError:  # it has ended meanwhile, or belongs to somebody else
        return ""


def processes(job: str | None = None) -> list[tuple[int, dict[str, str]]]:
    """Returns (process, its environment) of those of this host that can be asked, by rank.

    Args:
      job: only those of this job.
    """
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or _find(int(folder.name)) is None:
            continue
        with contextlib.suppress(OSError):
            lines = (folder / "environ").read_text(errors="replace").split("\0")
            environment = dict(line.split("=", 1) for line in lines if "=" in line)
            if job is None or environment.get("DISTFLOW_JOB", "").startswith(job):
                found.append((int(folder.name), environment))
    return sorted(found, key=lambda item: (item[1].get("DISTFLOW_JOB", ""), _rank(item[1])))


def _rank(environment: dict[str, str]) -> int:
    text = environment.get("DISTFLOW_RANK", "")
    return int(text) if text.isdigit() else 0


def _find(pid: int) -> Path | None:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(entry).startswith(f"/memfd:{NAME}"):
                    return entry
    return None


def _read(file: int, start: int, seconds: float) -> str:
    """Reads what comes behind `start`, until nothing more does."""
    over = time.monotonic() + seconds
    size = start
    while time.monotonic() < over:
        time.sleep(_LOOK_SECONDS)
        now = os.fstat(file).st_size
        if now == size > start:
            break
        size = now
    return _last_of_each(os.pread(file, size - start, start).decode("utf-8", "replace"))


def _last_of_each(text: str) -> str:
    """Returns each thread's stack once: another process may have asked at the same time."""
    threads: dict[str, str] = {}
    for block in text.strip().split("\n\n"):
        head = block.partition("\n")[0].replace("Current thread", "Thread")
        threads.pop(head, None)
        threads[head] = block
    return "\n\n".join(threads.values())


def main_thread(text: str) -> str:
    """Returns the stack of the thread that got the signal, which is the main one, of them all."""
    blocks = [b for b in text.split("\n\n") if b.startswith("Current thread")]
    return blocks[-1] if blocks else text
