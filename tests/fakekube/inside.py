"""Runs a command inside a running container, as exec probes and lifecycle hooks do."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping


def execute(
    process: int,
    command: list[str],
    timeout_seconds: float | None,
    *,
    env: Mapping[str, str],
    user: tuple[int, int],
) -> int | None:
    """Returns the command's exit code in the container of a process; None if there was none.

    Args:
      process: any of the container, as the host numbers it.
      env: the container's environment, which programs like sshd overwrite in /proc.
      user: uid and gid of the container's user.
    """
    enter = ["nsenter", "-t", str(process), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]
    enter += ["-S", str(user[0]), "-G", str(user[1])]
    try:
        done = subprocess.run(
            [*enter, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=timeout_seconds, check=False, env=dict(env),
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError):
        return None
    return done.returncode
