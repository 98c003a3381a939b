"""Ports for servers that a test starts later, often in another process."""

import atexit
import contextlib
import socket

_held = contextlib.ExitStack()
atexit.register(_held.close)


def held(count):
    """Returns ports that nobody listens on, and that nobody else is given while this process lives.

    A bound socket that does not listen keeps the system from giving its port to others, also as
    the near end of a connection; a server that sets SO_REUSEADDR, as all do, may bind it still.
    """
    holders = [_held.enter_context(socket.socket()) for _ in range(count)]
    for holder in holders:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
    return [holder.getsockname()[1] for holder in holders]


def held_addresses(count):
    """Returns such ports as addresses of this machine."""
    return [f"127.0.0.1:{port}" for port in held(count)]
