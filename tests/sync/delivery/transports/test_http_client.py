"""HTTP client: one request, its response or a classified failure."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from yarl import URL

from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.http_client import (
    MAX_RESPONSE_BYTES,
    HttpClient,
    HttpOptions,
    HttpResponse,
)
from tests.support.central import Answer, ScriptedCentral, faults
from tests.support.central.faults import Fault
from tests.support.certificates import Certificate, make_certificate

PATH = "/sync/v1/program"


async def get(url: str, **options: object) -> HttpResponse | Blocked | RetryLater:
    """Send one request with a client of its own."""
    http = HttpClient(HttpOptions(**{"timeout_seconds": 10.0, **options}))  # type: ignore[arg-type]
    try:
        return await http.request("GET", URL(url + PATH, encoded=True), headers={})
    finally:
        await http.close()
        await http.close()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    one = HttpClient(HttpOptions(timeout_seconds=10))
    yield one
    await one.close()


@asynccontextmanager
async def client_with_certificate(
    client: Certificate, *, trusting: Certificate
) -> AsyncIterator[HttpClient]:
    """Return a client with one connection, a trusted CA and a client certificate."""
    http = HttpClient(
        HttpOptions(
            timeout_seconds=10,
            connections=1,
            ca_file=trusting.cert_file,
            client_cert_file=client.cert_file,
            client_key_file=client.key_file,
        )
    )
    yield http
    await http.close()


async def test_response_is_returned_unchanged(central: ScriptedCentral) -> None:
    found = await get(central.url)
    assert isinstance(found, HttpResponse)
    assert (found.status, found.is_json) == (200, True)
    assert found.headers["etag"] == found.headers["ETag"]


@pytest.mark.parametrize(
    ("media_type", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/problem+json", True),
        ("text/html", False),
        ("text/json-ish", False),
        ("", False),
    ],
)
def test_json_is_detected_by_content_type(media_type: str, *, is_json: bool) -> None:
    assert HttpResponse(200, {"Content-Type": media_type}, b"{}").is_json is is_json


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize("fault", [faults.answer_lost, faults.reset_before])
async def test_request_is_not_resent_on_a_dead_connection(
    central: ScriptedCentral, http: HttpClient, method: str, fault: Fault
) -> None:
    url = URL(central.url + PATH)
    await http.request("GET", url, headers={})
    central.script(fault)
    found = await http.request(method, url, headers={}, body=b"{}" if method != "GET" else None)
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NO_RESPONSE, True)
    assert len(central.requests) == 2


async def test_redirects_are_not_followed(central: ScriptedCentral) -> None:
    central.script(faults.redirected)
    found = await get(central.url)
    assert isinstance(found, HttpResponse)
    assert (found.status, len(central.requests)) == (302, 1)


async def test_cookies_are_not_stored(central: ScriptedCentral, http: HttpClient) -> None:
    url = URL(central.url + PATH)
    central.script(faults.respond_with(Answer(200, b"", {"Set-Cookie": "portal=1; Path=/"})))
    await http.request("GET", url, headers={})
    await http.request("GET", url, headers={})
    assert "Cookie" not in central.requests[1].headers


async def test_connections_are_reused(central: ScriptedCentral, http: HttpClient) -> None:
    for _ in range(3):
        await http.request("GET", URL(central.url + PATH), headers={})
    assert len({request.connection for request in central.requests}) == 1


async def test_decompression_bomb_is_aborted(central: ScriptedCentral) -> None:
    bomb = gzip.compress(b" " * (50 * MAX_RESPONSE_BYTES))
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    central.script(faults.respond_with(Answer(200, bomb, packed)))
    found = await get(central.url)
    assert isinstance(found, RetryLater)
    assert found.cause is FailureCause.UNEXPECTED_RESPONSE


async def test_corrupt_compression_is_a_failure(central: ScriptedCentral) -> None:
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    central.script(faults.respond_with(Answer(200, b"not gzip at all", packed)))
    assert isinstance(await get(central.url), RetryLater)


async def test_non_http_response_is_not_central() -> None:
    async def chat(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(chat, "127.0.0.1", 0)
    async with server:
        found = await get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert isinstance(found, RetryLater)
    assert found.cause is FailureCause.UNEXPECTED_RESPONSE


async def test_timeout_leaves_the_outcome_unknown(central: ScriptedCentral) -> None:
    stalled = faults.Stalled()
    central.script(stalled)
    found = await get(central.url, timeout_seconds=0.05)
    stalled.release.set()
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NO_RESPONSE, True)


async def test_refused_connection_means_head_office_is_down(central: ScriptedCentral) -> None:
    await central.stop()
    found = await get(central.url)
    assert found == RetryLater(
        FailureCause.CENTRAL_DOWN, "no connection to head office: Connection refused"
    )


async def test_unreachable_network_means_the_stores_network_is_down() -> None:
    # A multicast address: connecting fails locally with ENETUNREACH.
    found = await get("http://224.0.0.1")
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NETWORK_DOWN, False)


async def test_connect_timeout_is_ambiguous() -> None:
    """As behind a firewall that drops packets, or a modem without uplink."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
    ):
        port = full.getsockname()[1]
        found = await get(f"http://127.0.0.1:{port}", timeout_seconds=0.5)
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NO_CONNECTION, False)


async def test_failed_name_resolution_means_the_stores_network_is_down() -> None:
    found = await get("http://no-such-host.invalid")
    assert found == RetryLater(FailureCause.NETWORK_DOWN, "head office's name cannot be resolved")


async def test_name_resolution_timeout_counts_as_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> NoReturn:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    found = await get("http://head-office.invalid", timeout_seconds=0.2)
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NO_CONNECTION, False)


async def test_all_timeouts_at_once_before_a_connection_count_as_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop of a loaded machine handles both timeouts late, in one turn."""

    async def stalled(*_: object, **__: object) -> NoReturn:
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.1
        while loop.time() < end:
            pass
        await loop.create_future()
        raise AssertionError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", stalled)
    found = await get("http://head-office.invalid", timeout_seconds=0.05)
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NO_CONNECTION, False)


async def test_timeout_on_a_reused_connection_leaves_the_outcome_unknown(
    central: ScriptedCentral,
) -> None:
    stalled = faults.Stalled()
    http = HttpClient(HttpOptions(timeout_seconds=0.5))
    url = URL(central.url + PATH)
    assert isinstance(await http.request("GET", url, headers={}), HttpResponse)
    central.script(stalled)
    found = await http.request("GET", url, headers={})
    stalled.release.set()
    await http.close()
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NO_RESPONSE, True)


async def test_unreachable_proxy_is_ambiguous_and_named(central: ScriptedCentral) -> None:
    proxy = central.url
    await central.stop()
    found = await get("http://127.0.0.1:9", proxy=proxy)
    assert isinstance(found, RetryLater)
    assert found.cause is FailureCause.NO_CONNECTION
    assert "proxy" in found.detail


async def test_proxy_refusing_a_tunnel_is_ambiguous_and_named(central: ScriptedCentral) -> None:
    central.script(faults.html(502))
    found = await get("https://127.0.0.1:9", proxy=central.url)
    assert isinstance(found, RetryLater)
    assert (found.cause, found.may_have_arrived) == (FailureCause.NO_CONNECTION, False)
    assert found.http_status == 502


class TestTls:
    """Certificate validation and its failures."""

    async def served(
        self, certificate: Certificate, **options: object
    ) -> HttpResponse | Blocked | RetryLater:
        async with ScriptedCentral(certificate.served()) as central:
            return await get(central.url, **options)

    async def test_certificate_of_the_configured_ca_is_trusted(self, tmp_path: Path) -> None:
        certificate = make_certificate(tmp_path)
        found = await self.served(certificate, ca_file=certificate.cert_file)
        assert isinstance(found, HttpResponse)

    async def test_unknown_ca_is_not_trusted(self, tmp_path: Path) -> None:
        found = await self.served(make_certificate(tmp_path))
        assert isinstance(found, RetryLater)
        assert (found.cause, found.may_have_arrived) == (FailureCause.UNTRUSTED_CERTIFICATE, False)

    async def test_certificate_for_another_host_is_not_trusted(self, tmp_path: Path) -> None:
        certificate = make_certificate(tmp_path, address="127.0.0.2")
        found = await self.served(certificate, ca_file=certificate.cert_file)
        assert isinstance(found, RetryLater)
        assert found.cause is FailureCause.UNTRUSTED_CERTIFICATE

    @pytest.mark.parametrize(("days", "words"), [((5, 9), "not yet valid"), ((-9, -5), "expired")])
    async def test_expired_or_future_certificate_names_the_clock(
        self, tmp_path: Path, days: tuple[int, int], words: str
    ) -> None:
        certificate = make_certificate(tmp_path, starts_in_days=days[0], ends_in_days=days[1])
        found = await self.served(certificate, ca_file=certificate.cert_file)
        assert isinstance(found, RetryLater)
        assert (found.cause, found.may_have_arrived) == (FailureCause.WRONG_CLOCK, False)
        assert words in found.detail
        assert "clock" in found.detail

    async def test_unusable_certificate_file_blocks_and_is_named(self, tmp_path: Path) -> None:
        found = await self.served(make_certificate(tmp_path), ca_file=tmp_path / "absent.pem")
        assert isinstance(found, Blocked)
        assert found.reason is BlockedReason.CREDENTIALS
        assert "absent.pem" in found.detail

    async def test_renewed_ca_file_is_reloaded(self, tmp_path: Path) -> None:
        ca_file = make_certificate(tmp_path / "old").cert_file
        certificate = make_certificate(tmp_path / "new")
        http = HttpClient(HttpOptions(timeout_seconds=10, ca_file=ca_file))
        async with ScriptedCentral(certificate.served()) as central:
            url = URL(central.url + PATH)
            assert isinstance(await http.request("GET", url, headers={}), RetryLater)
            content = await asyncio.to_thread(certificate.cert_file.read_bytes)
            await asyncio.to_thread(ca_file.write_bytes, content)
            assert isinstance(await http.request("GET", url, headers={}), HttpResponse)
        await http.close()

    async def test_client_certificate_renewed_after_a_refusal_is_used(self, tmp_path: Path) -> None:
        """In TLS 1.3 the refusal comes after the handshake, instead of a response."""
        own, old, new = (make_certificate(tmp_path / name) for name in ("own", "old", "new"))
        async with (
            ScriptedCentral(own.served_to(new)) as central,
            client_with_certificate(old, trusting=own) as http,
        ):
            url = URL(central.url + PATH)
            refused = await http.request("GET", url, headers={})
            await asyncio.to_thread(new.take_the_place_of, old)
            found = await http.request("GET", url, headers={})
        assert isinstance(refused, RetryLater)
        assert isinstance(found, HttpResponse)

    async def test_renewed_client_certificate_gets_a_new_connection(self, tmp_path: Path) -> None:
        own, old, new = (make_certificate(tmp_path / name) for name in ("own", "old", "new"))
        async with (
            ScriptedCentral(own.served_to(old, new)) as central,
            client_with_certificate(old, trusting=own) as http,
        ):
            url = URL(central.url + PATH)
            for _ in range(2):
                await http.request("GET", url, headers={})
            await asyncio.to_thread(new.take_the_place_of, old)
            await http.request("GET", url, headers={})
        before, unchanged, after = [request.connection for request in central.requests]
        assert before == unchanged != after

    async def test_old_certificate_is_used_until_the_key_of_the_renewed_one_arrives(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        own, old, new = (make_certificate(tmp_path / name) for name in ("own", "old", "new"))
        async with (
            ScriptedCentral(own.served_to(old, new)) as central,
            client_with_certificate(old, trusting=own) as http,
        ):
            url = URL(central.url + PATH)
            await http.request("GET", url, headers={})
            await asyncio.to_thread(new.cert_file.replace, old.cert_file)
            between = [await http.request("GET", url, headers={}) for _ in range(2)]
            await asyncio.to_thread(new.key_file.replace, old.key_file)
            found = await http.request("GET", url, headers={})
        assert all(isinstance(one, HttpResponse) for one in between)
        assert isinstance(found, HttpResponse)
        before, *same, after = [request.connection for request in central.requests]
        assert same == [before, before] != [after, after]
        assert caplog.messages == ["files.rejected"]

    async def test_plain_http_on_a_tls_port_is_a_tls_failure(
        self, central: ScriptedCentral
    ) -> None:
        found = await get(central.url.replace("http:", "https:"))
        assert isinstance(found, RetryLater)
        assert (found.cause, found.may_have_arrived) == (FailureCause.UNTRUSTED_CERTIFICATE, False)
