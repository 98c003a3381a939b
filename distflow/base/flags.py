"""Every DISTFLOW_* setting in one table, read from the environment, overridable in a context."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from distflow.base import errors


@dataclass(frozen=True)
class Flag:
    """One setting: how its text is parsed, its default, and what it is for."""

    parse: Callable[[str], Any]
    default: Any
    help: str


def _boolean(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    return words[text.strip().lower()]


def _boolean_or_names(text: str) -> bool | tuple[str, ...]:
    with contextlib.suppress(KeyError):
        return _boolean(text)
    names = tuple(name.strip() for name in text.split(","))
    if not all(name.isidentifier() for name in names):
        raise ValueError(text)
    return names


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise ValueError(text)
    return value


def _factor(text: str) -> float:
    return _seconds(text)


def _bounds(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    bounds = (_positive(low), _positive(high))
    if bounds[0] > bounds[1]:
        raise ValueError(text)
    return bounds


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 1 << 16:
        raise ValueError(text)
    return value


def _log_format(text: str) -> str:
    return {"text": "text", "json": "json"}[text.strip().lower()]


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


_EXPECTED: dict[Callable[[str], Any], str] = {
    _boolean_or_names: "1, 0 or names with commas between them",
    _boolean: "1 or 0",
    _positive: "an integer from 1",
    _bounds: "two integers from 1 with a colon between them, the first not the larger",
    _seconds: "a number of seconds above 0",
    _factor: "a number above 0",
    int: "an integer",
    _share: "a number from 0 to 1",
    _port: "a port, 0 to 65535",
    _log_format: "text or json",
}


FLAGS: dict[str, Flag] = {
    "DISTFLOW_EXECUTOR": Flag(
        str, "auto", "executor of compiled functions: cpu, numpy or auto: cpu if llvmlite is there"
    ),
    "DISTFLOW_CPU": Flag(
        str, "native", "vector unit the cpu executor uses: native, avx512, avx2, sse or generic"
    ),
    "DISTFLOW_THREADS": Flag(_positive, None, "threads of the cpu executor in this process"),
    "DISTFLOW_CACHE_DIR": Flag(str, None, "folder of the cache of machine code"),
    "DISTFLOW_CACHE_MB": Flag(_positive, 512, "MiB of machine code that are kept on disk"),
    "DISTFLOW_PRINT_PASSES": Flag(
        _boolean_or_names, False, "log what each pass of the compiler changes; or only these passes"
    ),
    "DISTFLOW_REPLICAS": Flag(_positive, None, "logical replicas V of a job"),
    "DISTFLOW_RANK": Flag(int, None, "rank of this worker, set by the launcher"),
    "DISTFLOW_WORLD_SIZE": Flag(_positive, None, "number of workers, set by the launcher"),
    "DISTFLOW_LOCAL_RANK": Flag(int, None, "rank of this worker on its host"),
    "DISTFLOW_LOCAL_WORLD_SIZE": Flag(_positive, None, "number of workers on this host"),
    "DISTFLOW_LOCAL_CORES": Flag(_positive, None, "cores that the workers of this host share"),
    "DISTFLOW_COORDINATOR": Flag(str, None, "host:port of the rendezvous server"),
    "DISTFLOW_JOB": Flag(
        str, None, "id of the job; set by the launcher, which hosts the rendezvous"
    ),
    "DISTFLOW_TOKEN": Flag(str, None, "secret of the job: gRPC peers must present it"),
    "DISTFLOW_BACKEND": Flag(str, "auto", "transport between workers: auto, mpi, grpc or shm"),
    "DISTFLOW_OVERLAP": Flag(
        _boolean, None, "whether gradients leave while backward still runs; default: see overlap.py"
    ),
    "DISTFLOW_TIMEOUT": Flag(_seconds, 120.0, "seconds a collective may make no progress"),
    "DISTFLOW_JOIN_TIMEOUT": Flag(_seconds, 60.0, "seconds to wait for all workers at start"),
    "DISTFLOW_ELASTIC": Flag(
        _bounds, None, "min:max workers of an elastic job; set by distflow run --elastic"
    ),
    "DISTFLOW_ELASTIC_TIMEOUT": Flag(
        _seconds, 600.0, "seconds an elastic job waits for its least number of workers"
    ),
    "DISTFLOW_ELASTIC_DIR": Flag(
        str, None, "folder where an elastic job that must end is kept, to go on from there"
    ),
    "DISTFLOW_SPAWN": Flag(
        str,
        None,
        "how members of an elastic job over MPI start others, as JSON; set by distflow run",
    ),
    "DISTFLOW_SILENCE": Flag(
        _seconds,
        5.0,
        "seconds without a sign of life until a worker of an elastic job is lost",
    ),
    "DISTFLOW_GRACE": Flag(_seconds, 25.0, "seconds from SIGTERM to the end of a worker"),
    "DISTFLOW_LEAVE": Flag(
        _boolean, False, "whether SIGTERM ends fit with BackupAndRestore after the step under way"
    ),
    "DISTFLOW_CHECKSUM": Flag(
        _boolean, None, "checksums of large bodies over gRPC; by default not between a host's own"
    ),
    "DISTFLOW_AUDIT": Flag(
        _share, 0.0, "share of an elastic job's steps that are computed twice, and compared"
    ),
    "DISTFLOW_SPECULATE": Flag(
        _factor, None, "others compute what a worker owes that keeps them so many usual steps"
    ),
    "DISTFLOW_FAULT": Flag(str, None, "faults for tests: action@phase:position, ..."),
    "DISTFLOW_DIGEST_EVERY": Flag(
        _positive, None, "steps between two digests of the weights, which workers compare"
    ),
    "DISTFLOW_DIGEST_DIR": Flag(str, None, "folder for digests, which distflow verify compares"),
    "DISTFLOW_TLS": Flag(
        str, None, "folder with ca.pem, worker.pem and worker.key: gRPC is encrypted with them"
    ),
    "DISTFLOW_FLIGHT_DIR": Flag(
        str, None, "folder for the last collective events before a distributed error"
    ),
    "DISTFLOW_REPORT": Flag(
        str, None, "socket where distflow run hears how far this worker is; set by the launcher"
    ),
    "DISTFLOW_LOG_LEVEL": Flag(str, "WARNING", "level of the distflow logger"),
    "DISTFLOW_LOG_FORMAT": Flag(
        _log_format, "text", "form of its lines: text, or json with job, generation, rank and step"
    ),
    "DISTFLOW_TIMELINE": Flag(
        str, None, "folder for a timeline of each worker; distflow timeline makes one file of them"
    ),
    "DISTFLOW_TIMELINE_AT_START": Flag(
        _boolean, True, "whether the timeline begins at once; 0: with the first SIGUSR1"
    ),
    "DISTFLOW_TIMELINE_MB": Flag(_positive, 256, "MiB at which a worker's timeline ends"),
    "DISTFLOW_METRICS_PORT": Flag(
        _port, None, "port of the host's first worker where Prometheus reads metrics; 0: a free one"
    ),
    "DISTFLOW_METRICS_HOST": Flag(
        str, "127.0.0.1", "address at which metrics are served; 0.0.0.0: all of this host"
    ),
    "DISTFLOW_STRAGGLERS_EVERY": Flag(
        _positive, None, "steps between reports of who computes and who waits, by the chief"
    ),
}

_overrides: dict[str, Any] = {}

# What `os.environ` looks in, and the keys there: it encodes a name anew each time, which takes
# longer than all else here, and eager operations ask often.
_table: Any = getattr(os.environ, "_data", None)
_keys = {name: getattr(os.environ, "encodekey", str)(name) for name in FLAGS}
# The text last found in the environment, as it is kept there, and its value.
_parsed: dict[str, tuple[Any, Any]] = {}


def get(name: str) -> Any:
    """Returns the value of a setting: an override, else the environment's, else the default.

    Raises:
      InvalidArgumentError: if the environment holds text that cannot be parsed.
    """
    if name in _overrides:
        return _overrides[name]
    if _table is None:
        return _parse(name)
    raw = _table.get(_keys[name])
    if raw is None:
        return FLAGS[name].default
    known = _parsed.get(name)
    if known is None or known[0] != raw:
        known = _parsed[name] = (raw, _parse(name))
    return known[1]


def _parse(name: str) -> Any:
    flag = FLAGS[name]
    text = os.environ.get(name)
    if text is None or text == "":
        return flag.default
    try:
        return flag.parse(text)
    except (ValueError, KeyError):
        raise errors.invalid(
            "environment",
            f"{name} must be {_EXPECTED[flag.parse]}",
            repr(text),
            f"It sets: {flag.help}.",
        ) from None


def executor() -> str:
    """Returns the executor that DISTFLOW_EXECUTOR means; "auto" is "cpu" where it can run."""
    name: str = get("DISTFLOW_EXECUTOR")
    return _best_executor() if name == "auto" else name


@functools.cache
def _best_executor() -> str:
    # Looked for only: the package is imported when something is compiled.
    return "numpy" if importlib.util.find_spec("llvmlite") is None else "cpu"


@contextlib.contextmanager
def override(**values: Any) -> Iterator[None]:
    """Sets flags for the duration of a `with` block, in this process."""
    unknown = set(values) - set(FLAGS)
    if unknown:
        raise errors.invalid("flags", f"known names are {sorted(FLAGS)}", str(sorted(unknown)))
    before = {name: _overrides[name] for name in values if name in _overrides}
    _overrides.update(values)
    try:
        yield
    finally:
        for name in values:
            _overrides.pop(name, None)
        _overrides.update(before)
