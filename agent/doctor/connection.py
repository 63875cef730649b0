"""Check of the connection to head office: TCP, proxy, TLS certificate and its expiry."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from yarl import URL

from agent.doctor.check import Check, fault, passed, warning
from sync.delivery.transports.http_client import HttpOptions, tls_context

_NAME = "connection"
_WARNING_DAYS = 30
_MAX_STATUS_LINE = 8_192
_UNKNOWN_CA = {18, 19, 20, 21}  # X509_V_ERR_... of OpenSSL: self-signed, or no issuer found
_WRONG_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


@dataclass(frozen=True, slots=True)
class Certificate:
    """Issuer and validity of central's certificate."""

    issuer: str
    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class CentralConnection:
    """Result of a connection: `failure` if there is none, `distrust` if verification failed.

    `verify_code` is OpenSSL's X509_V_ERR code; `certificate` is None over plain HTTP or if
    it could not be read.
    """

    target: str
    failure: str = ""
    distrust: str = ""
    verify_code: int = 0
    certificate: Certificate | None = None


async def connect_to_central(url: URL, options: HttpOptions) -> CentralConnection:
    """Connect like the agent does and read the certificate. Sends no request to central."""
    target = f"{url.host} port {url.port}" + (f" through {options.proxy}" if options.proxy else "")
    try:
        async with asyncio.timeout(options.timeout_seconds):
            return await _verified(CentralConnection(target), url, options)
    except ssl.SSLCertVerificationError as error:
        return await _untrusted(CentralConnection(target), url, options, error)
    except TimeoutError:
        return CentralConnection(
            target, failure=f"no response within {options.timeout_seconds:g} s"
        )
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        return CentralConnection(target, failure=_reason(error))


def check_connection(connection: CentralConnection, now: datetime) -> Check:
    """Judge connection, trust and days until expiry."""
    target, certificate = connection.target, connection.certificate
    if connection.failure:
        advice = "check the network connection, and that no firewall blocks this connection"
        return fault(_NAME, f"cannot connect to {target}: {connection.failure}", advice)
    if connection.distrust:
        found = f"{target}: the certificate is not trusted: {connection.distrust}"
        return fault(_NAME, found + _validity(certificate), _advice_on_trust(connection, now))
    if certificate is None:
        return passed(_NAME, f"connected to {target}, without TLS")
    days = (certificate.ends_at - now) // timedelta(days=1)
    found = f"connected to {target}; its certificate is trusted and expires in {days} days"
    if days < _WARNING_DAYS:
        advice = f"head office must renew it before {certificate.ends_at:%Y-%m-%d}"
        return warning(_NAME, found, advice)
    return passed(_NAME, found)


def _advice_on_trust(connection: CentralConnection, now: datetime) -> str:
    certificate = connection.certificate
    if certificate is not None and not certificate.starts_at <= now <= certificate.ends_at:
        return (
            f"correct this machine's clock if it is wrong ({now:%Y-%m-%d %H:%M} UTC); otherwise"
            " head office must renew the certificate"
        )
    if connection.verify_code in _WRONG_NAME:
        return "set central.url to a name in the certificate"
    if connection.verify_code in _UNKNOWN_CA:
        issuer = f" ({certificate.issuer})" if certificate and certificate.issuer else ""
        return f"set central.ca_file to the certificate of the CA that issued it{issuer}"
    return "head office must check its certificate"


def _validity(certificate: Certificate | None) -> str:
    if certificate is None:
        return ""
    return f" (valid from {certificate.starts_at:%Y-%m-%d} to {certificate.ends_at:%Y-%m-%d})"


async def _verified(
    connection: CentralConnection, url: URL, options: HttpOptions
) -> CentralConnection:
    if url.scheme != "https":
        async with _open(url, options):
            return connection
    context = await asyncio.to_thread(tls_context, options)
    return replace(connection, certificate=await _read_certificate(url, options, context))


async def _untrusted(
    connection: CentralConnection,
    url: URL,
    options: HttpOptions,
    error: ssl.SSLCertVerificationError,
) -> CentralConnection:
    """Read the untrusted certificate over an unverified connection that carries no data."""
    found = replace(connection, distrust=error.verify_message, verify_code=error.verify_code)
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(options.timeout_seconds):
            return replace(found, certificate=await _read_certificate(url, options, unverified))
    except (OSError, ValueError, asyncio.IncompleteReadError):
        return found


async def _read_certificate(
    url: URL, options: HttpOptions, context: ssl.SSLContext
) -> Certificate | None:
    async with _open(url, options) as (_, writer):
        await writer.start_tls(context, server_hostname=url.host)
        secure = writer.get_extra_info("ssl_object")
        der = secure.getpeercert(binary_form=True)
    if der is None:
        return None
    loaded = x509.load_der_x509_certificate(der)
    return Certificate(
        _name_of(loaded.issuer), loaded.not_valid_before_utc, loaded.not_valid_after_utc
    )


@asynccontextmanager
async def _open(url: URL, options: HttpOptions) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    proxy = URL(options.proxy) if options.proxy else None
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
    status = head[:_MAX_STATUS_LINE].split(b" ", 2)
    if len(status) < 2 or not status[1].startswith(b"2"):  # noqa: PLR2004 - version and status
        status_code = status[1].decode("latin-1")[:3] if len(status) > 1 else "missing"
        raise ValueError(f"the proxy rejects the connection (status {status_code})")


def _name_of(name: x509.Name) -> str:
    """Return the common or organization name; other attributes may hold arbitrary text."""
    for kind in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(kind):
            return str(attribute.value)
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "the proxy closed the connection"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({error.reason or 'connection closed'})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
