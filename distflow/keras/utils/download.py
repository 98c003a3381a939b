"""get_file: a published file in the cache, downloaded if it is not there."""

from __future__ import annotations

import os
import tarfile
import zipfile
from typing import Any

from distflow.base import errors
from distflow.keras.datasets import files


def get_file(
    fname: str | None = None, origin: str | None = None, untar: bool = False,
    md5_hash: str | None = None, file_hash: str | None = None, cache_subdir: str = "datasets",
    hash_algorithm: str = "auto", extract: bool = False, archive_format: Any = "auto",
    cache_dir: Any = None, force_download: bool = False,
) -> str:  # fmt: skip
    """Returns the path of a file in the cache; of its folder if it was extracted.

    Args:
      fname: its name in the cache; default that of the URL.
      origin: URL.
      file_hash: of the file, "sha256" or "md5" by hash_algorithm (auto: by its length).
      cache_subdir: folder below cache_dir, which is $KERAS_HOME or ~/.keras.
      extract, untar: unpack a `.tar`, `.tar.gz`, `.tar.bz2` or `.zip` file beside it.
      force_download: whether a cached file is dropped first.

    Raises:
      ValueError: without `origin`.
      NotFoundError: if the file can be neither found nor downloaded; says where to put it.
      DataLossError: if it is no archive that was to be extracted.
    """
    if origin is None:
        raise ValueError('Please specify the "origin" argument (URL of the file to download).')
    name = os.fspath(fname) if fname else os.path.basename(origin.rstrip("/").split("?")[0])
    if not name:
        raise ValueError(
            f"Can't parse the file name from the origin provided: '{origin}'. Please specify the "
            "`fname` argument."
        )
    folder = os.path.join(os.fspath(cache_dir) if cache_dir else files.home(), cache_subdir)
    place = os.path.join(folder, name)
    if force_download and os.path.exists(place):
        os.unlink(place)
    path = files.fetch("get_file", name, origin, _checksum(file_hash or md5_hash, hash_algorithm),
                       folder=folder)  # fmt: skip
    return _extracted(path, folder) if extract or untar else path


def _checksum(value: str | None, algorithm: str) -> str | None:
    if value is None:
        return None
    if algorithm not in ("auto", "md5", "sha256"):
        raise errors.invalid("get_file", "hash_algorithm among auto, md5, sha256", algorithm)
    kind = algorithm if algorithm != "auto" else "sha256" if len(value) == 64 else "md5"
    return f"{kind}:{value}"


def _extracted(path: str, folder: str) -> str:
    """Unpacks an archive into a folder of its name; members cannot leave it."""
    target = os.path.join(folder, os.path.basename(path).split(".")[0] + "_extracted")
    if os.path.isdir(target):
        return target
    unfinished = target + ".part"
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(unfinished)
        else:
            with tarfile.open(path) as tar:
                tar.extractall(unfinished, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise errors.DataLossError(
            f"get_file: expected {path} to be an archive; received {error}"
        ) from error
    os.replace(unfinished, target)
    return target
