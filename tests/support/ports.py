"""Ports for servers that a test starts later, often in another process."""

import socket

_held = []


def held(count):
    """Returns ports that nobody listens on, and that nobody else is given while this process lives.

    A bound socket that does not listen keeps the system from giving its port to others, also as
    the near end of a connection; a server that sets SO_REUSEADDR, as all do, may bind it still.
    """
    for _ in range(count):
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        _held.append(holder)
    return [holder.getsockname()[1] for holder in _held[len(_held) - count :]]


def held_addresses(count):
    """Returns such ports as addresses of this machine."""
    return [f"127.0.0.1:{port}" for port in held(count)]
