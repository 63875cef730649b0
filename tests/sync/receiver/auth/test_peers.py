"""The peer of a request, directly and behind proxies."""

import pytest
from aiohttp import HttpVersion10, web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from sync.receiver.auth.peers import Peers, is_local

PROXY = "192.0.2.10"
BEHIND = Peers([f"{PROXY}/32", "127.0.0.0/8", "2001:db8::/64"])
CLIENT = "198.51.100.7"


def request_from(remote: str, *headers: tuple[str, str]) -> web.Request:
    """Return a request from this address; a header may occur twice."""
    named = CIMultiDict([("Host", "localhost:8580"), *headers])
    if any(name == "Host" for name, _ in headers):
        named = CIMultiDict(headers)
    return make_mocked_request("GET", "/", named).clone(remote=remote)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Forwarded-For", CLIENT)], CLIENT),
        ([("X-Forwarded-For", f"{CLIENT}:4711")], CLIENT),
        ([("X-Forwarded-For", "[2001:db8:7::1]:4711")], "2001:db8:7::1"),
        ([("X-Forwarded-For", "2001:db8:7::1")], "2001:db8:7::1"),
        ([("X-Forwarded-For", f"::ffff:{CLIENT}")], CLIENT),
        ([("X-Forwarded-For", f"{CLIENT}, 127.0.0.1")], CLIENT),
        ([("X-Forwarded-For", CLIENT), ("X-Forwarded-For", "127.0.0.1")], CLIENT),
        ([("Forwarded", f"for={CLIENT};proto=https")], CLIENT),
        ([("Forwarded", 'For="[2001:db8:7::1]:80", for=127.0.0.1')], "2001:db8:7::1"),
        ([("X-Forwarded-For", CLIENT), ("Forwarded", f"for={CLIENT}")], CLIENT),
        ([], PROXY),
    ],
)
def test_trusted_proxy_names_the_client(headers: list[tuple[str, str]], expected: str) -> None:
    assert BEHIND.address_of(request_from(PROXY, *headers)) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # A client put an address before the one that the proxy appended.
        ([("X-Forwarded-For", f"127.0.0.1, 203.0.113.9, {CLIENT}")], CLIENT),
        ([("Forwarded", f"for=203.0.113.9, for={CLIENT}")], CLIENT),
        # A client sent the header that this proxy does not know, and so does not replace.
        ([("X-Forwarded-For", CLIENT), ("Forwarded", "for=203.0.113.9")], PROXY),
        ([("X-Forwarded-For", "nonsense")], PROXY),
        ([("X-Forwarded-For", f"{CLIENT}, nonsense")], PROXY),
        ([("X-Forwarded-For", "")], PROXY),
        ([("Forwarded", "for=unknown")], PROXY),
        ([("Forwarded", 'for="')], PROXY),
        ([("X-Forwarded-For", ", " * 5000)], PROXY),
    ],
)
def test_client_behind_a_trusted_proxy_cannot_choose_its_address(
    headers: list[tuple[str, str]], expected: str
) -> None:
    assert BEHIND.address_of(request_from(PROXY, *headers)) == expected


@pytest.mark.parametrize("remote", [CLIENT, "192.0.2.11", "2001:db8:0:1::1"])
@pytest.mark.parametrize("peers", [BEHIND, Peers(), Peers(behind_proxy=True)])
def test_forwarding_headers_of_others_are_ignored(remote: str, peers: Peers) -> None:
    headers = [
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9;host=evil.example;proto=https"),
        ("X-Forwarded-Host", "evil.example"),
    ]
    request = request_from(remote, *headers)

    assert peers.address_of(request) == remote
    assert peers.host_of(request) == "localhost:8580"
    assert peers.is_trusted_proxy(request) is False


@pytest.mark.parametrize("remote", ["", "x"])
def test_unknown_peer_is_no_trusted_proxy(remote: str) -> None:
    request = request_from(remote, ("X-Forwarded-For", CLIENT))

    assert (BEHIND.address_of(request), BEHIND.is_trusted_proxy(request)) == (remote, False)


@pytest.mark.parametrize(
    ("headers", "remote", "expected"),
    [
        ([("X-Forwarded-Proto", "https")], PROXY, True),
        ([("Forwarded", f"for={CLIENT};proto=HTTPS")], PROXY, True),
        ([("X-Forwarded-Proto", "https, http")], PROXY, False),
        ([("X-Forwarded-Proto", "http")], PROXY, False),
        ([("X-Forwarded-Proto", "https")], CLIENT, False),
        ([], PROXY, False),
    ],
)
def test_trusted_proxy_tells_whether_the_client_speaks_tls(
    headers: list[tuple[str, str]],
    remote: str,
    expected: bool,  # noqa: FBT001 - a case
) -> None:
    assert BEHIND.is_https(request_from(remote, *headers)) is expected


@pytest.mark.parametrize("remote", [PROXY, CLIENT, "127.0.0.1"])
def test_behind_a_tls_proxy_every_client_speaks_tls_unless_it_says_otherwise(remote: str) -> None:
    peers = Peers([PROXY], behind_proxy=True)

    assert peers.is_https(request_from(remote)) is True
    assert peers.is_https(request_from(PROXY, ("X-Forwarded-Proto", "http"))) is False


@pytest.mark.parametrize(
    "header", [("X-Forwarded-Host", "hq.example"), ("Forwarded", "host=hq.example")]
)
def test_trusted_proxy_names_the_host_asked_for(header: tuple[str, str]) -> None:
    assert BEHIND.host_of(request_from(PROXY, header)) == "hq.example"


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8580", "127.0.0.1:8580", "[::1]:8580"])
def test_client_on_this_machine_is_local(remote: str, host: str) -> None:
    assert is_local(request_from(remote, ("Host", host)))


@pytest.mark.parametrize("remote", ["192.0.2.1", "10.0.0.1", "::", "2001:db8::1", "", "x"])
def test_other_machines_are_not_local(remote: str) -> None:
    assert not is_local(request_from(remote))


@pytest.mark.parametrize(
    "host", ["hq.example", "localhost.evil.test", "127.0.0.1.evil.test", "192.0.2.1", "[::1", ""]
)
def test_foreign_host_header_is_not_local(host: str) -> None:
    """DNS rebinding from a browser on this machine, or a proxy that keeps `Host`."""
    assert not is_local(request_from("127.0.0.1", ("Host", host)))


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "Via", "X-Real-IP"]
)
def test_forwarded_request_is_not_local_although_its_proxy_is(header: str) -> None:
    assert not is_local(request_from("127.0.0.1", (header, "")))


def test_request_by_http_1_0_is_not_local() -> None:
    """nginx forwards in HTTP/1.0, without any further header, unless it is told otherwise."""
    plain = make_mocked_request("GET", "/", {"Host": "127.0.0.1:8580"}, version=HttpVersion10)

    assert not is_local(plain.clone(remote="127.0.0.1"))
