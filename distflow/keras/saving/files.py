"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator

from distflow.base import errors


@contextlib.contextmanager
def written_beside(path: str) -> Iterator[str]:
    """Gives the name of a new file beside `path`, which takes its place when the block is done.

    If the block fails, the new file goes and what was at `path` stays.
    """
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise errors.NotFoundError(f"save: expected the folder {folder} to exist; make it first.")
    temporary = os.path.join(folder, f".{name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def check_overwrite(path: str, overwrite: bool) -> None:
    """Raises AlreadyExistsError if the file is there and may not be replaced."""
    if not overwrite and os.path.exists(path):
        raise errors.AlreadyExistsError(
            f"save: {path} exists already. Give overwrite=True to replace it."
        )
