"""WorkerEnvironment: what one process must know about its place in the job."""

from __future__ import annotations

from dataclasses import dataclass, field

from distflow.base import errors, flags

BACKENDS = ("auto", "mpi", "grpc", "shm")


@dataclass(frozen=True)
class WorkerEnvironment:
    """The place of this process in the job, whichever environment it was read from.

    Attributes:
      rank: 0 <= rank < world_size.
      world_size: number of workers.
      local_rank: rank among the workers of this host.
      backend: "local" (one worker: no transport is needed), "mpi" or "grpc".
      addresses: "host:port" by rank, if they are known beforehand (TF_CONFIG), else None.
      coordinator: "host:port" of the rendezvous server, or None if there is none.
      hosts_coordinator: whether this process must run the rendezvous server itself.
      job: name that the workers of one job have in common and other jobs have not.
      token: secret of the job or None. Never printed.
      has_successor: whether somebody starts another process of this rank when this one is lost.
      source: which environment it was read from, for messages.
      task_type, task_id: TF's names for this worker.
    """

    rank: int
    world_size: int
    local_rank: int
    backend: str
    addresses: list[str] | None = None
    coordinator: str | None = None
    hosts_coordinator: bool = False
    job: str = ""
    token: str | None = field(default=None, repr=False)
    has_successor: bool = False
    source: str = "a single process"
    task_type: str = "worker"
    task_id: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise errors.invalid(
                self.source,
                f"the rank must be from 0 to {self.world_size - 1} (world size {self.world_size})",
                f"rank {self.rank}",
            )
        if self.addresses is not None and len(self.addresses) != self.world_size:
            raise errors.invalid(
                self.source,
                f"expected {self.world_size} addresses, one for each rank",
                f"{len(self.addresses)}",
            )

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the job's files: it is rank 0."""
        return self.rank == 0


def requested_backend() -> str:
    """Returns DISTFLOW_BACKEND.

    "mpi" and "grpc" mean that alone; "auto" that workers meet over whichever started them, and use
    shared memory where all of them can; "shm" that it is an error if they cannot.
    """
    backend = flags.get("DISTFLOW_BACKEND")
    if backend not in BACKENDS:
        raise errors.invalid(
            "environment", f"DISTFLOW_BACKEND must be one of {', '.join(BACKENDS)}", repr(backend)
        )
    return backend


def effective_backend(wanted: str, world_size: int) -> str:
    """Returns `wanted`, or "local" for a job of one worker, which needs no transport."""
    return "local" if world_size == 1 else wanted
