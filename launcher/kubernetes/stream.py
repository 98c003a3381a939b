"""The output of a job's pods as one: lines with their rank before them, of all pods or of one."""

from __future__ import annotations

import codecs
import threading
import time
from collections.abc import Callable, Iterator

from .cluster import Cluster, RefusedError
from .view import JobView, Worker, look

POLL_SECONDS = 1.0
Write = Callable[[str], None]


def show(
    cluster: Cluster, job: JobView, write: Write, *, rank: int | None, tail: int | None
) -> int:
    """Writes what the pods have printed so far; returns how many pods had anything to read."""
    shown = 0
    for worker in _chosen(job, rank):
        try:
            for line in lines(cluster.log(worker.name, tail=tail)):
                write(f"[{worker.label}] {line}\n")
            shown += 1
        except RefusedError as error:
            if error.status not in (400, 404):  # not started, or gone meanwhile
                raise
    return shown


def follow(
    cluster: Cluster, name: str, write: Write, *, rank: int | None, tail: int | None
) -> None:
    """Writes what the pods print until the job has ended, pods that are made meanwhile included."""
    lock = threading.Lock()
    threads: dict[str, threading.Thread] = {}

    def copy(worker: Worker) -> None:
        try:
            for line in lines(cluster.log(worker.name, follow=True, tail=tail)):
                with lock:  # never two lines in one
                    write(f"[{worker.label}] {line}\n")
        except RefusedError as error:
            if error.status in (400, 404):
                threads.pop(worker.uid, None)  # it has not started: the next look tries again
            else:
                with lock:
                    write(f"[{worker.label}] (its output cannot be read: {error})\n")

    while True:
        job = look(cluster, name)
        for worker in _chosen(job, rank) if job is not None else ():
            if worker.uid not in threads and not worker.phase.startswith("waits"):
                thread = threading.Thread(target=copy, args=(worker,), daemon=True)
                threads[worker.uid] = thread
                thread.start()
        running = [thread for thread in list(threads.values()) if thread.is_alive()]
        if (job is None or job.is_over) and not running:
            return
        if running and job is not None and job.is_over:
            running[0].join(POLL_SECONDS)
        else:
            time.sleep(POLL_SECONDS)


def lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Yields the lines in pieces of UTF-8; what follows the last line's end is a line too."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    for piece in pieces:
        *whole, rest = (rest + decoder.decode(piece)).split("\n")
        yield from whole
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest


def _chosen(job: JobView, rank: int | None) -> list[Worker]:
    """The pods that a user means: of an MPIJob the launcher, whose output has all ranks'."""
    if rank is not None:
        return [worker for worker in job.workers if worker.rank == rank]
    launchers = [worker for worker in job.workers if worker.rank is None]
    return launchers if job.main["kind"] == "MPIJob" else job.workers
