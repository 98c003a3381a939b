"""The variables that `srun` sets for each task of a step: rank, size, and on which hosts they are.

Workers meet at the first host of the step, on a port that follows from the numbers of the job and
the step. Only steps are jobs of several workers: a batch script has most of these variables too,
but what it runs without srun runs once. Source: srun(1), OUTPUT ENVIRONMENT VARIABLES.
"""

from __future__ import annotations

import os

from distflow.base import errors, flags
from distflow.cluster.environments import launcher
from distflow.cluster.environments.nodelist import expand
from distflow.cluster.worker import WorkerEnvironment

SOURCE = "Slurm's environment"
# Below the ports that Linux gives to outgoing connections (32768 and more).
FIRST_PORT, NUM_PORTS, STEPS_PER_JOB = 20_000, 12_000, 8
HINT = """Steps on several hosts need a secret that all tasks know. In the batch script:
    export DISTFLOW_TOKEN=$(openssl rand -hex 32)
    srun python train.py
(distflow submit --slurm writes such a script.)"""


def is_present() -> bool:
    """Whether srun started this process."""
    return bool(os.environ.get("SLURM_STEP_ID") and os.environ.get("SLURM_PROCID"))


def read() -> WorkerEnvironment:
    """Returns this task's place in its step.

    DISTFLOW_COORDINATOR names another place to meet, where the port is taken.
    """
    rank = _integer("SLURM_PROCID")
    size = _integer("SLURM_STEP_NUM_TASKS" if _is_set("SLURM_STEP_NUM_TASKS") else "SLURM_NTASKS")
    hosts = expand(_text("SLURM_STEP_NODELIST"), "SLURM_STEP_NODELIST")
    job, step = _integer("SLURM_JOB_ID"), _integer("SLURM_STEP_ID")
    # On one host nobody else need be let in, and no secret is needed.
    host = hosts[0] if len(hosts) > 1 else "127.0.0.1"
    named = flags.get("DISTFLOW_COORDINATOR") is not None
    if len(hosts) > 1 and size > 1 and not named and not flags.get("DISTFLOW_TOKEN"):
        raise errors.invalid(
            SOURCE, f"{size} workers on {len(hosts)} hosts need DISTFLOW_TOKEN", "none", HINT
        )
    return launcher.environment(
        rank,
        size,
        SOURCE,
        HINT,
        coordinator=f"{host}:{port(job, step)}",
        local_rank=_integer("SLURM_LOCALID"),
    )


def port(job: int, step: int) -> int:
    """Returns where the workers of a step meet: another port for each of a job's first steps."""
    return FIRST_PORT + (job * STEPS_PER_JOB + step % STEPS_PER_JOB) % NUM_PORTS


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name))


def _text(name: str) -> str:
    if not _is_set(name):
        raise errors.invalid(SOURCE, f"expected {name} beside SLURM_STEP_ID", "none")
    return os.environ[name]


def _integer(name: str) -> int:
    text = _text(name)
    if not (text.isascii() and text.isdigit()):
        raise errors.invalid(SOURCE, f"{name} must be an integer from 0", repr(text))
    return int(text)
