"""Which web addresses may be asked: public ones over http and https, judged by where they really lead.

A name can point into the machine or its network, also after it was looked at (DNS rebinding), and any answer can
redirect there. So each hop is resolved here, every address it resolves to is judged, and the connection goes to the
address that was judged.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from tasks.errors import SourceError, describe

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}
Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


class Target(NamedTuple):
    """A web address and the IP address to connect to."""

    url: str
    host: str
    ip: str
    origin: tuple[str, str, int]


def problem(url: str) -> str:
    """What is wrong with a web address, whatever it resolves to; nothing if it may be asked."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is no web address"
    if parts.scheme not in _PORTS:
        return "is no http or https address"
    if not parts.hostname:
        return "names no host"
    if "@" in parts.netloc:
        return "holds a user name or password; name an environment variable in `token_env` instead"
    if any(ord(character) <= 32 or ord(character) == 127 for character in url):
        return "holds spaces or control characters"
    return ""


def resolved(url: str, allow_private: bool) -> Target:
    """Where a web address leads.

    Raises:
        SourceError: it is not one, is not known to the name service, or leads into a private network although that
            is not allowed.
    """
    wrong = problem(url)
    if wrong:
        raise SourceError(wrong, where=url.split("@")[-1])
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceError(f"its host is not known ({describe(error)})", where=url) from error
    ips = [str(entry[4][0]) for entry in found]
    closed = [ip for ip in ips if not is_public(ip)]
    if closed and not allow_private:
        raise SourceError(
            f"leads to {closed[0]}, which is no public address",
            where=url,
            remedy="set `allow_private: true` if this server is yours",
        )
    return Target(url, host, ips[0], (parts.scheme, host, port))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also behind the forms that wrap an IPv4 address."""
    ip: Ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1]
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
