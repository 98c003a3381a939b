"""Hosts for tests: network namespaces with a real sshd each, joined by a bridge."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

DEADLINE = 20.0


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=DEADLINE)


class Hosts:
    """A namespace for each letter of `names`, which is what ssh knows it by."""

    def __init__(self, folder: Path, names: str):
        self.folder, self.names = folder, names
        # Others may run these tests at the same time, on the same machine.
        self._bridge = f"df{os.getpid()}{names}"
        self.subnet = f"10.{200 + os.getpid() % 50}.{ord(names[0])}"
        self._servers = {}
        self._spaces = []
        self.config = folder / "ssh_config"

    def start(self):
        for key in ("host_key", "user_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key],
                check=True, timeout=DEADLINE,
            )  # fmt: skip
        (self.folder / "authorized").write_bytes((self.folder / "user_key.pub").read_bytes())
        (self.folder / "sshd_config").write_text(
            f"Port 2222\nHostKey {self.folder}/host_key\n"
            f"AuthorizedKeysFile {self.folder}/authorized\n"
            "PasswordAuthentication no\nPermitRootLogin yes\nStrictModes no\nUsePAM no\n"
            "PidFile none\nUseDNS no\n"
        )
        ip("link", "add", self._bridge, "type", "bridge")
        ip("addr", "add", f"{self.subnet}.254/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")
        lines = []
        for number, name in enumerate(self.names, 1):
            self._add(name, number)
            lines.append(f"Host {name}\n  HostName {self.subnet}.{number}\n")
        lines.append(
            f"Host *\n  Port 2222\n  User root\n  IdentityFile {self.folder}/user_key\n"
            "  IdentitiesOnly yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n"
        )
        self.config.write_text("".join(lines))

    def _add(self, name, number):
        space = f"{self._bridge}{name}"
        ip("netns", "add", space)
        self._spaces.append(space)
        inner, outer = f"{space}i", f"{space}o"
        ip("link", "add", outer, "type", "veth", "peer", "name", inner)
        ip("link", "set", inner, "netns", space)
        ip("link", "set", outer, "master", self._bridge, "up")
        ip("-n", space, "addr", "add", f"{self.subnet}.{number}/24", "dev", inner)
        ip("-n", space, "link", "set", inner, "up")
        ip("-n", space, "link", "set", "lo", "up")
        Path("/run/sshd").mkdir(exist_ok=True)
        with (self.folder / f"sshd-{name}.log").open("wb") as log:
            self._servers[name] = subprocess.Popen(
                ["ip", "netns", "exec", space, shutil.which("sshd", path=PATH), "-D", "-e",
                 "-f", self.folder / "sshd_config"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        over = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection((f"{self.subnet}.{number}", 2222), 1).close()
                return
            except OSError:
                assert time.monotonic() < over, "sshd does not listen"

    def unplug(self, name):
        """Makes a host answer nothing any more."""
        ip("-n", f"{self._bridge}{name}", "link", "set", f"{self._bridge}{name}i", "down")

    def plug(self, name):
        """Makes it answer again."""
        ip("-n", f"{self._bridge}{name}", "link", "set", f"{self._bridge}{name}i", "up")

    def stop(self):
        for server in self._servers.values():
            server.terminate()
            server.wait(DEADLINE)
        for space in self._spaces:
            ip("netns", "del", space)
        subprocess.run(["ip", "link", "del", self._bridge], check=False, capture_output=True)


PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def start_or_skip(folder, names):
    """Returns running hosts; skips the test where there cannot be any."""
    for program in ("ip", "sshd", "ssh", "ssh-keygen"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"no {program}")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    hosts = Hosts(folder, names)
    try:
        hosts.start()
    except subprocess.CalledProcessError as error:
        hosts.stop()
        pytest.skip(f"no network namespaces: {error.stderr.decode().strip()}")
    return hosts
