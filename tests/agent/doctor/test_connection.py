"""DNS, connection, proxy and certificate checks on real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from yarl import URL

from agent.doctor.connection import (
    advice_on_distrust,
    check_certificate,
    check_connection,
    check_dns,
)
from sync.delivery.transports.http_client import HttpOptions
from sync.runtime.checks.check import Check, Verdict
from tests.support.central import ScriptedCentral
from tests.support.central.proxy import PasswordProxy
from tests.support.certificates import make_certificate
from tests.support.processes import free_port

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OPTIONS = HttpOptions(timeout_seconds=10)


async def found_at(url: str, options: HttpOptions = OPTIONS) -> Check:
    return await check_connection(URL(url), options, datetime.now(UTC))


def certificate(directory: Path, *, starts: int = -10, ends: int = 90) -> x509.Certificate:
    """Make a certificate that is valid for these days relative to `NOW`."""
    days = (NOW - datetime.now(UTC)) / timedelta(days=1)
    made = make_certificate(directory, starts_in_days=days + starts, ends_in_days=days + ends)
    return x509.load_pem_x509_certificate(made.cert_file.read_bytes())


async def test_name_of_this_machine_is_resolved() -> None:
    check = await check_dns(URL("https://localhost:443"), 10)

    assert check.verdict is Verdict.PASS
    assert "127.0.0.1" in check.found


async def test_ip_address_needs_no_dns() -> None:
    check = await check_dns(URL("https://[::1]:443"), 10)

    assert check.verdict is Verdict.PASS
    assert "no name to resolve" in check.found


async def test_dns_lookup_has_a_timeout() -> None:
    check = await check_dns(URL("https://localhost:443"), 0)

    assert check.verdict is Verdict.FAULT
    assert "no response within 0 s" in check.found


async def test_unknown_name_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)

    check = await check_dns(URL("https://hq.example"), 10)

    assert check.verdict is Verdict.FAULT
    assert "hq.example cannot be resolved (Name or service not known)" in check.found


@pytest.mark.parametrize(
    ("days", "verdict"),
    [(90, Verdict.PASS), (30, Verdict.PASS), (29, Verdict.WARNING), (0, Verdict.WARNING)],
)
def test_certificate_that_expires_soon_is_a_warning(
    tmp_path: Path, days: int, verdict: Verdict
) -> None:
    ends_soon = certificate(tmp_path, ends=days)

    check = check_certificate("hq.example port 443", ends_soon, NOW)

    assert check.verdict is verdict
    assert f"expires in {days} days" in check.found


@pytest.mark.parametrize(
    ("code", "days", "advice"),
    [
        (18, (-10, 90), "CA that issued it (a test's own authority"),
        (62, (-10, 90), "set central.url to a name in the certificate"),
        (10, (-10, -1), "correct this machine's clock"),
        (9, (1, 90), "(2026-06-01 00:00 UTC)"),
        (99, (-10, 90), "head office must check"),
    ],
)
def test_advice_on_an_untrusted_certificate_depends_on_the_reason(
    tmp_path: Path, code: int, days: tuple[int, int], advice: str
) -> None:
    untrusted = certificate(tmp_path, starts=days[0], ends=days[1])

    assert advice in advice_on_distrust(code, untrusted, NOW)


def test_advice_on_an_unreadable_certificate_does_not_name_its_issuer() -> None:
    assert advice_on_distrust(20, None, NOW).endswith("the CA that issued it")


async def test_trusted_certificate_passes_with_days_until_expiry(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, ends_in_days=90)
    async with ScriptedCentral(made.served()) as central:
        check = await found_at(central.url, replace(OPTIONS, ca_file=made.cert_file))

    assert check.verdict is Verdict.PASS
    assert "expires in 89 days" in check.found


async def test_certificate_check_sends_no_request_to_central(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    async with ScriptedCentral(made.served()) as central:
        await found_at(central.url)
        await found_at(central.url, replace(OPTIONS, ca_file=made.cert_file))

    assert central.requests == []


@pytest.mark.parametrize(
    ("starts", "ends", "words"), [(-9, -2, "expired"), (2, 9, "not yet valid")]
)
async def test_expired_or_future_certificate_is_a_fault_that_mentions_the_clock(
    tmp_path: Path, starts: int, ends: int, words: str
) -> None:
    made = make_certificate(tmp_path, starts_in_days=starts, ends_in_days=ends)
    async with ScriptedCentral(made.served()) as central:
        check = await found_at(central.url, replace(OPTIONS, ca_file=made.cert_file))

    assert check.verdict is Verdict.FAULT
    assert words in check.found
    assert f"to {datetime.now(UTC) + timedelta(days=ends):%Y-%m-%d})" in check.found
    assert "clock" in check.advice


async def test_certificate_of_an_unknown_ca_is_a_fault(tmp_path: Path) -> None:
    async with ScriptedCentral(make_certificate(tmp_path).served()) as central:
        check = await found_at(central.url)

    assert check.verdict is Verdict.FAULT
    assert "central.ca_file" in check.advice
    assert "a test's own authority" in check.advice


async def test_certificate_of_another_host_is_a_fault(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, address="10.0.0.1")
    async with ScriptedCentral(made.served()) as central:
        check = await found_at(central.url, replace(OPTIONS, ca_file=made.cert_file))

    assert check.verdict is Verdict.FAULT
    assert "a name in the certificate" in check.advice


async def test_central_without_tls_passes() -> None:
    async with ScriptedCentral() as central:
        check = await found_at(central.url)

    assert (check.verdict, check.found.endswith("without TLS")) == (Verdict.PASS, True)


async def test_refused_connection_is_a_fault_with_its_reason() -> None:
    port = free_port()

    check = await found_at(f"https://127.0.0.1:{port}")

    assert check.verdict is Verdict.FAULT
    assert f"cannot connect to 127.0.0.1 port {port}: " in check.found
    assert "Connect" in check.found or "connect" in check.found


async def test_server_without_tls_behind_https_url_is_a_fault() -> None:
    async with ScriptedCentral() as central:
        check = await found_at(central.url.replace("http:", "https:"))

    assert check.verdict is Verdict.FAULT
    assert "no TLS connection" in check.found


@asynccontextmanager
async def proxy(says: bytes | None = None) -> AsyncIterator[str]:
    """Run a CONNECT proxy, or one that always responds with `says`; yield its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while content := await reader.read(65_536):
                writer.write(content)
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if says is not None:
            writer.write(says)
            writer.close()
            return
        host, port = head.split()[1].decode().split(":")
        there, to_there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for one in (pass_on(reader, to_there), pass_on(there, writer)):
            tasks.add(asyncio.ensure_future(one))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_certificate_is_read_through_a_proxy(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, ends_in_days=90)
    async with ScriptedCentral(made.served()) as central, proxy() as way:
        check = await found_at(central.url, replace(OPTIONS, ca_file=made.cert_file, proxy=way))

    assert check.verdict is Verdict.PASS
    assert f"through {way}" in check.found


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "status 407"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy_password_file"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, "the proxy's response is too large"),
        (b"nonsense\r\n\r\n", "status missing"),
        (b"", "the proxy closed the connection"),
    ],
)
async def test_rejecting_proxy_is_a_fault_with_its_status(says: bytes, words: str) -> None:
    async with proxy(says) as way:
        check = await found_at("https://hq.example", replace(OPTIONS, proxy=way))

    assert check.verdict is Verdict.FAULT
    assert words in check.found


@pytest.mark.parametrize("colon", [b": ", b":"])
async def test_proxy_that_takes_basic_among_others_is_not_said_to_refuse_it(colon: bytes) -> None:
    """Squid sends a line for each scheme."""
    lines = [b"Proxy-Authenticate" + colon + one for one in (b'Basic realm="x"', b"NTLM")]
    says = b"\r\n".join([b"HTTP/1.1 407 Proxy Authentication Required", *lines, b"", b""])
    async with proxy(says) as way:
        check = await found_at("https://hq.example", replace(OPTIONS, proxy=way))

    assert "the proxy wants a user and a password" in check.found


async def test_certificate_of_an_encrypted_proxy_is_trusted_as_the_agent_trusts_it(
    tmp_path: Path,
) -> None:
    made = make_certificate(tmp_path, ends_in_days=90)
    trusting = replace(OPTIONS, ca_file=made.cert_file)
    async with (
        ScriptedCentral(made.served()) as central,
        PasswordProxy(tls=made.served()) as way,
    ):
        trusted = await found_at(central.url, replace(trusting, proxy=way.url))
        untrusted = await found_at(central.url, replace(OPTIONS, proxy=way.url))

    assert trusted.verdict is Verdict.PASS
    assert untrusted.verdict is Verdict.FAULT
    assert "the proxy's certificate is not trusted" in untrusted.found


@pytest.mark.parametrize(
    ("accepted", "verdict", "words"),
    [
        ("pos:s3cret", Verdict.PASS, "its certificate is trusted"),
        ("pos:other", Verdict.FAULT, "the proxy rejects the user or the password"),
    ],
)
async def test_proxy_gets_the_password(
    tmp_path: Path, accepted: str, verdict: Verdict, words: str
) -> None:
    made = make_certificate(tmp_path, ends_in_days=90)
    (tmp_path / "password").write_text("s3cret\n")
    async with ScriptedCentral(made.served()) as central, PasswordProxy(accepted) as way:
        options = replace(OPTIONS, ca_file=made.cert_file, proxy=way.url, proxy_user="pos")
        check = await found_at(
            central.url, replace(options, proxy_password_file=tmp_path / "password")
        )

    assert check.verdict is verdict
    assert words in check.found
    assert "s3cret" not in f"{check.found} {check.advice}"


async def test_unusable_ca_file_is_a_fault(tmp_path: Path) -> None:
    async with ScriptedCentral() as central:
        options = replace(OPTIONS, ca_file=tmp_path / "absent")
        check = await found_at(central.url.replace("http:", "https:"), options)

    assert check.verdict is Verdict.FAULT
