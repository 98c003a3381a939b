"""What is to be run: the checked form of the options of `distflow run`."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import env
from .arguments import UsageError
from .discovery import Discovery
from .ending import numbers
from .hosts import Host, Place, place
from .mpirun import OPEN_MPI, Mpirun, find_mpirun
from .tag import DEFAULT as DEFAULT_TAG
from .tag import Tag

BACKENDS = ("auto", "mpi", "grpc", "shm")


@dataclass(frozen=True)
class Plan:
    """One job on this host.

    Attributes:
      command: what each worker runs.
      num_workers: how many of them.
      backend: over which they meet, "mpi" or "grpc".
      mpirun: with which MPI they are started; None for "grpc".
      variables: what is added to the environment of all workers.
      grace_seconds: from SIGTERM to SIGKILL.
      linger_seconds: from the first failure to SIGTERM, in which the others report it themselves.
      log_dir: where each worker's output is kept as well.
      tls: folder with the job's certificates; gRPC is encrypted with them.
      elastic: the least and the most workers, for a job whose workers may come and go.
      max_restarts: how many lost workers of an elastic job are replaced.
      tag: what stands before each line of a worker.
      view: how it is shown how far the workers are: one of `view.MODES`.
      timeline_dir: where the workers' timelines come together.
      hosts: where the workers run, over ssh; none for this host.
      discovery: says where mpirun starts the workers; None for this host.
      remote_python: the interpreter there.
      scratch: folders made for this job, which nobody needs after it.
    """

    command: list[str]
    num_workers: int
    backend: str
    mpirun: Mpirun | None = None
    variables: dict[str, str] = field(default_factory=dict)
    grace_seconds: float = 25.0
    linger_seconds: float = 5.0
    log_dir: Path | None = None
    tls: Path | None = None
    elastic: tuple[int, int] | None = None
    max_restarts: int = 3
    tag: Tag = DEFAULT_TAG
    view: str = "auto"
    scratch: tuple[Path, ...] = ()
    timeline_dir: Path | None = None
    hosts: tuple[Host, ...] = ()
    discovery: Discovery | None = None
    remote_python: str = sys.executable

    @property
    def job(self) -> str:
        """The id of the job."""
        return self.variables["DISTFLOW_JOB"]

    def describe(self) -> str:
        """Returns the plan for people, one thing on each line; secrets are left out."""
        where = "on this host" if not self.hosts else f"on {len(self.hosts)} hosts over ssh"
        if self.discovery is not None:
            where = "at most, over the hosts of now"
        lines = [
            f"workers  {self.num_workers} {where}",
            f"backend  {self.backend}" + (f" ({self.mpirun.name})" if self.mpirun else ""),
            f"command  {shlex.join(self.command)}",
        ]
        if self.hosts:
            lines += _described(place(self.hosts, self.num_workers))
        elif self.discovery is not None:
            lines.append(f"hosts    {self.discovery.describe()}")
            lines.append("started  by one mpirun, again when the hosts change or one is lost")
        elif self.mpirun:
            started = self.mpirun.command(self.num_workers, ["..."])
            lines.append(f"started  {shlex.join(started)}")
        else:
            lines.append("started  each in a session of its own, meeting at 127.0.0.1:<free port>")
        lines += [f"env      {env.shown(*item)}" for item in self.variables.items()]
        per_rank = [name for name, variable in env.CONTRACT.items() if variable.per_rank]
        lines.append(f"per rank {', '.join(per_rank)}")
        lines.append(
            f"at end   {self.linger_seconds:g} s after a failure SIGTERM, "
            f"{self.grace_seconds:g} s later SIGKILL"
        )
        if self.tls:
            lines.append(f"tls      with the certificates in {self.tls}")
        if self.elastic:
            low, high = self.elastic
            what = "lost ones are replaced" if self.backend != "mpi" else "restarts after a loss"
            lines.append(f"elastic  {low} to {high} workers; {self.max_restarts} {what}")
            if self.hosts:
                lines.append(
                    "         hosts that are lost are tried again; a --hostfile may change"
                )
        if self.log_dir:
            lines.append(f"logs     {self.log_dir}/rank-N.out and rank-N.err")
        return "\n".join(lines)


def make_plan(
    command: list[str],
    *,
    num_workers: int,
    backend: str = "auto",
    replicas: int | None = None,
    variables: dict[str, str] | None = None,
    log_dir: Path | None = None,
    grace_seconds: float = 25.0,
    linger_seconds: float = 5.0,
    tls: Path | None = None,
    elastic: tuple[int, int] | None = None,
    max_restarts: int = 3,
    state_dir: Path | None = None,
    tag: Tag = DEFAULT_TAG,
    view: str = "auto",
    metrics_port: int | None = None,
    timeline_dir: Path | None = None,
    scratch: Sequence[Path] = (),
    hosts: Sequence[Host] = (),
    discovery: Discovery | None = None,
    remote_python: str | None = None,
) -> Plan:
    """Returns the plan of a job; chooses the backend if it is "auto".

    Raises:
      UsageError: for numbers that do not go together, reserved variables, or a missing mpirun.
    """
    most = num_workers if elastic is None else elastic[1]
    if elastic is not None:
        _check_elastic(elastic, num_workers)
        backend, replicas = "mpi" if backend == "mpi" else "grpc", replicas or most
    if replicas is not None and replicas < most:
        raise UsageError(
            f"--replicas must be at least the number of workers ({most}); received "
            f"{replicas}. Each worker holds one logical replica or more."
        )
    given = dict(variables or {})
    for name in given:
        if name in env.CONTRACT and not env.CONTRACT[name].settable:
            raise UsageError(f"--env {name} is set by distflow run itself: {_meaning(name)}.")
    if hosts:
        _check_hosts(hosts, num_workers, backend, command)
    if (tls is not None or hosts) and backend == "auto":
        backend = "grpc"
    if discovery is not None:
        elastic = elastic or (num_workers, num_workers)
    chosen, mpirun = _choose(backend, num_workers)
    if discovery is not None and (mpirun is None or mpirun.name != OPEN_MPI):
        raise UsageError(
            "an MPI job over hosts needs --backend mpi and Open MPI's mpirun; received "
            f"{chosen if mpirun is None else mpirun.name}."
        )
    present = {**os.environ, **given}
    job = {
        "DISTFLOW_JOB": secrets.token_hex(8),
        # "auto" and "shm" let workers that have met share the memory of this host.
        "DISTFLOW_BACKEND": backend if backend in ("auto", "shm") else chosen,
        "DISTFLOW_WORLD_SIZE": str(most),
        **env.host_variables(num_workers),
        "DISTFLOW_TOKEN": secrets.token_hex(16),
    }
    if tls is not None:
        if chosen == "mpi":
            raise UsageError("--tls encrypts gRPC; MPI has no encryption. Use --backend grpc.")
        job["DISTFLOW_TLS"] = str(tls.absolute())
    if log_dir is not None:
        job["DISTFLOW_FLIGHT_DIR"] = str(log_dir.absolute())
    if metrics_port is not None:
        job["DISTFLOW_METRICS_PORT"] = str(metrics_port)
    if timeline_dir is not None:
        job["DISTFLOW_TIMELINE"] = str(timeline_dir.absolute())
    if elastic is not None and chosen != "mpi":  # mpirun's ranks are those of one generation
        job["DISTFLOW_ELASTIC"] = f"{elastic[0]}:{elastic[1]}"
        if state_dir is not None:
            job["DISTFLOW_ELASTIC_DIR"] = str(state_dir.absolute())
        job["DISTFLOW_GRACE"] = f"{max(grace_seconds, 1.0):g}"
    if elastic is not None and chosen == "mpi":
        # A rank that is asked to end does so after the step under way, with a backup.
        job["DISTFLOW_LEAVE"] = "1"
        job["DISTFLOW_GRACE"] = f"{max(grace_seconds, 1.0):g}"
    if replicas is not None:
        job["DISTFLOW_REPLICAS"] = str(replicas)
    defaults = env.defaults(present, mpi=chosen == "mpi", root=os.geteuid() == 0)
    if discovery is not None:  # what one host does not need
        for name in env.MPI_DEFAULTS:
            defaults.pop(name, None)
    return Plan(
        command=command,
        num_workers=num_workers,
        backend=chosen,
        mpirun=mpirun,
        variables={
            **defaults,
            **given,
            **job,
        },
        grace_seconds=grace_seconds,
        linger_seconds=linger_seconds,
        log_dir=log_dir,
        tls=tls,
        elastic=elastic,
        max_restarts=max_restarts,
        tag=tag,
        view=view,
        timeline_dir=timeline_dir,
        hosts=tuple(hosts),
        discovery=discovery,
        remote_python=remote_python or sys.executable,
        scratch=(*scratch, *([timeline_dir] if timeline_dir is not None else [])),
    )


def _described(places: list[Place]) -> list[str]:
    ranks: dict[str, list[int]] = {}
    for one in places:
        ranks.setdefault(one.host.name, []).append(one.rank)
    return [f"host     {name}: {numbers(found)}" for name, found in ranks.items()]


def worker_command(name: str, arguments: list[str], *, is_module: bool) -> list[str]:
    """Returns the command of a worker: this Python with a script or a module.

    Raises:
      UsageError: if the script is not there.
    """
    if is_module:
        return [sys.executable, "-m", name, *arguments]
    if not Path(name).is_file() and not (Path(name) / "__main__.py").is_file():
        raise UsageError(
            f"expected a Python file; received {name!r}, which is not there (in {os.getcwd()})."
        )
    return [sys.executable, name, *arguments]


def _check_elastic(elastic: tuple[int, int], num_workers: int) -> None:
    low, high = elastic
    if not low <= num_workers <= high:
        raise UsageError(
            f"-n must be from {low} to {high} with --elastic {low}:{high}; received {num_workers}."
        )


def _check_hosts(
    hosts: Sequence[Host], num_workers: int, backend: str, command: Sequence[str]
) -> None:
    place(hosts, num_workers)
    if backend == "mpi":
        named = ",".join(f"{host.name}:{host.slots}" for host in hosts)
        raise UsageError(
            "--hosts starts the workers by agents over ssh, and an MPI's ranks must be started by "
            "its own mpirun; received --backend mpi. Leave it out (gRPC between hosts, memory "
            "within one), give the hosts by --hostfile FILE (one mpirun is started over them), or "
            f"run\n  mpirun -n {num_workers} --host {named} --mca plm_rsh_agent ssh "
            f"{shlex.join(command)}"
        )


def _choose(backend: str, num_workers: int) -> tuple[str, Mpirun | None]:
    # Workers that will share memory need no mpirun to move their data, and start sooner without.
    if backend in ("grpc", "shm") or (backend == "auto" and (num_workers == 1 or _shares_memory())):
        return "grpc", None
    mpirun = find_mpirun()
    has_mpi4py = importlib.util.find_spec("mpi4py") is not None
    if mpirun is not None and has_mpi4py:
        return "mpi", mpirun
    if backend == "auto":
        return "grpc", None
    missing = "mpi4py" if mpirun is not None else "an mpirun, beside Python or on PATH"
    raise UsageError(
        f'--backend mpi needs {missing}, which was not found. Run: pip install "distflow[mpi]", '
        "or use --backend grpc."
    )


def _shares_memory() -> bool:
    """Whether this host lends processes memory to share (`distflow.comm.transport.segment`)."""
    return os.access("/dev/shm", os.W_OK | os.X_OK)


def _meaning(name: str) -> str:
    return env.CONTRACT[name].meaning
