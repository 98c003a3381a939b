"""TF_CONFIG: the JSON by which TensorFlow 2 programs are told their cluster and task."""

from __future__ import annotations

import json
import os
from typing import Any

from distflow.base import errors, flags
from distflow.cluster.spec import TRAINING_JOBS, ClusterSpec, split_address, training_tasks
from distflow.cluster.worker import WorkerEnvironment, effective_backend, requested_backend

EXAMPLE = (
    'Example for worker 0 of two: TF_CONFIG=\'{"cluster": {"worker": ["host0:2222", '
    '"host1:2222"]}, "task": {"type": "worker", "index": 0}}\''
)


def is_present() -> bool:
    """Whether TF_CONFIG is set to something; as in TF, {} is nothing."""
    return os.environ.get("TF_CONFIG", "").strip() not in ("", "{}")


def load() -> dict[str, Any]:
    """Returns TF_CONFIG as a dictionary, {} when it is not set.

    Raises:
      InvalidArgumentError: if it is not JSON, or not a JSON object.
    """
    if not is_present():
        return {}
    text = os.environ["TF_CONFIG"]
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _invalid(f"expected JSON ({error})", _shortened(text)) from error
    if not isinstance(config, dict):
        raise _invalid("expected a JSON object", _shortened(text))
    return config


def cluster_spec(config: dict[str, Any]) -> ClusterSpec:
    """Returns the cluster of a loaded TF_CONFIG; an empty one for {}."""
    if not config:
        return ClusterSpec({})
    if not isinstance(config.get("cluster"), dict) or not config["cluster"]:
        raise _invalid(
            'expected an entry "cluster" from job names to addresses', _entry(config, "cluster")
        )
    try:
        return ClusterSpec(config["cluster"])
    except errors.InvalidArgumentError as error:
        raise errors.InvalidArgumentError(f"TF_CONFIG: {error.message}\n{EXAMPLE}") from error


def task(config: dict[str, Any]) -> tuple[str | None, int | None]:
    """Returns (type, index) of this process; (None, None) for {}."""
    if not config:
        return None, None
    entry = config.get("task")
    if not isinstance(entry, dict) or "type" not in entry or "index" not in entry:
        raise _invalid('expected an entry "task" with "type" and "index"', _entry(config, "task"))
    index = entry["index"]
    if isinstance(index, str) and index.isascii() and index.isdigit():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise _invalid('"task.index" must be an integer >= 0', repr(entry["index"]))
    if not isinstance(entry["type"], str):
        raise _invalid('"task.type" must be a string', repr(entry["type"]))
    return entry["type"], index


def read() -> WorkerEnvironment:
    """Returns this worker's place in the cluster of TF_CONFIG; the chief is rank 0."""
    config = load()
    return environment(cluster_spec(config), *task(config))


def environment(
    spec: ClusterSpec, task_type: str | None, task_id: int | None, source: str = "TF_CONFIG"
) -> WorkerEnvironment:
    """Returns the place of one task in a cluster whose addresses are known."""
    try:
        tasks = training_tasks(spec)
    except errors.InvalidArgumentError as error:
        raise errors.InvalidArgumentError(f"{source}: {error.message}\n{EXAMPLE}") from error
    if task_type not in TRAINING_JOBS:
        raise _invalid(
            f"the task type must be one of {' or '.join(TRAINING_JOBS)} to train together",
            repr(task_type),
            source,
        )
    ranks = {(job, index): rank for rank, (job, index, _) in enumerate(tasks)}
    if task_id is None or (task_type, task_id) not in ranks:
        last = (spec.num_tasks(task_type) if task_type in spec.jobs else 0) - 1
        expected = f"job {task_type!r} has the indices 0 to {last} in the cluster"
        if last < 0:
            expected = f"job {task_type!r} must be in the cluster, whose jobs are {spec.jobs}"
        raise _invalid(expected, f"task.index {task_id}", source)
    rank = ranks[task_type, task_id]
    addresses = [address for _, _, address in tasks]
    hosts = [split_address(address)[0] for address in addresses]
    if len(addresses) > 1 and requested_backend() == "mpi":
        raise errors.invalid(
            source,
            "DISTFLOW_BACKEND=mpi needs processes started by mpirun",
            f"{source} without an MPI environment",
            "Start with mpirun and without TF_CONFIG, or set DISTFLOW_BACKEND=grpc.",
        )
    return WorkerEnvironment(
        rank=rank,
        world_size=len(addresses),
        local_rank=hosts[:rank].count(hosts[rank]),
        backend=effective_backend("grpc", len(addresses)),
        addresses=addresses,
        job=",".join(addresses),
        token=flags.get("DISTFLOW_TOKEN"),
        source=source,
        task_type=task_type,
        task_id=task_id,
    )


def _invalid(
    expected: str, received: str, source: str = "TF_CONFIG"
) -> errors.InvalidArgumentError:
    return errors.invalid(source, expected, received, EXAMPLE)


def _entry(config: dict[str, Any], name: str) -> str:
    if name in config:
        return f'"{name}": {_shortened(json.dumps(config[name]))}'
    return f"the entries {sorted(config)}" if config else "an empty object"


def _shortened(text: str, limit: int = 120) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")
