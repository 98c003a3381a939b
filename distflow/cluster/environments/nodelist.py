"""Slurm's way to write many host names as one: `rack[0-1]node[01-03,7],login`."""

from __future__ import annotations

import itertools
import re

from distflow.base import errors

MAX_HOSTS = 65_536  # Slurm's own limit for one list
_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
_PART = re.compile(r"\[([^\[\]]*)\]|([^\[\],\s]+)")


def expand(text: str, source: str = "node list") -> list[str]:
    """Returns the host names of a node list in its order.

    The first number of a range says how many digits names have: [08-10] is 08, 09, 10. With
    several brackets in a name the last one counts fastest.

    Args:
      text: as in SLURM_STEP_NODELIST.
      source: what the text is, for the error.

    Raises:
      InvalidArgumentError: if the text is not such a list, or names more than 65536 hosts.
    """
    hosts: list[str] = []
    for name in _split(text, source):
        parts: list[list[str]] = []
        position, count = 0, 1
        while position < len(name):
            found = _PART.match(name, position)
            if found is None:
                raise _invalid(source, text)
            parts.append([found[2]] if found[2] else _numbers(found[1], text, source))
            position = found.end()
            count *= len(parts[-1])
            if len(hosts) + count > MAX_HOSTS:
                raise errors.invalid(source, f"expected at most {MAX_HOSTS} hosts", _shown(text))
        hosts += ["".join(words) for words in itertools.product(*parts)]
    return hosts


def _split(text: str, source: str) -> list[str]:
    """The names between the commas that stand outside of brackets."""
    names, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            names.append(text[start:position])
            start = position + 1
    names.append(text[start:])
    if depth != 0 or not all(names):
        raise _invalid(source, text)
    return names


def _numbers(inside: str, text: str, source: str) -> list[str]:
    """What stands in one pair of brackets: `01-03,7`."""
    found: list[str] = []
    for part in inside.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise _invalid(source, text)
        first, last = match[1], match[2] or match[1]
        if not int(first) <= int(last) < int(first) + MAX_HOSTS:
            raise _invalid(source, text)
        found += [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    return found


def _invalid(source: str, text: str) -> errors.InvalidArgumentError:
    return errors.invalid(
        source, "expected host names as Slurm writes them: node[01-03,7],login", _shown(text)
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:120] + "...")
