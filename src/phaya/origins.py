"""Where a request comes from, as far as the connection tells: addresses, and the networks that they are in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from phaya.errors import Fault, Invalid

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MOST_NETWORKS = 50
"""Networks that one key may be tied to."""
HOUSEHOLD = 64
"""Bits of an IPv6 address that tell one customer of a network from another; the rest is theirs to choose."""


def address_of(client: Sequence[object] | None) -> Address | None:
    """The address of ASGI's `client`; None where there is none, or it is no address (such as a Unix socket)."""
    return _read(str(client[0])) if client else None


@lru_cache(4096)
def _read(text: str) -> Address | None:
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


@lru_cache(4096)
def household(address: Address | None) -> str:
    """What is counted as one stranger: an IPv4 address, or the IPv6 network that one customer has all of."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, HOUSEHOLD), strict=False))
    return "nowhere" if address is None else str(address)


def within(address: Address | None, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of the networks; one that is not known is in none."""
    return address is not None and any(address in network for network in networks)


def read_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks such as `203.0.113.0/24`, or single addresses, as they were typed. Raises Invalid."""
    found: list[Network] = []
    for text in texts:
        try:
            found.append(ip_network(text.strip(), strict=False))
        except ValueError:
            raise Invalid(
                Fault("network", f"must be networks such as 203.0.113.0/24 or 2001:db8::/48, not {text[:64]!r}")
            ) from None
    if len(found) > MOST_NETWORKS:
        raise Invalid(Fault("network", f"must be at most {MOST_NETWORKS} networks"))
    return tuple(dict.fromkeys(found))
