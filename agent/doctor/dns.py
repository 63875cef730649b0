"""Check that the host name of head office, or of the proxy, can be lookup."""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address

from yarl import URL

from agent.doctor.check import Check, fault, passed

_NAME = "DNS"


@dataclass(frozen=True, slots=True)
class DnsLookup:
    """Result of a DNS lookup: addresses, or the reason for the failure."""

    host: str
    addresses: tuple[str, ...] = ()
    reason: str = ""


async def resolve_host(url: URL, timeout_seconds: float) -> DnsLookup | None:
    """Resolve the host of `url`; return None if it is an IP address."""
    host = url.host or ""
    if _is_address(host):
        return None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await loop.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return DnsLookup(host, reason=f"no response within {timeout_seconds:g} s")
    except OSError as error:
        return DnsLookup(host, reason=error.strerror or str(error))
    return DnsLookup(host, tuple(dict.fromkeys(str(one[4][0]) for one in found)))


def check_dns(lookup: DnsLookup | None) -> Check:
    """Judge the DNS lookup."""
    if lookup is None:
        return passed(_NAME, "head office is configured by IP address: no name to resolve")
    if lookup.addresses:
        return passed(_NAME, f"{lookup.host} resolves to {', '.join(lookup.addresses)}")
    advice = "check the network connection and the configured name server (/etc/resolv.conf)"
    return fault(_NAME, f"{lookup.host} cannot be resolved ({lookup.reason})", advice)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
