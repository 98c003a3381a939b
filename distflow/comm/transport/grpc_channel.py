"""How gRPC is set up for the transport: options of channels and servers, addresses."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from typing import Any

from distflow.base import errors
from distflow.comm.transport import frames

# gRPC's C core writes about forks and broken connections to stderr; we report errors ourselves.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
import grpc  # after the settings, which it reads when it is imported

__all__ = ["bracketed", "grpc", "is_loopback", "options", "split_address"]

HANDSHAKE_SECONDS = 5.0


def options() -> list[tuple[str, Any]]:
    """Returns the options of channels and servers."""
    return [
        ("grpc.max_receive_message_length", frames.MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", frames.MAX_MESSAGE_BYTES),
        # For connections that a vanished host leaves half open; a stopped process answers no
        # heartbeats of ours, but these did not notice it (gRPC 1.85).
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.http2.min_ping_interval_without_data_ms", 100),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 500),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.server_handshake_timeout_ms", int(HANDSHAKE_SECONDS * 1000)),
        ("grpc.so_reuseport", 0),  # else a second server on the port would steal connections
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
    ]


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port of "host:port" or "[IPv6]:port".

    Raises:
      InvalidArgumentError: if the address has not this form.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise errors.invalid("address", 'must have the form "host:port"', repr(address))
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether an address names this host only."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def bracketed(host: str) -> str:
    """Returns the host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
