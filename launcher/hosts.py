"""Hosts and slots: `a:2,b:2` or a file, and which rank runs where."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .arguments import UsageError

# What ssh would take for an option, or a shell for something else, is no host.
_NAME = re.compile(r"(?:[\w.-]+@)?(?:[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\])")


@dataclass(frozen=True)
class Host:
    """A host as ssh knows it (`user@name`), and how many workers it may have."""

    name: str
    slots: int = 1

    @property
    def destination(self) -> str:
        """What ssh is given: IPv6 addresses without brackets."""
        return self.name.replace("[", "").replace("]", "")


@dataclass(frozen=True)
class Place:
    """Where a rank runs, and its number among the workers there."""

    rank: int
    host: Host
    local_rank: int
    local_size: int


def parse(text: str) -> list[Host]:
    """Returns the hosts of `a:2,user@b,[::1]:4`; one slot where none is given."""
    return _checked([_entry(word, "--hosts") for word in text.split(",")], "--hosts")


def read(path: Path) -> list[Host]:
    """Returns the hosts of a file: a line each, `name:2`, `name slots=2` or `name`; # comments."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--hostfile must be a file to read; {error}.") from error
    return _checked(_entries(lines, str(path)), str(path))


def parse_lines(text: str, where: str) -> list[Host]:
    """Returns the hosts of lines as in a file; there may be none."""
    return _unique(_entries(text.splitlines(), where), where)


def _entries(lines: Sequence[str], source: str) -> list[Host]:
    found = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        where = f"{source}:{number}"
        if len(words) == 2 and re.fullmatch(r"slots=\d+", words[1]):
            words = [f"{words[0]}:{words[1][6:]}"]
        if len(words) != 1:
            raise UsageError(f"{where} must be `name`, `name:2` or `name slots=2`; received {line}")
        found.append(_entry(words[0], where))
    return found


def place(hosts: Sequence[Host], num_workers: int) -> list[Place]:
    """Returns where each rank runs: a host's slots are filled before the next one's.

    Raises:
      UsageError: if there are fewer slots than workers.
    """
    slots = sum(host.slots for host in hosts)
    if slots < num_workers:
        raise UsageError(
            f"-n {num_workers} needs as many slots; the hosts have {slots} "
            f"({', '.join(f'{host.name}:{host.slots}' for host in hosts)})."
        )
    found: list[Place] = []
    for host in hosts:
        here = min(host.slots, num_workers - len(found))
        first = len(found)
        found += [Place(first + local, host, local, here) for local in range(here)]
    return found


def _entry(word: str, where: str) -> Host:
    match = re.fullmatch(rf"({_NAME.pattern})(?::(\d+))?", word.strip())
    if match is None:
        raise UsageError(f"{where}: expected [user@]host or [user@]host:slots; received {word!r}.")
    slots = int(match[2] or 1)
    if not 1 <= slots <= 4096:
        raise UsageError(f"{where}: a host has 1 to 4096 slots; received {word!r}.")
    return Host(match[1], slots)


def _checked(hosts: list[Host], where: str) -> list[Host]:
    if not hosts:
        raise UsageError(f"{where}: expected at least one host; received none.")
    return _unique(hosts, where)


def _unique(hosts: list[Host], where: str) -> list[Host]:
    names = [host.name for host in hosts]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{where}: {name} stands there twice; give it more slots instead.")
    return hosts
