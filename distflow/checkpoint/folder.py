"""A folder of checkpoints: which are there, which is the newest that is whole.

The file `checkpoint` names them in TF's text form. It only helps readers: what counts is which
manifests are there, so a folder stays usable when that file is lost, old or damaged.
"""

from __future__ import annotations

import glob
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from distflow.base import errors, log
from distflow.checkpoint import disk, layout

_STATE = "checkpoint"
_QUOTED = re.compile(r'^(model|all_model)_checkpoint_paths?: ("(?:[^"\\]|\\.)*")$', re.MULTILINE)
# Checkpoints that were read wholly and found good, by what a change of the files would change.
_verified: dict[tuple[Any, ...], bool] = {}


@dataclass(frozen=True)
class CheckpointState:
    """What the file `checkpoint` of a folder says (TF's CheckpointState)."""

    model_checkpoint_path: str
    all_model_checkpoint_paths: list[str] = field(default_factory=list)


def remember(path: str, all_paths: Sequence[str] | None = None) -> None:
    """Writes into the folder's file `checkpoint` that this one is the newest.

    Args:
      path: the checkpoint just written.
      all_paths: all that are kept, oldest first; by default this one joins those named before.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if all_paths is None:
        before = get_checkpoint_state(folder)
        known = [] if before is None else before.all_model_checkpoint_paths
        kept = [p for p in known if os.path.exists(layout.index_path(p))]
        all_paths = [p for p in kept if os.path.abspath(p) != os.path.abspath(path)] + [path]
    lines = [f"model_checkpoint_path: {json.dumps(os.path.basename(path))}"]
    lines += [f"all_model_checkpoint_paths: {json.dumps(os.path.basename(p))}" for p in all_paths]
    disk.write_file(os.path.join(folder, _STATE), ["\n".join([*lines, ""]).encode()])


def get_checkpoint_state(checkpoint_dir: Any, latest_filename: str | None = None) -> Any:
    """Returns the CheckpointState of a folder; None if there is none that can be read."""
    folder = os.fspath(checkpoint_dir)
    try:
        with open(os.path.join(folder, latest_filename or _STATE), encoding="utf-8") as file:
            rows = _QUOTED.findall(file.read())
        named = [(what, os.path.join(folder, json.loads(text))) for what, text in rows]
    except (OSError, ValueError):
        return None
    newest = [path for what, path in named if what == "model"]
    if not newest:
        return None
    return CheckpointState(newest[0], [path for what, path in named if what == "all_model"])


def prefixes(checkpoint_dir: Any, name: str = "*") -> list[str]:
    """Returns the checkpoints of a folder whose manifests can be read, oldest first.

    Args:
      checkpoint_dir: the folder.
      name: only those called so; may hold `*`.
    """
    folder = glob.escape(os.fspath(checkpoint_dir))
    found = []
    for path in glob.glob(os.path.join(folder, layout.index_path(name))):
        try:
            manifest = layout.read_manifest(path.removesuffix(".index"))
        except errors.OpError as error:
            log.get_logger().warning("%s It is left out.", error)
        else:
            found.append((manifest.facts["saved_at"], manifest.prefix))
    return [prefix for _, prefix in sorted(found)]


def latest_checkpoint(checkpoint_dir: Any, latest_filename: str | None = None) -> str | None:
    """Returns the path of the newest checkpoint of a folder; None if there is none.

    Every byte of it is checked. A damaged one is left out with a warning, and the one before is
    taken.
    """
    return newest_whole(prefixes(checkpoint_dir))


def newest_whole(oldest_first: Sequence[str]) -> str | None:
    """Returns the last of these checkpoints that is whole; warns of those that are not."""
    for prefix in reversed(oldest_first):
        try:
            _verify(prefix)
        except errors.OpError as error:
            log.get_logger().warning("%s The checkpoint before it is taken.", error)
        else:
            return prefix
    return None


def checkpoints_iterator(
    checkpoint_dir: Any, min_interval_secs: float = 0, timeout: float | None = None,
    timeout_fn: Callable[[], bool] | None = None,
) -> Iterator[str]:  # fmt: skip
    """Yields new checkpoints of a folder as another process writes them.

    Args:
      checkpoint_dir: the folder, which need not exist yet.
      min_interval_secs: least time between two.
      timeout: how long to wait for the next; None for ever.
      timeout_fn: asked after the timeout: True ends the iteration, False waits again.
    """
    last = None
    while True:
        found = _wait_for_new(checkpoint_dir, last, timeout)
        if found is None:
            if timeout_fn is None or timeout_fn():
                return
            continue
        started = time.monotonic()
        last = found
        yield found
        time.sleep(max(0.0, min_interval_secs - (time.monotonic() - started)))


def _wait_for_new(checkpoint_dir: Any, last: str | None, timeout: float | None) -> str | None:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        found = latest_checkpoint(checkpoint_dir)
        if found is not None and found != last:
            return found
        if deadline is not None and time.monotonic() >= deadline:
            return None
        pause = 1.0 if deadline is None else min(1.0, max(0.0, deadline - time.monotonic()))
        time.sleep(pause)


def _verify(prefix: str) -> None:
    manifest = layout.read_manifest(prefix)
    key = tuple(_stamp(path) for path in (layout.index_path(prefix), manifest.data_path))
    if key not in _verified:
        layout.verify(prefix)
        _verified[key] = True


def _stamp(path: str) -> tuple[Any, ...]:
    try:
        found = os.stat(path)
    except OSError:
        return (path, None)
    return (path, found.st_ino, found.st_size, found.st_mtime_ns)
