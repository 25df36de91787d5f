# SPDX-License-Identifier: Apache-2.0
"""Addresses of the visitors behind reverse proxies, from the header X-Forwarded-For of trusted proxies.

Any client can send the header, so it is ignored unless the operator has named the client's address. A proxy
appends the address of its own peer: read from the end, the first address that is no trusted proxy is that of
the visitor, whatever the visitor has sent.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from streamingtalker_ros.errors import TalkerError

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Headers: TypeAlias = "Iterable[tuple[bytes, bytes]]"
"""Names, in lower case, and values of a request's header fields."""

_FORWARDING_HEADERS = {b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"forwarded", b"via"}


class TrustedProxies:
    """The reverse proxies whose header X-Forwarded-For is believed.

    Args:
        addresses: IPv4 or IPv6 addresses or networks, such as 10.0.0.0/8.

    Raises:
        TalkerError: if one of them is none.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self._networks = [_parse_network(address) for address in addresses]

    def __contains__(self, host: str) -> bool:
        """Whether a trusted proxy has an address."""
        address = _parse_address(host)
        return address is not None and self._is_trusted(address)

    def visitor(self, headers: Headers) -> str | None:
        """Return the address of the visitor on whose behalf a trusted proxy sends a request.

        Args:
            headers: of the request.

        Returns:
            The address; None if the header is missing, or holds no address where that of the visitor should
            be.
        """
        values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        visitor = None
        for text in reversed(",".join(values).split(",")):
            address = _parse_address(text)
            if address is None:
                break
            visitor = str(address)
            if not self._is_trusted(address):
                break
        return visitor

    def _is_trusted(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


def is_forwarded(headers: Headers) -> bool:
    """Return whether a proxy that says so has sent a request.

    Args:
        headers: of the request.
    """
    return any(name in _FORWARDING_HEADERS for name, _ in headers)


def _parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise TalkerError(
            f"{text} is no address of a proxy: give an IP address or network, such as 127.0.0.1 or 10.0.0.0/8"
        ) from None


def _parse_address(text: str) -> Address | None:
    """Parse an address, with or without a port; an IPv4 address that is mapped into IPv6 is IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):  # [IPv6] or [IPv6]:port
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # IPv4:port
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
