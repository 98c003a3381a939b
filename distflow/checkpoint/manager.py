"""CheckpointManager: keeps the last few checkpoints of a folder, and resumes from the newest."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from typing import Any

from distflow.base import errors
from distflow.checkpoint import disk, folder, layout
from distflow.checkpoint.options import checked
from distflow.checkpoint.saver import Checkpoint

_HOUR = 3600.0
# Data without a manifest may be of another worker that is writing it just now, if younger.
_LEFT_OVER_SECONDS = 600.0


class CheckpointManager:
    """Saves numbered checkpoints in a folder and removes old ones (TF's CheckpointManager).

    Args:
      checkpoint: the tf.train.Checkpoint to save and restore.
      directory: the folder; made at the first save.
      max_to_keep: how many stay; None for all.
      keep_checkpoint_every_n_hours: one of those that would be removed stays for good if the last
        that stayed so is older than this.
      checkpoint_name: what files are called: `<name>-<number>`.
      step_counter: a variable that counts steps; its value is the number, and is needed for:
      checkpoint_interval: `save` does nothing before so many steps have passed since the last one.
      init_fn: called by `restore_or_initialize` where there is nothing to restore.

    Raises:
      ValueError: for a max_to_keep that is not positive, or an interval without a counter.
    """

    def __init__(
        self, checkpoint: Checkpoint, directory: Any, max_to_keep: int | None,
        keep_checkpoint_every_n_hours: float | None = None, checkpoint_name: str = "ckpt",
        step_counter: Any = None, checkpoint_interval: int | None = None,
        init_fn: Callable[[], Any] | None = None,
    ):  # fmt: skip
        if max_to_keep is not None and max_to_keep <= 0:
            raise ValueError(
                f"Expected a positive integer or `None` for `max_to_keep`, got {max_to_keep}."
            )
        if checkpoint_interval is not None and step_counter is None:
            raise ValueError(
                "`step_counter` should be passed if `checkpoint_interval` is not None."
            )
        self._checkpoint, self._init_fn = checkpoint, init_fn
        self._directory = os.fspath(directory)
        self._max_to_keep = max_to_keep
        self._seconds = (keep_checkpoint_every_n_hours or 0) * _HOUR
        self._name = checkpoint_name
        self._step_counter, self._interval = step_counter, checkpoint_interval
        self._last_step: int | None = None
        self._paths = self._numbered()
        self._kept_at = time.time()
        self._latest = folder.newest_whole(self._paths)

    @property
    def directory(self) -> str:
        """The folder."""
        return self._directory

    @property
    def checkpoint(self) -> Checkpoint:
        """What is saved."""
        return self._checkpoint

    @property
    def checkpoint_interval(self) -> int | None:
        """Steps between two checkpoints."""
        return self._interval

    @property
    def latest_checkpoint(self) -> str | None:
        """Path of the newest checkpoint that is whole; None if there is none."""
        return self._latest

    @property
    def checkpoints(self) -> list[str]:
        """Paths of those that are kept, oldest first."""
        return list(self._paths)

    def save(
        self, checkpoint_number: Any = None, check_interval: bool = True, options: Any = None
    ) -> str | None:
        """Saves a checkpoint, removes what is too old, and returns the path.

        Args:
          checkpoint_number: the number in the name; default the step counter's, else one more than
            the last.
          check_interval: whether nothing is done before `checkpoint_interval` steps.
          options: see CheckpointOptions; with `enable_async` all of this happens in a thread.

        Returns:
          The path, or None if it was too early.
        """
        step = None if self._step_counter is None else int(self._step_counter)
        if self._interval is not None and check_interval and self._last_step is not None:
            if step is not None and step < self._last_step + self._interval:
                return None
        counter = self._checkpoint.save_counter
        counter.assign_add(1)
        number = int(counter) if step is None else step
        if checkpoint_number is not None:
            number = int(checkpoint_number)
        if number < 0:
            raise errors.invalid("CheckpointManager", "numbers must be >= 0", str(number))
        path = os.path.join(self._directory, f"{self._name}-{number}")
        facts = {} if step is None else {"step": step}
        self._checkpoint.write_as(path, checked(options), lambda: self._written(path), facts)
        self._last_step = step
        return path

    def sync(self) -> None:
        """Waits for a checkpoint that is being written; raises what that has raised."""
        self._checkpoint.sync()

    def restore_or_initialize(self) -> str | None:
        """Restores the newest checkpoint that is whole, else calls `init_fn`.

        Returns:
          The path of what was restored, or None.
        """
        self.sync()
        self._latest = folder.newest_whole(self._paths)
        if self._latest is not None:
            self._checkpoint.restore(self._latest)
            if self._step_counter is not None:
                self._last_step = int(self._step_counter)
            return self._latest
        if self._init_fn is not None:
            self._init_fn()
        return None

    def _written(self, path: str) -> None:
        """Removes what is too old; the new one is whole by now."""
        self._paths = [p for p in self._paths if p != path] + [path]
        self._latest = path
        gone = []
        while self._max_to_keep is not None and len(self._paths) > self._max_to_keep:
            oldest = self._paths.pop(0)
            saved_at = self._time_of(oldest)
            if self._seconds and saved_at - self._kept_at >= self._seconds:
                self._kept_at = saved_at
            else:
                gone.append(oldest)
        folder.remember(path, self._paths)
        for old in gone:
            layout.remove(old)
        _sweep(self._directory, self._name)

    def _time_of(self, prefix: str) -> float:
        try:
            return layout.read_manifest(prefix).facts["saved_at"] / 1e9
        except errors.OpError:
            return 0.0

    def _numbered(self) -> list[str]:
        pattern = re.compile(re.escape(self._name) + r"-\d+")
        found = folder.prefixes(self._directory, f"{self._name}-*")
        return [p for p in found if pattern.fullmatch(os.path.basename(p))]


def _sweep(directory: str, name: str) -> None:
    """Removes old data that no manifest names, which killed processes left in a folder."""
    pattern = re.compile(rf"({re.escape(name)}-\d+)\.data-[0-9a-f]+")
    for entry in os.listdir(directory) if os.path.isdir(directory) else ():
        match = pattern.fullmatch(entry)
        if match and not os.path.exists(layout.index_path(os.path.join(directory, match[1]))):
            path = os.path.join(directory, entry)
            with contextlib.suppress(OSError):
                if time.time() - os.stat(path).st_mtime > _LEFT_OVER_SECONDS:
                    disk.disk.remove(path)
