"""One container as a local process: its command in its namespaces, its log, its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakekube import inside, volumes
from tests.fakekube.cgroup import Group
from tests.fakekube.image import Image
from tests.fakekube.network import DIES_WITH_PARENT, Sandbox

INSIDE = Path(__file__).with_name("container.py")
NAMESPACES = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child")


class Process:
    """A started container. `ended` is called from a thread when it has ended.

    Args:
      pod, container: what the manifest says.
      variables: the container's environment, references resolved.
      mounts: (folder or file, path inside, writable) beside those of the image.
      folder: where its root is mounted and its specification lies.
      log: file that its output is appended to.
    """

    def __init__(
        self,
        pod: dict[str, Any],
        container: dict[str, Any],
        *,
        image: Image,
        variables: dict[str, str],
        mounts: list[tuple[str, str, bool]],
        sandbox: Sandbox,
        folder: Path,
        log: Path,
        ended: Callable[[], None],
    ):
        self.name = container["name"]
        self.code: int | None = None
        self._stop = threading.Event()
        spec = _specification(pod, container, image, variables, mounts, folder)
        self._env, self._user = spec["env"], (spec["uid"], spec["gid"])
        limits = container.get("resources", {}).get("limits", {})
        # The root's folder has the number of the restart, the pod's has its uid.
        self._group = Group(f"{pod['metadata']['uid']}-{folder.name}", limits)
        reader, writer = os.pipe()
        file = folder / "spec.json"
        file.write_text(json.dumps({**spec, "started": writer}))
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*DIES_WITH_PARENT, *self._group.prefix, "nsenter", f"--net={sandbox.path}",
                 "unshare", *NAMESPACES, sys.executable, "-I", "-S", str(INSIDE), str(file)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=[writer],
            )  # fmt: skip
        os.close(writer)
        os.read(reader, 1)  # the command runs, or could not be started
        os.close(reader)
        threading.Thread(target=self._wait, args=(ended,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The process of the command as the host numbers it; 0 if it has ended."""
        first = _child(self._popen.pid)
        return _child(first) if first else 0

    @property
    def was_out_of_memory(self) -> bool:
        """Whether it was killed for its memory."""
        return self._out_of_memory if self.code is not None else False

    def execute(self, command: list[str], timeout_seconds: float | None = None) -> int | None:
        """Runs a command in the container; returns its exit code, None if it had none."""
        return inside.execute(self.pid, command, timeout_seconds, env=self._env, user=self._user)

    def terminate(self) -> None:
        """Asks the container to end, as the kubelet does first."""
        self._signal(_child(self._popen.pid), signal.SIGTERM)

    def kill(self) -> None:
        """Ends every process of the container: with its command, the first one takes all along."""
        self._signal(self.pid, signal.SIGKILL)

    def _signal(self, process: int, number: int) -> None:
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def _wait(self, ended: Callable[[], None]) -> None:
        code = self._popen.wait()
        self._out_of_memory = self._group.was_out_of_memory
        self._group.close()
        self.code = code if code >= 0 else 128 - code
        ended()


def _specification(
    pod: dict[str, Any], container: dict[str, Any], image: Image, variables: dict[str, str],
    mounts: list[tuple[str, str, bool]], folder: Path,
) -> dict[str, Any]:  # fmt: skip
    root = folder / "root"
    root.mkdir(parents=True, exist_ok=True)
    general = pod["spec"].get("securityContext", {})
    security = {**general, **container.get("securityContext", {})}
    uid = security.get("runAsUser", 10001)
    if security.get("runAsNonRoot") and uid == 0:
        raise ValueError("container has runAsNonRoot and image will run as root")
    env = {**image.env, "HOSTNAME": pod["spec"].get("hostname", pod["metadata"]["name"])}
    env |= {"HOME": "/home/distflow", **variables}
    command = container.get("command", ["python"])
    argv = [volumes.expand(word, env) for word in [*command, *container.get("args", [])]]
    binds = [(source, path, False) for source, path in image.binds] + mounts
    return {
        "root": str(root),
        "links": image.links,
        "copies": image.copies,
        "binds": sorted(binds, key=lambda bind: len(re.findall("/", bind[1]))),
        "read_only": security.get("readOnlyRootFilesystem", False),
        "hostname": env["HOSTNAME"],
        "uid": uid,
        "gid": security.get("runAsGroup", uid),
        "groups": [general["fsGroup"]] if "fsGroup" in general else [],
        "cwd": container.get("workingDir", image.cwd),
        "argv": argv,
        "env": env,
        "is_deaf": not pod["spec"].get("shareProcessNamespace", False),
    }


def _child(pid: int) -> int:
    """The first child of a process, 0 if there is none."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(words[0]) if words else 0
    return 0
