"""Gives every pod a network namespace of its own on one bridge, 10.77.0.0/16, apart from the host.

The bridge is in a namespace as well, so nothing of it is to be seen outside. A namespace lives as
long as the process that holds it; all of those end with this process, however it ends.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass

CLONE_NEWNET = 0x40000000
PROGRAMS = ("ip", "unshare", "nsenter", "setpriv")
# The kernel kills what is started by this when the thread that started it ends.
DIES_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """Returns why there can be no such network here, or "" if there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    lost = [program for program in PROGRAMS if shutil.which(program) is None]
    if lost:
        return f"programs not installed: {', '.join(lost)} (Debian: iproute2, util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "ip", "link", "add", "bridge0", "type",
         "bridge"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
    )  # fmt: skip
    return "" if tried.returncode == 0 else f"no namespaces or bridges: {tried.stderr.strip()}"


@dataclass
class Sandbox:
    """A network namespace: the process that holds it, and its address."""

    holder: subprocess.Popen[bytes]
    ip: str

    @property
    def path(self) -> str:
        """The file by which nsenter and setns find the namespace."""
        return f"/proc/{self.holder.pid}/ns/net"

    def enter(self) -> None:
        """Moves the calling thread, and no other, into the namespace."""
        with open(self.path) as file:
            if _libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {self.path}")

    def close(self) -> None:
        """Ends the namespace, unless something else still runs in it."""
        self.holder.kill()
        self.holder.wait()


class Network:
    """One bridge, and the sandboxes on it. To be closed by the thread that made it."""

    def __init__(self) -> None:
        self._numbers = itertools.count(2)
        self._lock = threading.Lock()
        self.router = Sandbox(_hold(), "10.77.0.1")
        _ip(self.router, "link add bridge0 type bridge", "link set bridge0 up", "link set lo up",
            "addr add 10.77.0.1/16 dev bridge0")  # fmt: skip

    def add(self) -> Sandbox:
        """Returns a new namespace with an address that nobody had before."""
        with self._lock:
            number = next(self._numbers)
        sandbox = Sandbox(_hold(), f"10.77.{number >> 8}.{number & 255}")
        pid = sandbox.holder.pid
        _ip(self.router, f"link add v{number} type veth peer name eth0 netns {pid}",
            f"link set v{number} master bridge0 up")  # fmt: skip
        _ip(sandbox, "link set lo up", "link set eth0 up", f"addr add {sandbox.ip}/16 dev eth0",
            "route add default via 10.77.0.1")  # fmt: skip
        return sandbox

    def close(self) -> None:
        """Ends the bridge."""
        self.router.close()


def _hold() -> subprocess.Popen[bytes]:
    """Starts a process in a new namespace that does nothing; returns when it is there."""
    process = subprocess.Popen(
        [*DIES_WITH_PARENT, "unshare", "--net", "sh", "-c", "echo; exec sleep 100000"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    return process


def _ip(sandbox: Sandbox, *commands: str) -> None:
    done = subprocess.run(
        ["nsenter", f"--net={sandbox.path}", "ip", "-batch", "-"], input="\n".join(commands),
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise OSError(f"ip: {done.stderr.strip()}")
