"""Addresses as settings write them: `host:port`, `[::1]:port` or `unix:/path`."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator

UNIX = "unix:"
_MAX_PORT = 65_535


def split(address: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        ValueError: it is not `host:port`.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ValueError(f"host:port with a port of 0 to {_MAX_PORT}, 0 for any free one")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("an IPv6 host needs brackets: [::1]:8500")
    return host.strip("[]"), int(port)


def is_local(address: str) -> bool:
    """Whether only this machine can reach what is bound there."""
    if address.startswith(UNIX):
        return True
    host, _ = split(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may resolve to anything


def _check_tcp(address: str) -> str:
    split(address)
    return address


def _check(address: str) -> str:
    if address.startswith(UNIX):
        if not address.startswith(f"{UNIX}/"):
            raise ValueError("unix: and an absolute path")
        return address
    return _check_tcp(address)


Address = Annotated[str, AfterValidator(_check)]
TcpAddress = Annotated[str, AfterValidator(_check_tcp)]
