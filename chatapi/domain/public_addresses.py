"""Where webhooks may go: URLs that we take, and addresses that belong to the public internet.

Whoever may add a webhook chooses where this machine connects to (server-side request forgery, CWE-918). So nothing is
sent to an address that is not globally routable, however it is written.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

LONGEST_URL = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291, 2.4: all that has been given out
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1: an IPv4 address in its last 32 bits
ALSO_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocol assignments; one cloud's metadata are at .192
        "192.88.99.0/24",  # relays of 6to4, deprecated by RFC 7526
        "168.63.129.16/32",  # another cloud's host, as its machines see it
        "3fff::/20",  # documentation, RFC 9637
    )
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL points to.

    Args:
        scheme: `http` or `https`.
        host: a name in ASCII or an address, without brackets.
        port: given or the scheme's own.
        target: path and query, as the request line has them.
        authority: host and port as the Host header has them.
    """

    scheme: str
    host: str
    port: int
    target: str
    authority: str


def read_url(url: str, *, private: bool = False) -> Place:
    """Where a webhook's URL points to.

    Args:
        url: as an administrator gave it.
        private: whether addresses that are not public may be asked, and asked without TLS.

    Raises:
        ValueError: it cannot be one; the message says what would be right and does not repeat it.
    """
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError(f"must be at most {LONGEST_URL} printable ASCII characters without spaces (xn-- for others)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL such as https://alerts.example/chatapi") from None
    host = parts.hostname or ""
    if parts.scheme not in (("https", "http") if private else ("https",)) or not host:
        raise ValueError("must begin with https:// and a host")
    if parts.username is not None or parts.password is not None or "#" in url:
        raise ValueError("must have neither a user, a password nor a fragment")
    if port == 0:
        raise ValueError("must have a port from 1 to 65535, or none")
    if not private and (address := literal_address(host)) is not None and not is_public(address):
        raise ValueError("must not point to a private address")
    literal = f"[{host}]" if ":" in host else host
    authority = literal if port is None else f"{literal}:{port}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], target, authority)


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is; None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is globally routable, and so is the IPv4 address that it may carry in itself.

    Sources: IANA's registries of special-purpose addresses, as `ipaddress` knows them; RFC 4291 (mapped), RFC 3056
    (6to4), RFC 6052 (NAT64). Python takes multicast and old site-local addresses for global; they are not to us.
    """
    if any(address in network for network in ALSO_REFUSED):
        return False
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    if address.scope_id is not None:
        return False
    if address in NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address.sixtofour is not None:
        return is_public(address.sixtofour)
    return address in GLOBAL_UNICAST and address.is_global and not address.is_multicast
