"""The user's files on their way into pods: a ConfigMap, mounted read-only.

A ConfigMap holds 1 MiB with all that is around it, so this is for scripts, not for packages of
data: what is larger belongs into the image.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from .spec import Spec, SpecError

Object = dict[str, Any]

FOLDER = "/workspace/code"
MOST_BYTES = 900 * 1024
_SKIPPED = {"__pycache__", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def collect(script: Path, also: list[Path]) -> dict[str, bytes]:
    """Returns path in the pod -> content, for a script and the files and folders beside it.

    Folders are taken whole, without caches and hidden files. Every path is relative to the
    script's folder, so that its imports find what they find here.

    Raises:
      SpecError: if a file is missing or outside, or all of it is too large for a ConfigMap.
    """
    root = script.resolve().parent
    files: dict[str, bytes] = {}
    for path in [script, *also]:
        if not path.exists():
            raise SpecError(f"code: expected a file or folder; received {str(path)!r}, not there.")
        for file in _files(path.resolve()):
            if not file.is_relative_to(root):
                raise SpecError(
                    f"code: expected files beside {script.name} or below; received {file}."
                )
            files[file.relative_to(root).as_posix()] = file.read_bytes()
    size = sum(len(content) for content in files.values())
    if size > MOST_BYTES:
        largest = max(files, key=lambda name: len(files[name]))
        raise SpecError(
            f"code: expected at most {MOST_BYTES // 1024} KiB for a ConfigMap; received "
            f"{size / 1024:.0f} KiB in {len(files)} files (the largest: {largest}).\n"
            "Put them into an image (FROM the distflow image, COPY) and give --in-image."
        )
    return files


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [file for file in path.rglob("*") if file.is_file()]
    return sorted(
        file
        for file in found
        if not any(
            part in _SKIPPED or part.startswith(".") for part in file.relative_to(path).parts
        )
    )


def config_map(spec: Spec) -> list[Object]:
    """Returns the ConfigMap with the job's files, nothing where it has none."""
    if not spec.files:
        return []
    data: dict[str, str] = {}
    binary: dict[str, str] = {}
    for path, content in sorted(spec.files.items()):
        try:
            data[_key(path)] = content.decode("utf-8")
        except UnicodeDecodeError:
            binary[_key(path)] = base64.b64encode(content).decode("ascii")
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": _name(spec)},
            # Pods that are started again must find the code that the others run.
            "immutable": True,
            **({"data": data} if data else {}),
            **({"binaryData": binary} if binary else {}),
        }
    ]


def volumes(spec: Spec) -> list[Object]:
    """Returns the volume of the code: keys have no slashes, so each is given its path."""
    if not spec.files:
        return []
    items = [{"key": _key(path), "path": path} for path in sorted(spec.files)]
    return [{"name": "code", "configMap": {"name": _name(spec), "items": items}}]


def mounts(spec: Spec) -> list[Object]:
    """Returns where the code is mounted."""
    return [{"name": "code", "mountPath": FOLDER, "readOnly": True}] if spec.files else []


def _name(spec: Spec) -> str:
    return f"{spec.name}-code"


def _key(path: str) -> str:
    """A key of a ConfigMap may have letters, digits, `-`, `_` and `.`; the hash keeps it unique."""
    readable = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in path)
    if readable == path and not path.startswith(".."):
        return path
    return f"{readable[-200:].lstrip('.')}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
