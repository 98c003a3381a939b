"""ClusterSpec: which tasks a job has and at which addresses they listen (TF's class)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from distflow.base import errors

Tasks = Sequence[str] | Mapping[int, str]

# Jobs whose tasks train together, in the order of their ranks (TF: the chief is first).
TRAINING_JOBS = ("chief", "worker")


class ClusterSpec:
    """The addresses of all tasks: job name -> list of "host:port", or {index: "host:port"}.

    ClusterSpec({"worker": ["a.example:2222", "b.example:2222"], "ps": {1: "c.example:2222"}})

    Raises:
      InvalidArgumentError: for a bad port, an empty or duplicate address, a bad index, or a
        value that is not of this form.
    """

    def __init__(self, cluster: Mapping[str, Tasks] | ClusterSpec):
        if isinstance(cluster, ClusterSpec):
            self._jobs: dict[str, dict[int, str]] = {j: dict(t) for j, t in cluster._jobs.items()}
            return
        if not isinstance(cluster, Mapping):
            raise errors.invalid(
                "ClusterSpec",
                "expected a dictionary from job names to lists of addresses",
                type(cluster).__name__,
                'Write it as ClusterSpec({"worker": ["host0:port", "host1:port"]}).',
            )
        self._jobs = {str(job): _tasks(str(job), tasks) for job, tasks in cluster.items()}
        _refuse_duplicates(self._jobs)

    def __bool__(self) -> bool:
        return bool(self._jobs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClusterSpec) and self._jobs == other._jobs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        jobs = ", ".join(f"{job!r}: {tasks!r}" for job, tasks in sorted(self.as_dict().items()))
        return f"ClusterSpec({{{jobs}}})"

    @property
    def jobs(self) -> list[str]:
        """The names of the jobs."""
        return list(self._jobs)

    def as_dict(self) -> dict[str, list[str] | dict[int, str]]:
        """Returns job -> list of addresses, or job -> {index: address} where indices have gaps."""
        return {
            job: list(tasks.values()) if list(tasks) == list(range(len(tasks))) else dict(tasks)
            for job, tasks in self._jobs.items()
        }

    def num_tasks(self, job_name: str) -> int:
        """Returns how many tasks the job has."""
        return len(self._job(job_name))

    def task_indices(self, job_name: str) -> list[int]:
        """Returns the indices of the job's tasks, ascending."""
        return list(self._job(job_name))

    def task_address(self, job_name: str, task_index: int) -> str:
        """Returns the address of one task."""
        tasks = self._job(job_name)
        if task_index not in tasks:
            raise errors.invalid(
                "ClusterSpec", f"job {job_name!r} has the tasks {list(tasks)}", f"{task_index!r}"
            )
        return tasks[task_index]

    def job_tasks(self, job_name: str) -> list[str | None]:
        """Returns the addresses by index, with None where an index is missing."""
        tasks = self._job(job_name)
        return [tasks.get(index) for index in range(max(tasks, default=-1) + 1)]

    def _job(self, job_name: str) -> dict[int, str]:
        if job_name not in self._jobs:
            raise errors.invalid("ClusterSpec", f"the jobs are {self.jobs}", repr(job_name))
        return self._jobs[job_name]


def training_tasks(spec: ClusterSpec) -> list[tuple[str, int, str]]:
    """Returns (job, index, address) of the tasks that train together; the position is the rank.

    Raises:
      InvalidArgumentError: if an index is missing, an address has no port, or nobody trains.
    """
    if "chief" in spec.jobs and spec.num_tasks("chief") > 1:
        raise errors.invalid(
            "ClusterSpec", "a cluster has one chief at most", f"{spec.job_tasks('chief')}"
        )
    ranked = [
        (job, index, address)
        for job in TRAINING_JOBS
        if job in spec.jobs
        for index, address in enumerate(_without_gaps(spec, job))
    ]
    for job, index, address in ranked:
        if split_address(address, f"{job} {index}")[1] is None:
            raise errors.invalid(
                "ClusterSpec",
                f"the address of {job} {index} must be host:port",
                repr(address),
                f'Write "{address}:2222", with the port that this worker may use.',
            )
    if not ranked:
        raise errors.invalid(
            "ClusterSpec",
            "a job named 'worker' (or 'chief') with addresses is needed for training",
            f"the jobs {spec.jobs}",
        )
    return ranked


def split_address(address: str, owner: str = "address") -> tuple[str, int | None]:
    """Returns (host, port or None) of "host:port", "host" or "[::1]:port".

    Raises:
      InvalidArgumentError: for an empty host, or a port that is no number in 1..65535.
    """
    host, separator, port = address.rpartition(":")
    if not separator or (":" in host and not host.startswith("[")) or port.endswith("]"):
        host, port = address, ""
        separator = ""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or any(c.isspace() for c in address) or "/" in address:
        raise errors.invalid(
            "ClusterSpec", f"{owner}: expected host:port without blanks or slashes", repr(address)
        )
    if not separator:
        return bare, None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise errors.invalid(
            "ClusterSpec", f"{owner}: the port must be a number from 1 to 65535", repr(address)
        )
    return bare, int(port)


def _tasks(job: str, tasks: Tasks) -> dict[int, str]:
    pairs: list[tuple[object, object]]
    if isinstance(tasks, Mapping):
        pairs = [(_index(job, index), address) for index, address in tasks.items()]
        pairs.sort(key=lambda pair: pair[0])  # type: ignore[arg-type,return-value]
    elif isinstance(tasks, Sequence) and not isinstance(tasks, (str, bytes)):
        pairs = list(enumerate(tasks))
    else:
        raise errors.invalid(
            "ClusterSpec",
            f"the tasks of job {job!r} must be a list of addresses or a dictionary from index to "
            "address",
            repr(tasks),
            f'Write it as {{"{job}": ["host0:port", "host1:port"]}}.',
        )
    result: dict[int, str] = {}
    for index, address in pairs:
        assert isinstance(index, int)
        if not isinstance(address, str):
            raise errors.invalid(
                "ClusterSpec", f"{job} {index}: an address must be a string", repr(address)
            )
        split_address(address, f"{job} {index}")
        result[index] = address
    return result


def _index(job: str, index: object) -> int:
    """JSON has string keys only, so "1" is taken for 1."""
    try:
        value = int(index) if isinstance(index, (int, str)) else -1
    except ValueError:
        value = -1
    if value < 0:
        raise errors.invalid(
            "ClusterSpec", f"job {job!r}: a task index must be an integer >= 0", repr(index)
        )
    return value


def _refuse_duplicates(jobs: Mapping[str, Mapping[int, str]]) -> None:
    owners: dict[str, str] = {}
    for owner, address in _owners(jobs):
        if address in owners:
            raise errors.invalid(
                "ClusterSpec",
                "every task needs an address of its own",
                f"{address!r} for both {owners[address]} and {owner}",
                "Give one of them another port.",
            )
        owners[address] = owner


def _owners(jobs: Mapping[str, Mapping[int, str]]) -> Iterator[tuple[str, str]]:
    for job, tasks in jobs.items():
        for index, address in tasks.items():
            yield f"{job} {index}", address


def _without_gaps(spec: ClusterSpec, job: str) -> list[str]:
    addresses = spec.job_tasks(job)
    missing = [index for index, address in enumerate(addresses) if address is None]
    if missing:
        raise errors.invalid(
            "ClusterSpec",
            f"job {job!r} must have every index from 0 to {len(addresses) - 1}",
            f"indices {spec.task_indices(job)}, without {missing}",
        )
    return [address for address in addresses if address is not None]
