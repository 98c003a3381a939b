"""Encrypted connections between the processes of a job: DISTFLOW_TLS names a folder with the files.

The folder holds `ca.pem` (the job's own authority), `worker.pem` and `worker.key`. Both sides of a
connection show a certificate of that authority, so that strangers are refused before they have said
anything. `distflow run --tls auto` makes the files for one job.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distflow.base import errors, flags

# The name in every certificate: who has one belongs to the job, whatever its host is called.
NAME = "worker.distflow.job"
FILES = ("ca.pem", "worker.pem", "worker.key")


class Material(NamedTuple):
    """The contents of the files."""

    authority: bytes
    certificate: bytes
    key: bytes


def material() -> Material | None:
    """Returns what DISTFLOW_TLS names, None if it is not set.

    Raises:
      InvalidArgumentError: if a file is missing or cannot be read.
    """
    folder = flags.get("DISTFLOW_TLS")
    return _read(folder) if folder else None


def channel(address: str, options: Sequence[tuple[str, Any]]) -> Any:
    """Returns a gRPC channel to an address, encrypted where the job is."""
    grpc = importlib.import_module("grpc")
    found = material()
    if found is None:
        return grpc.insecure_channel(address, options)
    credentials = grpc.ssl_channel_credentials(found.authority, found.key, found.certificate)
    named = [*options, ("grpc.ssl_target_name_override", NAME)]
    return grpc.secure_channel(address, credentials, named)


def listen(server: Any, address: str) -> int:
    """Lets a gRPC server listen at an address, encrypted where the job is; returns its port."""
    grpc = importlib.import_module("grpc")
    found = material()
    if found is None:
        return int(server.add_insecure_port(address))
    credentials = grpc.ssl_server_credentials(
        [(found.key, found.certificate)], found.authority, require_client_auth=True
    )
    return int(server.add_secure_port(address, credentials))


@functools.lru_cache(maxsize=4)
def _read(folder: str) -> Material:
    try:
        return Material(*((Path(folder) / name).read_bytes() for name in FILES))
    except OSError as error:
        raise errors.invalid(
            "DISTFLOW_TLS",
            f"expected a folder with {', '.join(FILES)}",
            f"{folder!r} ({error.strerror})",
            "`distflow run --tls auto` makes one for its job.",
        ) from error
