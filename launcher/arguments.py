"""What the commands of `distflow` have in common: the parser and the kinds of values they take."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from typing import Any, NoReturn

RETRYABLE = 75  # "start me again": EX_TEMPFAIL of sysexits.h
USAGE_ERROR = 64  # as in sysexits.h; 1 is left to the user's own errors


class UsageError(Exception):
    """The command line asks for something that cannot be; the program ends with `code`."""

    code = USAGE_ERROR


class UnreachableError(UsageError):
    """Something outside of this program cannot be reached now: worth another try."""

    code = RETRYABLE


class _Layout(argparse.RawDescriptionHelpFormatter):
    """Breaks paragraphs at the edge of the terminal; lines with an indent stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Returns a description or an epilog."""
        found: list[str] = []
        is_prose = False
        for line in text.splitlines():
            goes_on = is_prose and bool(line) and not line.startswith(" ")
            is_prose = bool(line) and not line.startswith(" ") and not line.endswith(":")
            if goes_on and found:
                found[-1] += f" {line}"
            else:
                found.append(line)
        return "\n".join(
            indent + (line if line.startswith(" ") else textwrap.fill(line, width, **_WORDS))
            for line in found
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Returns the lines of an option's help."""
        return textwrap.wrap(" ".join(text.split()), width, **_WORDS)


# An option such as --log-dir is one word.
_WORDS: Any = {"break_on_hyphens": False, "break_long_words": False}


class Parser(argparse.ArgumentParser):
    """A parser that ends with 64 for a wrong command line; examples stay as they are laid out."""

    def __init__(self, *args: Any, **options: Any):
        options.setdefault("formatter_class", _Layout)
        options.setdefault("allow_abbrev", False)  # `--log` would change its meaning some day
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        """Ends the program with the usage and one line that says what is wrong."""
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    """Returns an integer from 1."""
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer from 1; received {text!r}")
    return value


def count(text: str) -> int:
    """Returns an integer from 0."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected an integer from 0; received {text!r}")
    return int(text)


def port(text: str) -> int:
    """Returns a port: 1 to 65535."""
    value = count(text)
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535; received {text!r}")
    return value


def bounds(text: str) -> tuple[int, int]:
    """Returns the two numbers of MIN:MAX."""
    low, _, high = text.partition(":")
    found = (positive(low), positive(high))
    if found[0] > found[1]:
        raise argparse.ArgumentTypeError(f"expected MIN:MAX with MIN <= MAX; received {text!r}")
    return found


def seconds(text: str) -> float:
    """Returns a number of seconds from 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of seconds; received {text!r}")
    return value


def assignment(text: str) -> tuple[str, str]:
    """Returns (name, value) of NAME=value, or of NAME, whose value is the one it has here."""
    name, separator, value = text.partition("=")
    if not name.isidentifier() or (not separator and name not in os.environ):
        raise argparse.ArgumentTypeError(
            f"expected NAME=value, or NAME that is set here; received {text!r}"
        )
    return name, value if separator else os.environ[name]
