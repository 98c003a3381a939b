"""Cluster resolvers (TF's contract) and `resolve()`: where am I in the job?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from distflow.base import errors
from distflow.cluster.environments import ENVIRONMENTS, launcher, mpi, tf_config
from distflow.cluster.spec import ClusterSpec
from distflow.cluster.worker import WorkerEnvironment, requested_backend


def resolve(resolver: ClusterResolver | None = None) -> WorkerEnvironment:
    """Returns this worker's place in the job, from `resolver` or the first environment there is.

    Looks at, in order: the launcher's DISTFLOW_* variables, TF_CONFIG, MPI's variables, Slurm's,
    an Indexed Job's. With none of them this process is a job of one worker.

    Raises:
      InvalidArgumentError: if the environment that is there is malformed or incomplete.
    """
    if resolver is not None:
        return resolver.worker_environment()
    for environment in ENVIRONMENTS:
        if environment.is_present():
            return environment.read()
    incomplete = launcher.incomplete()
    if incomplete is not None:
        raise incomplete
    requested_backend()  # refuses a misspelled one here, not on the day of the cluster run
    return WorkerEnvironment(rank=0, world_size=1, local_rank=0, backend="local")


class ClusterResolver:
    """The contract: which tasks there are, and which of them this process is (TF's names).

    Implementations define `cluster_spec` and set `task_type`, `task_id` and `rpc_layer`.
    """

    task_type: str | None = None
    task_id: int | None = None
    rpc_layer: str | None = None

    def cluster_spec(self) -> ClusterSpec:
        """Returns the tasks of the job and their addresses."""
        raise TypeError(f"{type(self).__name__} must define cluster_spec()")

    def master(
        self,
        task_type: str | None = None,
        task_id: int | None = None,
        rpc_layer: str | None = None,
    ) -> str:
        """Returns the address of a task (this one by default); "" in a job of one task."""
        spec = self.cluster_spec()
        job = self.task_type if task_type is None else task_type
        index = self.task_id if task_id is None else task_id
        if sum(spec.num_tasks(name) for name in spec.jobs) < 2 or job is None or index is None:
            return ""
        layer = self.rpc_layer if rpc_layer is None else rpc_layer
        address = spec.task_address(job, index)
        return f"{layer}://{address}" if layer else address

    def num_accelerators(
        self,
        task_type: str | None = None,
        task_id: int | None = None,
        config_proto: Any = None,
    ) -> dict[str, int]:
        """Returns the number of accelerators by kind: none, as distflow computes on CPUs."""
        return defaultdict(int)

    @property
    def environment(self) -> str:
        """The name of the environment, "" if nothing special."""
        return ""

    def worker_environment(self) -> WorkerEnvironment:
        """Returns this process's place in the job, as `resolve()` does."""
        return tf_config.environment(
            self.cluster_spec(), self.task_type, self.task_id, type(self).__name__
        )


class SimpleClusterResolver(ClusterResolver):
    """Says what it was told."""

    def __init__(
        self,
        cluster_spec: ClusterSpec,
        master: str = "",
        task_type: str | None = None,
        task_id: int | None = None,
        environment: str = "",
        num_accelerators: Mapping[str, int] | None = None,
        rpc_layer: str | None = None,
    ):
        if not isinstance(cluster_spec, ClusterSpec):
            raise errors.DtypeMismatchError(
                errors.message(
                    "SimpleClusterResolver",
                    "cluster_spec must be a ClusterSpec",
                    type(cluster_spec).__name__,
                )
            )
        self._spec = ClusterSpec(cluster_spec)
        self._master = master
        self._environment = environment
        self._num_accelerators = dict(num_accelerators or {})
        self.task_type, self.task_id, self.rpc_layer = task_type, task_id, rpc_layer

    def cluster_spec(self) -> ClusterSpec:
        """Returns the given cluster."""
        return self._spec

    def master(
        self,
        task_type: str | None = None,
        task_id: int | None = None,
        rpc_layer: str | None = None,
    ) -> str:
        """Returns the address of the task that is asked for, else the given master."""
        if task_type is None or task_id is None:
            return self._master
        return super().master(task_type, task_id, rpc_layer)

    def num_accelerators(
        self,
        task_type: str | None = None,
        task_id: int | None = None,
        config_proto: Any = None,
    ) -> dict[str, int]:
        """Returns the given numbers."""
        return dict(self._num_accelerators)

    @property
    def environment(self) -> str:
        """The given name."""
        return self._environment


class TFConfigClusterResolver(ClusterResolver):
    """Reads TF_CONFIG anew at each question, as TF's does; arguments override it."""

    def __init__(
        self,
        task_type: str | None = None,
        task_id: int | None = None,
        rpc_layer: str | None = None,
        environment: str | None = None,
    ):
        self._task = (task_type, task_id)
        self._environment = environment
        self.rpc_layer = rpc_layer

    def cluster_spec(self) -> ClusterSpec:
        """Returns the cluster of TF_CONFIG; an empty one if that is not set."""
        return tf_config.cluster_spec(tf_config.load())

    @property
    def task_type(self) -> str | None:  # type: ignore[override]
        """The job this process belongs to."""
        return self._task[0] if self._task[0] is not None else tf_config.task(tf_config.load())[0]

    @task_type.setter
    def task_type(self, value: str | None) -> None:
        self._task = (value, self._task[1])

    @property
    def task_id(self) -> int | None:  # type: ignore[override]
        """The index of this process in its job."""
        return self._task[1] if self._task[1] is not None else tf_config.task(tf_config.load())[1]

    @task_id.setter
    def task_id(self, value: int | None) -> None:
        self._task = (self._task[0], value)

    @property
    def environment(self) -> str:
        """The given name."""
        return self._environment or ""

    def worker_environment(self) -> WorkerEnvironment:
        """Returns this process's place; one worker alone if TF_CONFIG is not set."""
        if not tf_config.is_present():
            return WorkerEnvironment(rank=0, world_size=1, local_rank=0, backend="local")
        return tf_config.environment(self.cluster_spec(), self.task_type, self.task_id)


class EnvironmentClusterResolver(ClusterResolver):
    """What `resolve()` finds, under TF's names; workers without an address are "rank-N"."""

    def __init__(self) -> None:
        self._worker = resolve()
        self.task_type, self.task_id = self._worker.task_type, self._worker.task_id

    def cluster_spec(self) -> ClusterSpec:
        """Returns the workers, with their addresses where those are known beforehand."""
        if tf_config.is_present() and self._worker.addresses is not None:
            return tf_config.cluster_spec(tf_config.load())
        names = [f"rank-{rank}" for rank in range(self._worker.world_size)]
        return ClusterSpec({"worker": names})

    def worker_environment(self) -> WorkerEnvironment:
        """Returns this process's place in the job."""
        return self._worker


class MPIClusterResolver(ClusterResolver):
    """The processes of one mpirun; they have ranks and no addresses."""

    def __init__(self) -> None:
        if not mpi.is_present():
            wanted = [variables.rank for variables in mpi.PROCESS_MANAGERS]
            raise errors.invalid(
                "MPIClusterResolver",
                f"expected one of {', '.join(wanted)} in the environment",
                "none",
                "Start the program with mpirun: mpirun -np 4 python train.py",
            )
        self._worker = mpi.read()
        self.task_type, self.task_id = "worker", self._worker.rank

    def cluster_spec(self) -> ClusterSpec:
        """Returns one task for each rank, named "rank-0" and so on."""
        names = [f"rank-{rank}" for rank in range(self._worker.world_size)]
        return ClusterSpec({"worker": names})

    def worker_environment(self) -> WorkerEnvironment:
        """Returns this process's place in the job."""
        return self._worker
