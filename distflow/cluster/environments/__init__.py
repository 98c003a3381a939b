"""Where a worker can learn its rank: one table, in the order in which it is looked through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distflow.cluster.environments import kubernetes, launcher, mpi, slurm, tf_config
from distflow.cluster.worker import WorkerEnvironment


@dataclass(frozen=True)
class Environment:
    """One way to be told one's place: is it there, and what does it say."""

    name: str
    is_present: Callable[[], bool]
    read: Callable[[], WorkerEnvironment]


# What somebody wrote on purpose comes before what a process manager set by itself: a Job's pod may
# run mpirun, and an mpirun may start workers that are given a TF_CONFIG. Inside a Slurm job mpirun
# starts its daemons by srun.
ENVIRONMENTS = (
    Environment("launcher", launcher.is_present, launcher.read),
    Environment("tf_config", tf_config.is_present, tf_config.read),
    Environment("mpi", mpi.is_present, mpi.read),
    Environment("slurm", slurm.is_present, slurm.read),
    Environment("kubernetes", kubernetes.is_present, kubernetes.read),
)
