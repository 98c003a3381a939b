"""The image of deploy/Dockerfile as a tree of bind mounts: this environment's Python, this code.

Nothing is pulled or built. The environment variables, the working directory and the files that the
Dockerfile copies are read from it; its Python is the one that runs the tests.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"
USER = "distflow:x:10001:10001::/home/distflow:/bin/sh\n"
HOST_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


@dataclass
class Image:
    """What a container sees before volumes: mounts, links, environment, working directory."""

    env: dict[str, str]
    cwd: str
    binds: list[tuple[str, str]] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)  # sources that are nobody else's


def build(folder: Path) -> Image:
    """Makes the few files that the host has otherwise below `folder`, and returns the image."""
    instructions = _instructions(DOCKERFILE.read_text())
    env = {k: v for name, rest in instructions if name == "ENV" for k, v in _pairs(rest)}
    cwd = [rest for name, rest in instructions if name == "WORKDIR"][-1]
    image = Image(env=env, cwd=cwd)
    for path in HOST_FOLDERS:
        if os.path.islink(path):
            image.links[path] = os.readlink(path)
        elif os.path.isdir(path):
            image.binds.append((path, path))
    for prefix in {sys.prefix: 0, os.path.realpath(sys.base_prefix): 0, str(ROOT): 0}:
        if not prefix.startswith("/usr/") and prefix != "/usr":
            image.binds.append((prefix, prefix))
    if sys.prefix != "/opt/venv":
        image.links["/opt/venv"] = sys.prefix
    # A user's symbolic link may stand between the environment and its Python.
    real = os.path.realpath(sys.executable)
    if not any(real.startswith(source + "/") for source, _ in image.binds):
        image.binds.append((os.path.dirname(os.path.dirname(real)),) * 2)
    image.binds.append((str(_etc(folder)), "/etc"))
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True)
    os.chown(home, 10001, 10001)
    image.binds.append((str(home), "/home/distflow"))
    image.copies = [str(folder / "etc"), str(home)]
    for name, rest in instructions:
        if name != "COPY" or "--from=" in rest:
            continue
        words = [word for word in shlex.split(rest) if not word.startswith("--")]
        if not words[-1].startswith("/"):
            continue
        source = ROOT / words[0]
        if words[-1].startswith("/etc/"):
            target = folder / words[-1].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        else:
            image.binds.append((str(source), words[-1].rstrip("/")))
    return image


def _etc(folder: Path) -> Path:
    """The host's /etc without its secrets, with the image's user."""
    etc = folder / "etc"
    ignored = shutil.ignore_patterns("shadow*", "gshadow*", "*_key", "munge*", "slurm*", "*-")
    shutil.copytree("/etc", etc, symlinks=True, ignore=ignored, ignore_dangling_symlinks=True)
    lines = [line for line in (etc / "passwd").read_text().splitlines() if ":10001:" not in line]
    (etc / "passwd").write_text("\n".join(lines) + "\n" + USER)
    with (etc / "group").open("a") as file:
        file.write("distflow:x:10001:\n")
    for name in ("hosts", "hostname", "resolv.conf"):
        (etc / name).unlink(missing_ok=True)
        (etc / name).touch()
    return etc


def _instructions(text: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions as (NAME, the rest), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"\\\n\s*", " ", text)
    words = (line.strip().partition(" ") for line in text.splitlines() if line.strip())
    return [(name.upper(), rest.strip()) for name, _, rest in words]


def _pairs(rest: str) -> list[tuple[str, str]]:
    return [(word.partition("=")[0], word.partition("=")[2]) for word in shlex.split(rest)]
