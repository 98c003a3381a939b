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
        # The scope that experimental_set_strategy has entered.
        self.set_by_hand: contextlib.ExitStack | None = None


_local = _Local()
_default: Any = None


def set_default_strategy(strategy: Any) -> None:
    """Sets the strategy of code outside of any scope (called once, by `one_device`)."""
    global _default
    _default = strategy


def default_strategy() -> Any:
    """Returns the strategy of code outside of any scope."""
    return _default


def require_cross_replica(where: str) -> None:
    """Raises RuntimeError inside a replica: what is called belongs between replicas."""
    if context.state.replica is not None:
        raise RuntimeError(
            f"{where}: Method requires being in cross-replica context, use "
            "get_replica_context().merge_call()"
        )


def get_strategy() -> Any:
    """Returns the strategy in force: that of the innermost scope or replica, else the default."""
    return _local.strategies[-1] if _local.strategies else _default


def experimental_set_strategy(strategy: Any) -> None:
    """Puts a strategy in force from here on, without a block; None puts the default back.

    Raises:
      RuntimeError: inside a scope or a replica.
    """
    if len(_local.strategies) > (_local.set_by_hand is not None):
        raise RuntimeError("experimental_set_strategy must not be called inside a scope.")
    if _local.set_by_hand is not None:
        _local.set_by_hand.close()
        _local.set_by_hand = None
    if strategy is not None:
        scopes = contextlib.ExitStack()
        scopes.enter_context(strategy.scope())
        _local.set_by_hand = scopes


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
