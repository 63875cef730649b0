"""Checks of the connection to head office: DNS, TCP, proxy, TLS certificate and its expiry."""

import asyncio
import contextlib
import socket
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from multidict import CIMultiDict
from yarl import URL

from sync.delivery.outcomes import Blocked
from sync.delivery.transports import proxy
from sync.delivery.transports.http_client import HttpOptions, tls_context
from sync.delivery.transports.response_head import MAX_HEAD_BYTES
from sync.runtime.checks.check import Check, fault, passed, warning
from sync.runtime.cli.printing import count

_DNS, _CONNECTION = "DNS", "connection"
_WARNING_DAYS = 30
ADVICE_ON_PROXY = "ask whoever runs the proxy for access, and set [central] accordingly"
_UNKNOWN_CA = {18, 19, 20, 21}  # X509_V_ERR_... of OpenSSL: self-signed, or no issuer found
_WRONG_NAME = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


_BROKEN_ANSWERS = (asyncio.IncompleteReadError, asyncio.LimitOverrunError)


class _ProxyRefusalError(ValueError):
    """The proxy refuses a tunnel; the message says why."""


async def check_dns(url: URL, timeout_seconds: float) -> Check:
    """Check that the host of `url` resolves, unless it is an IP address."""
    host = url.host or ""
    with contextlib.suppress(ValueError):
        ip_address(host)
        return passed(_DNS, "head office is configured by IP address: no name to resolve")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await loop.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        reason = f"no response within {timeout_seconds:g} s"
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        addresses = dict.fromkeys(str(one[4][0]) for one in found)
        return passed(_DNS, f"{host} resolves to {', '.join(addresses)}")
    advice = "check the network connection and the configured name server (/etc/resolv.conf)"
    return fault(_DNS, f"{host} cannot be resolved ({reason})", advice)


async def check_connection(url: URL, options: HttpOptions, now: datetime) -> Check:
    """Connect like the agent does and judge the certificate. Sends no request to central."""
    target = f"{url.host} port {url.port}" + (f" through {options.proxy}" if options.proxy else "")
    try:
        async with asyncio.timeout(options.timeout_seconds):
            if url.scheme != "https":
                async with _open(url, options):
                    return passed(_CONNECTION, f"connected to {target}, without TLS")
            context = await asyncio.to_thread(tls_context, options)
            return check_certificate(target, await _read_certificate(url, options, context), now)
    except ssl.SSLCertVerificationError as error:
        certificate = await _read_untrusted_certificate(url, options)
        found = f"{target}: the certificate is not trusted: {error.verify_message}"
        advice = advice_on_distrust(error.verify_code, certificate, now)
        return fault(_CONNECTION, found + _validity(certificate), advice)
    except _ProxyRefusalError as refusal:
        found = f"no connection to {target}: {refusal}"
        return fault(_CONNECTION, found, ADVICE_ON_PROXY)
    except TimeoutError:
        reason = f"no response within {options.timeout_seconds:g} s"
    except (OSError, ValueError, *_BROKEN_ANSWERS) as error:
        reason = _reason(error)
    advice = "check that head office is up, the network connection, and the firewalls in between"
    return fault(_CONNECTION, f"cannot connect to {target}: {reason}", advice)


def check_certificate(target: str, certificate: x509.Certificate, now: datetime) -> Check:
    """Judge the days until the trusted `certificate` of `target` expires."""
    days = (certificate.not_valid_after_utc - now) // timedelta(days=1)
    found = f"connected to {target}; its certificate is trusted and expires in {count(days, 'day')}"
    if days < _WARNING_DAYS:
        advice = f"head office must renew it before {certificate.not_valid_after_utc:%Y-%m-%d}"
        return warning(_CONNECTION, found, advice)
    return passed(_CONNECTION, found)


def advice_on_distrust(code: int, certificate: x509.Certificate | None, now: datetime) -> str:
    """Return the advice on OpenSSL's X509_V_ERR `code` for a certificate, None if unreadable."""
    if certificate is not None and not (
        certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    ):
        return (
            f"correct this machine's clock if it is wrong ({now:%Y-%m-%d %H:%M} UTC); otherwise"
            " head office must renew the certificate"
        )
    if code in _WRONG_NAME:
        return "set central.url to a name in the certificate"
    if code in _UNKNOWN_CA:
        issuer = _name_of(certificate.issuer) if certificate else ""
        advice = "set central.ca_file to the certificate of the CA that issued it"
        return f"{advice} ({issuer})" if issuer else advice
    return "head office must check its certificate"


def _validity(certificate: x509.Certificate | None) -> str:
    if certificate is None:
        return ""
    starts_at, ends_at = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return f" (valid from {starts_at:%Y-%m-%d} to {ends_at:%Y-%m-%d})"


async def _read_untrusted_certificate(url: URL, options: HttpOptions) -> x509.Certificate | None:
    """Read the certificate over an unverified connection that carries no data."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(OSError, ValueError, *_BROKEN_ANSWERS):
        async with asyncio.timeout(options.timeout_seconds):
            return await _read_certificate(url, options, unverified)
    return None


async def _read_certificate(
    url: URL, options: HttpOptions, context: ssl.SSLContext
) -> x509.Certificate:
    async with _open(url, options) as (_, writer):
        await writer.start_tls(context, server_hostname=url.host)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(der)


@asynccontextmanager
async def _open(url: URL, options: HttpOptions) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    hop = URL(options.proxy) if options.proxy else None
    via = hop or url
    is_encrypted = hop is not None and hop.scheme == "https"
    tls = await asyncio.to_thread(tls_context, options) if is_encrypted else None
    try:
        reader, writer = await asyncio.open_connection(
            via.host, via.port, ssl=tls, limit=MAX_HEAD_BYTES
        )
    except ssl.SSLCertVerificationError as error:
        reason = f"the proxy's certificate is not trusted: {error.verify_message}"
        raise _ProxyRefusalError(reason) from None
    try:
        if hop is not None and url.scheme == "https":
            await _tunnel(reader, writer, f"{url.host_subcomponent}:{url.port}", options)
        yield reader, writer
    finally:
        # Abort: do not wait for the peer's TLS close_notify.
        writer.transport.abort()


async def _tunnel(
    reader: StreamReader, writer: StreamWriter, target: str, options: HttpOptions
) -> None:
    """Open a CONNECT tunnel to `target` through a proxy (RFC 9110, 9.3.6)."""
    ours = proxy.proxy_headers(options.proxy_user, options.proxy_password_file)
    if isinstance(ours, Blocked):
        raise _ProxyRefusalError(ours.detail)
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    lines += [f"{name}: {value}" for name, value in ours.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()
    first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = first.partition(" ")[2][:3]
    if status.isdecimal() and int(status) in proxy.REFUSES_TUNNEL:
        # A proxy sends a line for each scheme that it takes.
        headers = CIMultiDict(line.partition(":")[::2] for line in rest)
        refusal = proxy.refusal(
            headers,
            int(status),
            proxy=options.proxy,
            user=options.proxy_user,
            password_file=options.proxy_password_file,
        )
        raise _ProxyRefusalError(f"{refusal.detail} (status {status})")
    if not status.startswith("2"):
        raise ValueError(f"the proxy rejects the connection (status {status or 'missing'})")


def _name_of(name: x509.Name) -> str:
    """Return the common or organization name; other attributes may hold arbitrary text."""
    for kind in (x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(kind):
            return str(attribute.value)
    return ""


def _reason(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "the proxy closed the connection"
    if isinstance(error, asyncio.LimitOverrunError):
        return "the proxy's response is too large"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection ({error.reason or 'connection closed'})"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
