"""Authentication of readers and agents."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from sync.receiver.auth.authenticate import ReaderAccess, check_sender
from sync.receiver.auth.peers import Peers
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.runtime.http_errors import HttpError

LOCAL = {"Host": "localhost:8580"}
TOKEN = {"Authorization": "Bearer reader-token"}
PROXY = {"X-Reader": "somebody"}
DIRECT, BEHIND_PROXY = Peers(), Peers(["192.0.2.0/24"])


def now() -> datetime:
    return datetime(2026, 6, 1, tzinfo=UTC)


def may_read(access: ReaderAccess, headers: Mapping[str, str], remote: str) -> bool:
    """Return whether a request with these headers from this peer address may read."""
    request = make_mocked_request("GET", "/v1/stores", headers).clone(remote=remote)
    try:
        access.check(request)
    except HttpError as problem:
        return problem.status != HTTPStatus.UNAUTHORIZED
    return True


def test_without_settings_this_machine_may_read() -> None:
    assert may_read(ReaderAccess(None, "", DIRECT, now), LOCAL, "127.0.0.1")
    assert not may_read(ReaderAccess(None, "", DIRECT, now), LOCAL, "192.0.2.1")


@pytest.mark.parametrize("remote", ["127.0.0.1", "192.0.2.1"])
def test_admin_token_reads_from_anywhere(remote: str) -> None:
    assert may_read(ReaderAccess("reader-token", "", DIRECT, now), TOKEN, remote)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer reader-toke",
        "Bearer reader-token2",
        "Basic reader-token",
        "reader-token",
        "Bearer READER-TOKEN",
        "Bearer é",
    ],
)
def test_with_a_token_configured_even_this_machine_needs_it(given: str) -> None:
    headers = {**LOCAL, "Authorization": given}

    assert not may_read(ReaderAccess("reader-token", "", DIRECT, now), headers, "127.0.0.1")


def test_authorization_scheme_is_case_insensitive() -> None:
    headers = {"Authorization": "bearer reader-token"}

    assert may_read(ReaderAccess("reader-token", "", DIRECT, now), headers, "192.0.2.1")


def test_reader_named_by_the_trusted_proxy_may_read() -> None:
    assert may_read(ReaderAccess(None, "X-Reader", BEHIND_PROXY, now), PROXY, "192.0.2.1")


@pytest.mark.parametrize("headers", [{}, {"X-Reader": ""}, {"X-Other": "somebody"}, TOKEN])
def test_with_a_trusted_proxy_requests_without_its_header_are_refused(
    headers: dict[str, str],
) -> None:
    assert not may_read(
        ReaderAccess(None, "X-Reader", BEHIND_PROXY, now), {**LOCAL, **headers}, "127.0.0.1"
    )


@pytest.mark.parametrize("remote", ["127.0.0.1", "198.51.100.7", "2001:db8::1", ""])
def test_proxy_header_is_believed_from_trusted_proxies_only(remote: str) -> None:
    assert not may_read(ReaderAccess(None, "X-Reader", BEHIND_PROXY, now), PROXY, remote)


def test_proxy_header_that_came_twice_is_refused() -> None:
    """The proxy added its own beside that of the client."""
    headers = CIMultiDict([("X-Reader", "ann"), ("X-Reader", "bob")])

    assert not may_read(ReaderAccess(None, "X-Reader", BEHIND_PROXY, now), headers, "192.0.2.1")


def test_proxy_header_is_ignored_without_a_trusted_proxy() -> None:
    assert not may_read(ReaderAccess("reader-token", "", DIRECT, now), PROXY, "127.0.0.1")


@pytest.mark.parametrize("headers", [TOKEN, PROXY])
def test_with_token_and_proxy_configured_either_is_enough(headers: dict[str, str]) -> None:
    assert may_read(
        ReaderAccess("reader-token", "X-Reader", BEHIND_PROXY, now), headers, "192.0.2.1"
    )


def test_agent_may_send_in_its_own_name() -> None:
    check_sender(EnrolledAgent(AgentName("s", "t"), datetime(2026, 1, 1, tzinfo=UTC)), "s", "t")


@pytest.mark.parametrize(("store_id", "till_id"), [("s", "T"), ("other", "t"), ("t", "s")])
def test_agent_may_not_send_in_another_name(store_id: str, till_id: str) -> None:
    caller = EnrolledAgent(AgentName("s", "t"), datetime(2026, 1, 1, tzinfo=UTC))

    with pytest.raises(HttpError) as raised:
        check_sender(caller, store_id, till_id)

    assert raised.value.status == HTTPStatus.FORBIDDEN
