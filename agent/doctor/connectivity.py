"""Checks of the connection to central: DNS, TCP, proxy, TLS certificate and its expiry."""

import asyncio
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from yarl import URL

from agent.doctor.check import Check, fault, passed, warning
from sync.delivery.transports.http_client import HttpOptions, tls_context

_DNS, _CONNECTION = "DNS", "connection"
_FEW_DAYS = 30
_LONGEST_LINE = 8_192
_CA_UNKNOWN = {18, 19, 20, 21}  # X509_V_ERR_... of OpenSSL: self-signed, or no issuer found
_WRONG_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


@dataclass(frozen=True, slots=True)
class Resolved:
    """Result of a DNS lookup: addresses, or the reason for the failure."""

    host: str
    addresses: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Issuer and validity of central's certificate."""

    issuer: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Reached:
    """Result of a connection: `trouble` if it failed, `distrust` if verification failed.

    `verify_code` is OpenSSL's X509_V_ERR code; `certificate` is None over plain HTTP or if
    it could not be read.
    """

    where: str
    trouble: str = ""
    distrust: str = ""
    verify_code: int = 0
    certificate: Certificate | None = None


async def look_at_name(url: URL, timeout_seconds: float) -> Resolved | None:
    """Resolve the host of `url`; return None if it is an IP address."""
    host = url.host or ""
    if _is_address(host):
        return None
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await loop.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return Resolved(host, reason=f"no answer within {timeout_seconds:g} s")
    except OSError as error:
        return Resolved(host, reason=error.strerror or str(error))
    return Resolved(host, tuple(dict.fromkeys(str(one[4][0]) for one in found)))


def judge_name(resolved: Resolved | None) -> Check:
    """Judge the DNS lookup."""
    if resolved is None:
        return passed(_DNS, "central is called by its address: no name to resolve")
    if resolved.addresses:
        return passed(_DNS, f"{resolved.host} is {', '.join(resolved.addresses)}")
    advice = "see whether the line is up, and which name server is set (/etc/resolv.conf)"
    return fault(_DNS, f"{resolved.host} cannot be resolved ({resolved.reason})", advice)


async def look_at_connection(url: URL, rules: HttpOptions) -> Reached:
    """Connect like the agent does and read the certificate. Sends no request to central."""
    where = f"{url.host} port {url.port}" + (f" by way of {rules.proxy}" if rules.proxy else "")
    try:
        async with asyncio.timeout(rules.timeout_seconds):
            return await _reached(Reached(where), url, rules)
    except ssl.SSLCertVerificationError as error:
        return await _distrusted(Reached(where), url, rules, error)
    except TimeoutError:
        return Reached(where, trouble=f"no answer within {rules.timeout_seconds:g} s")
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        return Reached(where, trouble=_reason(error))


def judge_connection(reached: Reached, now: datetime) -> Check:
    """Judge connection, trust and days until expiry."""
    where, shown = reached.where, reached.certificate
    if reached.trouble:
        advice = "see whether the line is up, and a firewall lets this machine out to there"
        return fault(_CONNECTION, f"{where} is not reached: {reached.trouble}", advice)
    if reached.distrust:
        found = f"{where}: the certificate is not trusted: {reached.distrust}"
        return fault(_CONNECTION, found + _validity(shown), _advice_on_trust(reached, now))
    if shown is None:
        return passed(_CONNECTION, f"{where} is reached, without TLS")
    days = (shown.ends_at - now) // timedelta(days=1)
    found = f"{where} is reached; its certificate is trusted and ends in {days} days"
    if days < _FEW_DAYS:
        advice = f"have it renewed at head office before {shown.ends_at:%Y-%m-%d}"
        return warning(_CONNECTION, found, advice)
    return passed(_CONNECTION, found)


def _advice_on_trust(reached: Reached, now: datetime) -> str:
    shown = reached.certificate
    if shown is not None and not shown.starts_at <= now <= shown.ends_at:
        return (
            f"set this machine's clock if it is wrong (it says {now:%Y-%m-%d %H:%M} UTC), else"
            " have the certificate renewed at head office"
        )
    if reached.verify_code in _WRONG_NAME:
        return "set central.url to a name that stands in the certificate"
    if reached.verify_code in _CA_UNKNOWN:
        issuer = f" ({shown.issuer})" if shown and shown.issuer else ""
        return f"set central.ca_file to the certificate of the authority that signed it{issuer}"
    return "have head office look at its certificate"


def _validity(shown: Certificate | None) -> str:
    if shown is None:
        return ""
    return f" (valid from {shown.starts_at:%Y-%m-%d} to {shown.ends_at:%Y-%m-%d})"


async def _reached(so_far: Reached, url: URL, rules: HttpOptions) -> Reached:
    if url.scheme != "https":
        async with _connected(url, rules):
            return so_far
    context = await asyncio.to_thread(tls_context, rules)
    return replace(so_far, certificate=await _certificate(url, rules, context))


async def _distrusted(
    so_far: Reached, url: URL, rules: HttpOptions, error: ssl.SSLCertVerificationError
) -> Reached:
    """Read the untrusted certificate over an unverified connection that carries no data."""
    found = replace(so_far, distrust=error.verify_message, verify_code=error.verify_code)
    blind = ssl.create_default_context()
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(rules.timeout_seconds):
            return replace(found, certificate=await _certificate(url, rules, blind))
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return found


async def _certificate(url: URL, rules: HttpOptions, context: ssl.SSLContext) -> Certificate | None:
    async with _connected(url, rules) as (_, writer):
        await writer.start_tls(context, server_hostname=url.host)
        secure = writer.get_extra_info("ssl_object")
        der = secure.getpeercert(binary_form=True)
    if der is None:
        return None
    shown = x509.load_der_x509_certificate(der)
    return Certificate(
        _name_of(shown.issuer), shown.not_valid_before_utc, shown.not_valid_after_utc
    )


@asynccontextmanager
async def _connected(
    url: URL, rules: HttpOptions
) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    proxy = URL(rules.proxy) if rules.proxy else None
    via = proxy or url
    tls = ssl.create_default_context() if proxy and proxy.scheme == "https" else None
    reader, writer = await asyncio.open_connection(via.host, via.port, ssl=tls)
    try:
        if proxy is not None and url.scheme == "https":
            await _tunnel(reader, writer, f"{_bracketed(url.host or '')}:{url.port}")
        yield reader, writer
    finally:
        # Abort: do not wait for the peer's TLS close_notify.
        writer.transport.abort()


async def _tunnel(reader: StreamReader, writer: StreamWriter, target: str) -> None:
    """Open a CONNECT tunnel to `target` through a proxy (RFC 9110, 9.3.6)."""
    writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    status = head[:_LONGEST_LINE].split(b" ", 2)
    if len(status) < 2 or not status[1].startswith(b"2"):  # noqa: PLR2004 - version and status
        said = status[1].decode("latin-1")[:3] if len(status) > 1 else "nothing"
        raise ValueError(f"the proxy refuses the connection (it says {said})")


def _name_of(name: x509.Name) -> str:
    """Return the common or organization name; other attributes may hold arbitrary text."""
    for kind in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(kind):
            return str(attribute.value)
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "the proxy broke off"
    if isinstance(error, ssl.SSLError):
        return f"no secure connection ({error.reason or 'it broke off'})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
