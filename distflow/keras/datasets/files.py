"""Where published files are: in the cache of Keras, or downloaded into it with pooch."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import tarfile
import tempfile
from typing import Any

from distflow.base import errors, log

STORAGE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_CHUNK_BYTES = 1 << 20


def home() -> str:
    """Returns the folder of all caches: $KERAS_HOME, or ~/.keras."""
    return os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")


def fetch(where: str, name: str, url: str, checksum: str | None = None,
          folder: str = "datasets") -> str:  # fmt: skip
    """Returns the path of a file: one of the user's, the cached one, or a fresh download.

    Args:
      where: who asks, for messages.
      name: path of a file of the user's, or its name in the cache.
      url: where it is published.
      checksum: "sha256:..." or "md5:..." of the published file. A download must have it; of a
        cached file that has another one, a warning is logged.
      folder: of the cache, below `home()`.

    Raises:
      NotFoundError: if it is not there and cannot be downloaded; says which file to put where.
    """
    if os.path.isfile(name):
        return name
    place = os.path.join(home(), folder, name)
    if os.path.isfile(place):
        _compare(where, place, checksum)
        return place
    reason = _download(url, place, checksum)
    if reason is not None:
        raise errors.NotFoundError(
            f"{where}: expected the file {place}, which is not there, and it could not be "
            f"downloaded: {reason}\nGet {url} and put it there"
            ", or give the path of your copy where the function takes one."
        )
    return place


def unpack(archive: str, members: list[str], folder: str) -> None:
    """Writes some files of a .tar.gz into a folder; each is complete or not there.

    Raises:
      DataLossError: if the archive is damaged or lacks one.
    """
    try:
        with tarfile.open(archive) as tar:
            for member in members:
                source = tar.extractfile(member)
                if source is None:
                    raise KeyError(member)
                with source:
                    _write(os.path.join(folder, os.path.basename(member)), source)
    except (tarfile.TarError, EOFError, KeyError, OSError) as error:
        raise errors.DataLossError(
            f"unpack: expected {archive} to be an archive with {', '.join(members)}; received "
            f"{type(error).__name__}: {error}\nRemove it, and it is downloaded again."
        ) from error


def _write(path: str, source: Any) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "wb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                file.write(chunk)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _compare(where: str, path: str, checksum: str | None) -> None:
    if checksum is None:
        return
    kind, _, expected = checksum.partition(":")
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        log.get_logger().warning(
            "%s: %s is not the published file (its %s differs); it is used as it is. Remove it to "
            "have it downloaded again.", where, path, kind,
        )  # fmt: skip


def _download(url: str, place: str, checksum: str | None) -> str | None:
    """Downloads a file to its place; returns why not, if it failed."""
    try:
        pooch = importlib.import_module("pooch")
        requests = importlib.import_module("requests")
    except ImportError:
        return str(errors.missing_extra("pooch", "data", "downloading"))
    # It says where it downloads to on a logger that writes to the terminal.
    pooch.get_logger().setLevel(logging.WARNING)
    log.get_logger().info("Downloading data from %s", url)
    try:
        pooch.retrieve(url, checksum, fname=os.path.basename(place), path=os.path.dirname(place))
    except (requests.RequestException, ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return None
