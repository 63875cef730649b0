"""The peer of a request: its address, host and scheme, also behind a reverse proxy.

Any client can send `X-Forwarded-For` and similar headers. They are used only on a connection from
one of `[access] trusted_proxies`, and only as far as trusted proxies wrote them: from the right, up
to the first address that is not itself a trusted proxy.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import TypeAlias
from urllib.parse import urlsplit

from aiohttp import web

from sync.runtime.settings.types import is_loopback

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_FOR, _HOST, _PROTO = "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"
_FORWARDED = "Forwarded"
# Any of these shows that a proxy forwarded the request.
_PROXY_HEADERS = (_FORWARDED, "Via", "X-Real-IP", _FOR, _HOST, _PROTO)
# Proxies in a row; more are not followed.
_MAX_HOPS = 16
_PARAMETER = re.compile(r'\s*([a-z]+)\s*=\s*("[^"]*"|[^;,"\s]+)\s*', re.IGNORECASE)


class Peers:
    """Names the peers of requests by the `[access] trusted_proxies` setting.

    `behind_proxy`: a proxy in front terminates TLS (`[server] behind_proxy`).
    """

    def __init__(self, trusted_proxies: Sequence[str] = (), *, behind_proxy: bool = False) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted_proxies]
        self._behind_proxy = behind_proxy

    def address_of(self, request: web.BaseRequest) -> str:
        """Return the address of the client: use this for logs, limits and the audit trail.

        It is the connection's address, or the one that a trusted proxy forwarded. If trusted
        proxies contradict each other it is the address of the proxy. "" if there is none.
        """
        address = _parse(request.remote or "")
        if address is None:
            return request.remote or ""
        if not self._is_trusted(address):
            return str(address)
        found = {self._first_untrusted(address, hops) for hops in _hops(request) if hops}
        return str(found.pop() if len(found) == 1 else address)

    def is_trusted_proxy(self, request: web.BaseRequest) -> bool:
        """Return whether the connection comes from a trusted proxy."""
        address = _parse(request.remote or "")
        return address is not None and self._is_trusted(address)

    def is_https(self, request: web.BaseRequest) -> bool:
        """Return whether the client speaks TLS, to this server or to the proxy in front."""
        if request.secure:
            return True
        scheme = self._forwarded(request, _PROTO, "proto")
        return scheme.lower() == "https" if scheme else self._behind_proxy

    def host_of(self, request: web.BaseRequest) -> str:
        """Return the host and port that the client asked for."""
        return self._forwarded(request, _HOST, "host") or request.host

    def _forwarded(self, request: web.BaseRequest, header: str, parameter: str) -> str:
        if not self.is_trusted_proxy(request):
            return ""
        # The last one: of several proxies the nearest is the trusted one.
        given = ",".join(request.headers.getall(header, ())).rpartition(",")[2].strip()
        return given or _parameter_of_last(request, parameter)

    def _is_trusted(self, address: _Address) -> bool:
        return any(address in network for network in self._trusted)

    def _first_untrusted(self, proxy: _Address, hops: Sequence[str]) -> _Address:
        address = proxy
        for hop in reversed(hops[-_MAX_HOPS:]):
            found = _parse(_without_port(hop))
            if found is None:
                break
            address = found
            if not self._is_trusted(address):
                break
        return address


def is_local(request: web.BaseRequest) -> bool:
    """Return whether a client on this machine sent the request directly, as far as can be seen.

    A loopback peer and a loopback `Host`: the latter stops DNS rebinding from a browser here. A
    proxy on this machine passes both if it rewrites `Host`; it shows by its headers, or by
    HTTP/1.0, in which nginx forwards by default.
    """
    if request.version < (1, 1) or any(name in request.headers for name in _PROXY_HEADERS):
        return False
    try:
        name = urlsplit(f"//{request.host}").hostname
    except ValueError:
        return False
    address = _parse(request.remote or "")
    return address is not None and address.is_loopback and is_loopback(name or "")


def _hops(request: web.BaseRequest) -> tuple[list[str], list[str]]:
    """Return the forwarded addresses of each header, the client's first."""
    given = ",".join(request.headers.getall(_FOR, ()))
    listed = [hop.strip() for hop in given.split(",")] if given else []
    elements = ",".join(request.headers.getall(_FORWARDED, ()))
    return listed, [_parameters(one).get("for", "") for one in _elements(elements)]


def _parameter_of_last(request: web.BaseRequest, name: str) -> str:
    elements = _elements(",".join(request.headers.getall(_FORWARDED, ())))
    return _parameters(elements[-1]).get(name, "") if elements else ""


def _elements(forwarded: str) -> list[str]:
    """Split the value of a `Forwarded` header (RFC 7239). None of our values contains a comma."""
    return forwarded.split(",") if forwarded else []


def _parameters(element: str) -> dict[str, str]:
    """Parse one element of a `Forwarded` header; parameters that are not valid are ignored."""
    found = (_PARAMETER.fullmatch(part) for part in element.split(";"))
    return {match[1].lower(): match[2].strip('"') for match in found if match}


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parse(text: str) -> _Address | None:
    """Parse an IP address; an IPv4 address mapped to IPv6 becomes IPv4."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
