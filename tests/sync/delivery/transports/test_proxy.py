"""A proxy with a password, for https in a tunnel and for http."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from yarl import URL

from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.http_client import HttpClient, HttpOptions, HttpResponse
from tests.support.central import ScriptedCentral, faults
from tests.support.central.proxy import PasswordProxy
from tests.support.certificates import make_certificate

USER, PASSWORD = "pos-0042", "s3cret: pass"
SCHEMES = pytest.mark.parametrize("scheme", ["https", "http"])


@asynccontextmanager
async def head_office(scheme: str, place: Path) -> AsyncIterator[tuple[str, HttpOptions]]:
    """Yield the URL of a head office, and options that trust it."""
    certificate = make_certificate(place / "tls")
    options = HttpOptions(timeout_seconds=10, ca_file=certificate.cert_file)
    async with ScriptedCentral(certificate.served() if scheme == "https" else None) as central:
        yield central.url, options


def with_password(options: HttpOptions, proxy: PasswordProxy, file: Path) -> HttpOptions:
    file.write_text(PASSWORD + "\n")
    return replace(options, proxy=proxy.url, proxy_user=USER, proxy_password_file=file)


async def response_of(url: str, options: HttpOptions) -> HttpResponse | Blocked | RetryLater:
    http = HttpClient(options)
    try:
        return await http.request("GET", URL(f"{url}/sync/v1/program"), headers={})
    finally:
        await http.close()


@SCHEMES
async def test_requests_pass_with_user_and_password(tmp_path: Path, scheme: str) -> None:
    async with (
        head_office(scheme, tmp_path) as (url, options),
        PasswordProxy(f"{USER}:{PASSWORD}") as proxy,
    ):
        found = await response_of(url, with_password(options, proxy, tmp_path / "password"))
    assert isinstance(found, HttpResponse)
    assert found.status == 200


async def test_head_office_behind_a_tunnel_never_sees_the_password(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    options = HttpOptions(timeout_seconds=10, ca_file=certificate.cert_file)
    async with (
        ScriptedCentral(certificate.served()) as central,
        PasswordProxy(f"{USER}:{PASSWORD}") as proxy,
    ):
        await response_of(central.url, with_password(options, proxy, tmp_path / "password"))
    assert "Proxy-Authorization" not in central.requests[0].headers


@SCHEMES
@pytest.mark.parametrize("challenge", [b'Basic realm="x"', b"Negotiate, Basic"])
async def test_missing_password_is_a_hold_that_says_so(
    tmp_path: Path, scheme: str, challenge: bytes
) -> None:
    async with (
        head_office(scheme, tmp_path) as (url, options),
        PasswordProxy(f"{USER}:{PASSWORD}", challenge) as proxy,
    ):
        found = await response_of(url, replace(options, proxy=proxy.url))
    detail = "the proxy wants a user and a password: set proxy_user and proxy_password_file"
    assert found == Blocked(BlockedReason.PROXY, detail, 407)


@SCHEMES
async def test_wrong_password_is_a_hold_that_says_so(tmp_path: Path, scheme: str) -> None:
    async with head_office(scheme, tmp_path) as (url, options), PasswordProxy("a:b") as proxy:
        found = await response_of(url, with_password(options, proxy, tmp_path / "password"))
    detail = "the proxy rejects the user or the password: check proxy_user and proxy_password_file"
    assert found == Blocked(BlockedReason.PROXY, detail, 407)


@SCHEMES
async def test_proxy_without_basic_is_named(tmp_path: Path, scheme: str) -> None:
    async with (
        head_office(scheme, tmp_path) as (url, options),
        PasswordProxy("a:b", b"Negotiate, NTLM, s3cret") as proxy,
    ):
        found = await response_of(url, with_password(options, proxy, tmp_path / "password"))
    assert isinstance(found, Blocked)
    assert "only Negotiate, NTLM:" in found.detail
    assert "s3cret" not in found.detail


@pytest.mark.parametrize(
    ("status", "named"),
    [
        (401, "the proxy wants a user and a password"),
        (403, "the proxy does not allow this connection"),
        (405, "the proxy does not allow this connection"),
    ],
)
async def test_proxy_that_refuses_the_tunnel_is_a_hold_that_says_so(
    central: ScriptedCentral, status: int, named: str
) -> None:
    """A CONNECT is the proxy's affair: head office has not been asked."""
    central.script(faults.html(status))
    options = HttpOptions(timeout_seconds=10, proxy=central.url)
    found = await response_of("https://127.0.0.1:9", options)
    assert isinstance(found, Blocked)
    assert (found.reason, found.http_status) == (BlockedReason.PROXY, status)
    assert named in found.detail


async def test_proxy_that_nobody_configured_is_named(central: ScriptedCentral) -> None:
    central.script(faults.html(407))
    found = await response_of(central.url, HttpOptions(timeout_seconds=10))
    assert isinstance(found, Blocked)
    assert found.reason is BlockedReason.PROXY
    assert "a proxy in between" in found.detail


@SCHEMES
async def test_changed_password_is_used_without_a_restart(tmp_path: Path, scheme: str) -> None:
    async with head_office(scheme, tmp_path) as (url, options), PasswordProxy("a:b") as proxy:
        http = HttpClient(with_password(options, proxy, tmp_path / "password"))
        target = URL(f"{url}/sync/v1/program")
        refused = await http.request("GET", target, headers={})
        proxy.accepted = f"{USER}:new"
        (tmp_path / "password").write_text("new\n")
        accepted = await http.request("GET", target, headers={})
        again = await http.request("GET", target, headers={})
        await http.close()
    assert isinstance(refused, Blocked)
    assert isinstance(accepted, HttpResponse)
    assert isinstance(again, HttpResponse)
    assert len(proxy.heads) == 2  # the connection is kept


async def test_broken_new_password_is_named_once_the_one_before_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    async with head_office("https", tmp_path) as (url, trust), PasswordProxy() as proxy:
        options = with_password(trust, proxy, file)
        assert isinstance(await response_of(url, options), HttpResponse)
        file.write_text("")
        assert isinstance(await response_of(url, options), HttpResponse)
        proxy.accepted = "a:b"
        found = await response_of(url, options)
    assert isinstance(found, Blocked)
    assert found.reason is BlockedReason.CREDENTIALS
    assert f"{file}: the file is empty" in found.detail


async def test_unreadable_password_file_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    async with PasswordProxy("a:b") as proxy:
        options = HttpOptions(
            timeout_seconds=10,
            proxy=proxy.url,
            proxy_user=USER,
            proxy_password_file=tmp_path / "absent",
        )
        found = await response_of("http://127.0.0.1:9", options)
    assert isinstance(found, Blocked)
    assert found.reason is BlockedReason.CREDENTIALS
    assert str(tmp_path / "absent") in found.detail
    assert proxy.heads == []


@pytest.mark.parametrize(
    ("says", "named"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "a response header of more than 64 KiB"),
        (b"nonsense\r\n\r\n", "the response is not HTTP"),
        (b"", "the connection ended before the response"),
    ],
)
async def test_unusable_answer_of_a_proxy_is_the_proxys_and_nothing_was_sent(
    says: bytes, named: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await response_of(
            "https://127.0.0.1:9", HttpOptions(timeout_seconds=10, proxy=proxy)
        )
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NO_CONNECTION, False)
    assert "through the proxy" in found.detail
    assert named in found.detail


async def test_tunnel_opens_behind_a_large_response_head(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    options = HttpOptions(timeout_seconds=10, ca_file=certificate.cert_file)
    async with ScriptedCentral(certificate.served()) as central, PasswordProxy() as proxy:
        proxy.established = b"HTTP/1.1 200 OK\r\nVia: " + b"x" * 20_000 + b"\r\n\r\n"
        found = await response_of(central.url, replace(options, proxy=proxy.url))
    assert isinstance(found, HttpResponse)


@SCHEMES
async def test_password_is_in_no_log_and_no_error(
    tmp_path: Path, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with head_office(scheme, tmp_path) as (url, trust), PasswordProxy("a:b") as proxy:
        options = with_password(trust, proxy, tmp_path / "password")
        found = await response_of(url, options)
    for text in (caplog.text, repr(found), repr(options)):
        assert "s3cret" not in text
        assert "Basic" not in text


async def test_password_is_not_sent_to_an_encrypted_proxy_that_is_not_verified(
    tmp_path: Path,
) -> None:
    """As when a machine joins: it asks for the authority of head office before it can trust it."""
    made = make_certificate(tmp_path)
    options = HttpOptions(timeout_seconds=10, verifies_server=False)
    async with ScriptedCentral(made.served()) as central, PasswordProxy(tls=made.served()) as proxy:
        found = await response_of(central.url, with_password(options, proxy, tmp_path / "password"))
    assert isinstance(found, Blocked)
    assert "central.ca_file" in found.detail
    assert proxy.heads == []


async def test_untrusted_certificate_of_an_encrypted_proxy_is_not_said_to_be_head_offices(
    tmp_path: Path,
) -> None:
    made, other = make_certificate(tmp_path / "office"), make_certificate(tmp_path / "proxy")
    trust = HttpOptions(timeout_seconds=10, ca_file=made.cert_file)
    async with ScriptedCentral(made.served()) as central:
        async with PasswordProxy(tls=other.served()) as proxy:
            found = await response_of(central.url, replace(trust, proxy=proxy.url))
        async with PasswordProxy(tls=made.served()) as proxy:
            assert isinstance(
                await response_of(central.url, replace(trust, proxy=proxy.url)), HttpResponse
            )
    assert isinstance(found, RetryLater)
    assert found.detail.startswith("the proxy's certificate is not trusted")


async def test_proxy_that_never_opens_the_tunnel_is_named_in_the_failure() -> None:
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        options = HttpOptions(timeout_seconds=0.2, proxy=proxy)
        found = await response_of("https://127.0.0.1:9", options)
        await ended.wait()
    assert isinstance(found, RetryLater)
    assert found.cause is FailureCause.NO_CONNECTION
    assert found.detail == "no connection to head office through the proxy in time"
