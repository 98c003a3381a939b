"""Options of a data set: only settings that change something are here."""

from __future__ import annotations

import enum
import os
from typing import Any

from distflow.base import errors

AUTOTUNE = -1


class AutoShardPolicy(enum.IntEnum):
    """How a strategy divides a data set among workers (TF's names and numbers)."""

    OFF = -1
    AUTO = 0
    FILE = 1
    DATA = 2


class _Settings:
    """Attributes named in `_defaults`; anything else is an AttributeError, as in TF."""

    _defaults: dict[str, Any] = {}

    def __init__(self) -> None:
        for name, value in self._defaults.items():
            object.__setattr__(self, name, value() if isinstance(value, type) else value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._defaults:
            raise AttributeError(
                f"Cannot set the property {name} on {type(self).__name__}: "
                f"it has {', '.join(self._defaults)}."
            )
        object.__setattr__(self, name, self._checked(name, value))

    def _checked(self, name: str, value: Any) -> Any:
        return value

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._defaults)
        return f"{type(self).__name__}({inside})"


class ThreadingOptions(_Settings):
    """`private_threadpool_size`: threads that AUTOTUNE stands for; default the CPU count."""

    _defaults = {"private_threadpool_size": None}
    private_threadpool_size: int | None

    def _checked(self, name: str, value: Any) -> Any:
        if value is not None and int(value) < 0:
            raise errors.invalid("ThreadingOptions", f"{name} must be >= 0", str(value))
        return value


class DistributeOptions(_Settings):
    """`auto_shard_policy`: what a multi-worker strategy does with the data set."""

    _defaults = {"auto_shard_policy": AutoShardPolicy.AUTO}
    auto_shard_policy: AutoShardPolicy

    def _checked(self, name: str, value: Any) -> Any:
        return AutoShardPolicy(value)


class Options(_Settings):
    """Settings that hold for a whole pipeline: `dataset.with_options(options)`.

    Attributes:
      deterministic: False lets parallel maps deliver elements in the order of their completion.
      threading: see ThreadingOptions.
      experimental_distribute: see DistributeOptions.
    """

    _defaults = {
        "deterministic": None,
        "threading": ThreadingOptions,
        "experimental_distribute": DistributeOptions,
    }
    deterministic: bool | None
    threading: ThreadingOptions
    experimental_distribute: DistributeOptions

    def _checked(self, name: str, value: Any) -> Any:
        default = self._defaults[name]
        if isinstance(default, type) and not isinstance(value, default):
            raise errors.invalid("Options", f"{name} must be {default.__name__}", repr(value))
        return value

    def merge(self, later: Options) -> Options:
        """Returns these options, with those that `later` sets in front."""
        result = Options()
        for target, mine, other in (
            (result, self, later),
            (result.threading, self.threading, later.threading),
            (
                result.experimental_distribute,
                self.experimental_distribute,
                later.experimental_distribute,
            ),
        ):
            for name, default in target._defaults.items():
                if isinstance(default, type):
                    continue
                changed = getattr(other, name) != default
                setattr(target, name, getattr(other if changed else mine, name))
        return result


def worker_count(num_parallel_calls: int, options: Options) -> int:
    """Returns how many threads `num_parallel_calls` means under these options."""
    if num_parallel_calls == AUTOTUNE:
        return options.threading.private_threadpool_size or os.cpu_count() or 1
    return num_parallel_calls
