"""The address of this host on one of its networks, by the network interface's name."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct

from .arguments import UsageError

SIOCGIFADDR = 0x8915


def address_of(name: str) -> str:
    """Returns an address as it is, and the IPv4 address of a network interface ("eth0").

    Raises:
      UsageError: if there is no such interface, or it has no address.
    """
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError as error:
            known = ", ".join(name for _, name in socket.if_nameindex())
            raise UsageError(
                f"--interface must be an address or one of {known}; received {name!r} ({error})."
            ) from error
    return socket.inet_ntoa(answer[20:24])
