"""Addresses of clients, as far as logins are counted by them."""

from __future__ import annotations

import ipaddress

SUBNET_BITS = 64  # what one subscriber has of IPv6: counting single addresses of it would count nothing (RFC 6177)


def counted_address(address: str) -> str:
    """The address by which a client's logins are counted: IPv4 as it is, of IPv6 the subnet.

    What is no IP address (a Unix socket's client has none) counts as one address.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, SUBNET_BITS), strict=False))
    return str(parsed)
