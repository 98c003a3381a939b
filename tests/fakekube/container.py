"""The inside of a container: its root file system, user and command. The pod's first process.

Usage: container.py SPEC.json, as root in new mount, PID, UTS and IPC namespaces. Standard library
alone, for it starts with -I -S. SPEC:

    root        folder to mount the new root on
    links       {path: target} symbolic links in the root
    binds       [[source, path, writable], ...], parents before children
    copies      sources of binds that hold copies, where mount points may be made
    read_only   whether the root itself may be written
    hostname, uid, gid, groups, cwd, argv, env
    started     file descriptor that gets a byte when the command is about to run
    is_deaf     whether the command is the first process of its container in Kubernetes, because the
                pod does not share one PID namespace: the kernel then keeps signals from it that it
                does not handle. Here our own process is always the first one, and does the same
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 32, 4096, 16384
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, LAST_CAP = 38, 24, 40
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
CANNOT_START = 128  # the kubelet's exit code for a command that cannot be run

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Builds the container and becomes its command."""
    # PID 1 would not get a SIGTERM that comes before there is a handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    build_root(spec)
    _call("sethostname", spec["hostname"].encode(), len(spec["hostname"]))
    os.chroot(spec["root"])
    pause(spec)
    run(spec)


def build_root(spec: dict[str, Any]) -> None:
    """Mounts the new root and everything in it."""
    root = spec["root"]
    mount("tmpfs", root, "tmpfs", MS_NODEV, "mode=0755")
    for path, target in spec["links"].items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(target, root + path)
    for folder in ("/proc", "/dev", "/run", "/sys"):
        os.makedirs(root + folder)
    mount("proc", root + "/proc", "proc", MS_NOSUID | MS_NODEV)
    for name in DEVICES:
        bind(f"/dev/{name}", f"{root}/dev/{name}", writable=True)
    for name, target in {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}.items():
        os.symlink(f"/proc/self/fd{target}", f"{root}/dev/{name}")
    mount("sysfs", root + "/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV)
    if os.path.isdir("/sys/fs/cgroup"):
        mount("/sys/fs/cgroup", root + "/sys/fs/cgroup", None, MS_BIND | MS_REC)
    for source, path, writable in spec["binds"]:
        # Mount points may have to be made in the image's own folders, never in the host's.
        bind(source, root + path, writable=writable or source in spec["copies"])
    for source, path, writable in spec["binds"]:
        if source in spec["copies"] and not writable:
            mount(None, root + path, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    os.makedirs(root + spec["cwd"], exist_ok=True)
    if spec["read_only"]:
        mount(None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def bind(source: str, target: str, *, writable: bool) -> None:
    """Shows `source` at `target` as well."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.exists(target):
            with open(target, "w"):
                pass
    mount(source, target, None, MS_BIND | MS_REC)
    if not writable:
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY)


def pause(spec: dict[str, Any]) -> None:
    """Forks: the child returns; the parent stays as PID 1, buries the dead, ends as the child."""
    child = os.fork()
    if child == 0:
        return

    def hand_on(number: int, frame: Any) -> None:
        # What the kubelet sends is for the command, not for this process.
        with contextlib.suppress(OSError):  # it may have ended just now
            if not spec["is_deaf"] or handles(child, number):
                os.kill(child, number)

    signal.signal(signal.SIGTERM, hand_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.close(spec["started"])
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def handles(process: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    with open(f"/proc/{process}/status") as file:
        (mask,) = [line.split()[1] for line in file if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def run(spec: dict[str, Any]) -> None:
    """Becomes the command, as its user and without privileges."""
    os.setsid()
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")  # the command is to be killed for its memory, not who tells of it
    if spec["uid"] != 0:
        for capability in range(LAST_CAP + 1):
            _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.setgroups(spec["groups"])
    os.setgid(spec["gid"])
    os.setuid(spec["uid"])
    os.umask(0o022)
    try:
        os.chdir(spec["cwd"])
        os.write(spec["started"], b"!")
        os.close(spec["started"])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        sys.stderr.write(f"cannot start {spec['argv']}: {error}\n")
        sys.stderr.flush()
        os._exit(CANNOT_START)


def mount(
    source: str | None, target: str, kind: str | None, mount_flags: int, data: str | None = None
) -> None:
    """mount(2)."""
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    _call("mount", *words, mount_flags, None if data is None else data.encode())


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}{arguments}: {os.strerror(code)}")


if __name__ == "__main__":
    main()
