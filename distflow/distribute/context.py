"""Which strategy is in force in this thread, and whether we are inside a replica."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from distflow.core import context


class _Local(threading.local):
    def __init__(self) -> None:
        self.strategies: list[Any] = []


_local = _Local()
_default: Any = None


def set_default_strategy(strategy: Any) -> None:
    """Sets the strategy of code outside of any scope (called once, by `one_device`)."""
    global _default
    _default = strategy


def get_strategy() -> Any:
    """Returns the strategy in force: that of the innermost scope or replica, else the default."""
    return _local.strategies[-1] if _local.strategies else _default


def has_strategy() -> bool:
    """Whether a strategy other than the default is in force."""
    return bool(_local.strategies)


def in_cross_replica_context() -> bool:
    """Whether a strategy's scope is in force, outside of its replicas."""
    return has_strategy() and context.state.replica is None


def get_replica_context() -> Any:
    """Returns the context of this replica; None between replicas (in a scope, in merge_call)."""
    if context.state.replica is not None:
        return context.state.replica
    return None if has_strategy() else _default.default_replica


@contextlib.contextmanager
def entered(strategy: Any) -> Iterator[None]:
    """Puts a strategy in force for the block."""
    _local.strategies.append(strategy)
    try:
        yield
    finally:
        _local.strategies.pop()


@contextlib.contextmanager
def in_replica(replica: Any) -> Iterator[None]:
    """Puts a replica (or None: between replicas) in force for the block."""
    before, context.state.replica = context.state.replica, replica
    try:
        yield
    finally:
        context.state.replica = before
