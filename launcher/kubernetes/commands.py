"""The Kubernetes part of `distflow submit`, `status`, `logs`, `scale`, `cancel` and `wait`."""

from __future__ import annotations

import argparse
import json
import secrets
import string
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..arguments import RETRYABLE, UsageError, port
from ..submit import job_name
from . import code, operate, stream, view
from .cluster import Cluster, connect
from .lint.files import yaml_module
from .render import render
from .spec import KINDS, Spec

FAILED = 1
POLL_SECONDS = 0.5
TAIL_LINES = 20


def add_options(group: Any) -> None:
    """Adds how to reach the cluster."""
    group.add_argument("--namespace", help="default: that of the kubeconfig's context")
    group.add_argument("--context", help="of the kubeconfig (default: the current one)")
    group.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, ~/.kube/config")


def add_submit_options(group: Any) -> None:
    """Adds what a job on Kubernetes may have."""
    group.add_argument("--image", help="with its tag or digest; deploy/Dockerfile makes one")
    group.add_argument(
        "--kind",
        choices=KINDS,
        default="job",
        help="what runs the pods: job (Indexed Job), or jobset, mpijob, trainjob (over gRPC) or "
        "trainjob-mpi, for which the cluster needs the operator (default: job)",
    )
    group.add_argument(
        "--in-image",
        action="store_true",
        help="the program is a path in the image; otherwise the file is sent along in a ConfigMap",
    )
    group.add_argument(
        "--include",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="a file or folder beside the program to send along (900 KiB in all)",
    )
    group.add_argument("--cpu", default="1", help="of each worker (default: 1)")
    group.add_argument("--memory", default="1Gi", help="of each worker (default: 1Gi)")
    group.add_argument(
        "--shared-memory", default="256Mi", metavar="SIZE", help="of /dev/shm (default: 256Mi)"
    )
    group.add_argument("--port", type=port, default=7117, help="where workers meet (default: 7117)")
    group.add_argument(
        "--token-secret",
        metavar="NAME",
        help="a Secret that is there, with the key `token` (default: one is made for the job)",
    )
    group.add_argument(
        "--tls",
        metavar="auto|SECRET",
        help="encrypt gRPC: auto makes certificates for this job (extra tls), or a Secret that "
        "is there, with ca.pem, worker.pem and worker.key",
    )
    group.add_argument("--queue", help="Kueue's queue, which decides when the job starts")
    group.add_argument("--volcano", metavar="QUEUE", help="let Volcano start all pods or none")
    group.add_argument(
        "--metrics-port", type=port, metavar="PORT", help="of the workers; adds a PodMonitor"
    )
    group.add_argument(
        "--claim",
        metavar="NAME[:SIZE]",
        help="a PersistentVolumeClaim at /checkpoints; with a size it is made",
    )
    group.add_argument(
        "-o",
        "--output",
        choices=("yaml", "json", "name"),
        help="yaml, json: print the objects and send nothing, as --dry-run does; name: say nothing "
        "but the job's name",
    )
    add_options(group)


def submit(options: argparse.Namespace) -> int:
    """Sends a job to the cluster, or prints its objects."""
    spec = _spec(options)
    if options.dry_run or options.output in ("yaml", "json"):
        _print(spec, options)
        return 0
    cluster = _connect(options)
    own = []
    if options.token_secret is None and not spec.is_mpi:
        own.append(operate.token_secret(spec))
    if options.tls == "auto":
        own.append(operate.tls_secret(spec))
    made = operate.submit(cluster, spec, own)
    if options.output == "name":
        print(spec.name)
        return 0
    print(f"{made} submitted to the namespace {cluster.namespace}: {spec.workers} workers, "
          f"{spec.num_replicas} replicas")  # fmt: skip
    print(f"  distflow logs -f {spec.name}\n  distflow status {spec.name}")
    return 0


def _spec(options: argparse.Namespace) -> Spec:
    words = list(options.module or options.program)
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise UsageError("expected a Python file, or -m and a module; received neither.")
    if options.image is None:
        raise UsageError("expected --image; received none.\ndeploy/Dockerfile makes one.")
    program, *arguments = words
    files: dict[str, bytes] = {}
    if options.module is not None:
        command = ("python", "-m", program, *arguments)
        if options.include:
            raise UsageError("--include sends files along with a program; received -m.")
    elif options.in_image:
        command = ("python", program, *arguments)
    else:
        files = code.collect(Path(program), options.include)
        command = ("python", f"{code.FOLDER}/{Path(program).name}", *arguments)
    suffix = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(5))
    name = options.name or job_name(program, suffix)
    claim, _, size = (options.claim or "").partition(":")
    return Spec(
        name=name,
        image=options.image,
        command=command,
        workers=options.workers,
        kind=options.kind,
        namespace=options.namespace,
        replicas=options.replicas,
        elastic=options.elastic,
        cpu=options.cpu,
        memory=options.memory,
        shared_memory=options.shared_memory,
        variables=dict(options.env),
        port=options.port,
        token_secret=options.token_secret or f"{name}-token",
        tls_secret=f"{name}-tls" if options.tls == "auto" else options.tls,
        queue=options.queue,
        volcano_queue=options.volcano,
        metrics_port=options.metrics_port,
        claim=claim or None,
        claim_size=size or None,
        files=files,
    )


def _print(spec: Spec, options: argparse.Namespace) -> None:
    objects = render(spec)
    if options.output == "name":
        print(spec.name)
    elif options.output == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2))
    else:
        print("\n".join(_missing(spec, options)), end="")
        print(_to_yaml(objects), end="")


def _missing(spec: Spec, options: argparse.Namespace) -> list[str]:
    """Comments on what `distflow submit` makes besides: secrets are never printed."""
    found = []
    if options.token_secret is None and not spec.is_mpi:
        found.append(
            f"# kubectl create secret generic {spec.token_secret} "
            '--from-literal=token="$(openssl rand -hex 32)"'
        )
    if options.tls == "auto":
        files = " ".join(f"--from-file={f}" for f in ("ca.pem", "worker.pem", "worker.key"))
        found.append(f"# kubectl create secret generic {spec.tls_secret} {files}")
    return ["# To apply this by hand, first make what is secret:", *found, ""] if found else []


def _to_yaml(objects: list[dict[str, Any]]) -> str:
    yaml = yaml_module()

    class Dumper(yaml.SafeDumper):  # type: ignore[name-defined, misc]
        """Writes lists indented, long texts as blocks, and no anchors."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
            return super().increase_indent(flow, False)

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, width=100))


def status(options: argparse.Namespace) -> int:
    """Lists the jobs, or shows one with its workers and what failed first."""
    cluster = _connect(options)
    if options.name is None:
        found = [view.look(cluster, name) for _, name in view.names_of(cluster)]
        rows = [(j.name, j.main["kind"], j.state, f"{_ready(j)}/{j.size}", view.age(j.main))
                for j in found if j is not None]  # fmt: skip
        if not rows:
            print(f"no jobs in the namespace {cluster.namespace}")
            return 0
        _table(("JOB", "KIND", "STATE", "READY", "AGE"), rows)
        return 0
    job = operate.find(cluster, options.name)
    print(
        f"{job.main['kind']}/{job.name}: {job.state}" + (f" ({job.reason})" if job.reason else "")
    )
    bounds = operate.bounds_of(job)
    size = f", elastic from {bounds[0]} to {bounds[1]}" if bounds else ""
    print(f"{_ready(job)} of {job.size} workers ready{size}; submitted {view.age(job.main)} ago")
    if job.workers:
        _table(
            ("WORKER", "POD", "PHASE", "NODE"),
            [(w.label, w.name, w.phase, w.node or "-") for w in job.workers],
        )
    first = job.first_failure
    if first is not None and job.state == view.FAILED:
        print(f"{first.label} failed first: {first.phase}; the end of its output:")
        only = view.JobView(job.main, job.state, job.reason, [first])
        stream.show(cluster, only, _write, rank=first.rank, tail=TAIL_LINES)
    return FAILED if job.state == view.FAILED else 0


def _ready(job: view.JobView) -> int:
    return sum(w.is_ready and w.rank is not None for w in job.workers)


def logs(options: argparse.Namespace) -> int:
    """Prints the output of the workers."""
    cluster = _connect(options)
    job = operate.find(cluster, _name(cluster, options))
    if options.follow:
        stream.follow(cluster, job.name, _write, rank=options.rank, tail=options.tail)
        return 0
    if not stream.show(cluster, job, _write, rank=options.rank, tail=options.tail):
        who = "no worker" if options.rank is None else f"rank {options.rank}"
        raise UsageError(f"expected output; {who} of {job.name} has started ({job.state}).")
    return 0


def scale(options: argparse.Namespace) -> int:
    """Changes the size of an elastic job."""
    cluster = _connect(options)
    job = operate.find(cluster, _name(cluster, options))
    operate.scale(cluster, job, options.workers, dry_run=options.dry_run)
    would = "would be " if options.dry_run else ""
    print(f"{job.main['kind']}/{job.name}: {would}{job.size} -> {options.workers} workers")
    if job.main["kind"] == "MPIJob":
        print(
            "mpirun ends after the step under way and is started again on them: the program goes "
            "on from its backup (BackupAndRestore on a volume that all pods see), else anew"
        )
    return 0


def cancel(options: argparse.Namespace) -> int:
    """Ends a job and deletes what is its own."""
    cluster = _connect(options)
    job = operate.find(cluster, options.name)
    if options.dry_run:
        for one in operate.owned(cluster, job):
            print(f"{one} would be deleted")
        return 0
    return 0 if operate.cancel(cluster, options.name, print) else FAILED


def wait(options: argparse.Namespace) -> int:
    """Waits until a job has ended."""
    cluster = _connect(options)
    name = _name(cluster, options)
    end = None if options.timeout is None else time.monotonic() + options.timeout
    said = ""
    while True:
        job = operate.find(cluster, name)
        now = f"{job.name}: {job.state}, {_ready(job)} of {job.size} workers ready"
        if now != said:
            print(now, flush=True)
            said = now
        if job.is_over:
            if job.state == view.FAILED:
                print(f"{job.name}: {job.reason}", file=sys.stderr)
            return FAILED if job.state == view.FAILED else 0
        if end is not None and time.monotonic() > end:
            print(f"{job.name} has not ended after {options.timeout:g} s", file=sys.stderr)
            return RETRYABLE
        time.sleep(POLL_SECONDS)


def _connect(options: argparse.Namespace) -> Cluster:
    return connect(
        kubeconfig=options.kubeconfig, context=options.context, namespace=options.namespace
    )


def _name(cluster: Cluster, options: argparse.Namespace) -> str:
    if options.name is not None:
        return str(options.name)
    names = [name for _, name in view.names_of(cluster)]
    if len(names) != 1:
        there = ", ".join(names) or "none"
        raise UsageError(
            f"expected the name of a job; received none, and there are {len(names)} in the "
            f"namespace {cluster.namespace}: {there}."
        )
    return names[0]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def _write(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()
