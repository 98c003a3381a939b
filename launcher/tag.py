"""What stands before each line of a worker: `[rank 2] `, or what --tag says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .arguments import UsageError


@dataclass(frozen=True)
class Tag:
    """The form of the tag; {rank}, {host} and {time} in it are filled in for each line."""

    form: str = "[rank {rank}] "

    def __post_init__(self) -> None:
        """Refuses what could not be filled in."""
        try:
            self.form.format(rank=0, host="", time="")
        except (ValueError, IndexError, KeyError, AttributeError) as error:
            raise UsageError(
                "--tag may have {rank}, {host} and {time}, and {{ for a brace; received "
                f"{self.form!r} ({type(error).__name__}: {error})."
            ) from error

    def label(self, rank: int, host: str) -> Callable[[], str]:
        """Returns what gives the tag of a worker's line at the time of the call."""
        if "{time" not in self.form:
            text = self.form.format(rank=rank, host=host, time="")
            return lambda: text
        return lambda: self.form.format(rank=rank, host=host, time=time.strftime("%H:%M:%S"))


DEFAULT = Tag()
