"""Who may read at head office, and in whose name an agent may speak."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from aiohttp.test_utils import make_mocked_request

from sync.receiver.auth.access import ReaderAccess, check_name
from sync.receiver.auth.tokens import AgentName
from sync.receiver.errors import Problem
from sync.receiver.ingest.inbound import Caller

LOCAL = {"Host": "localhost:8580"}
TOKEN = {"Authorization": "Bearer reader-token"}
PROXY = {"X-Reader": "somebody"}


def now() -> datetime:
    return datetime(2026, 6, 1, tzinfo=UTC)


def may_read(access: ReaderAccess, headers: Mapping[str, str], remote: str) -> bool:
    """Tell whether a request with these headers, from this address, may read."""
    request = make_mocked_request("GET", "/v1/stores", headers).clone(remote=remote)
    try:
        access.check(request)
    except Problem as problem:
        return problem.status != HTTPStatus.UNAUTHORIZED
    return True


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.1.2.3", "::1"])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8580", "127.0.0.1:8580", "[::1]:8580"])
def test_where_nothing_is_set_this_machine_reads(remote: str, host: str) -> None:
    assert may_read(ReaderAccess(None, "", now), {"Host": host}, remote)


@pytest.mark.parametrize("remote", ["192.0.2.1", "10.0.0.1", "::", "2001:db8::1", "", "x"])
def test_where_nothing_is_set_no_other_machine_reads(remote: str) -> None:
    assert not may_read(ReaderAccess(None, "", now), LOCAL, remote)


@pytest.mark.parametrize(
    "host", ["hq.example", "localhost.evil.test", "127.0.0.1.evil.test", "192.0.2.1", "[::1", ""]
)
def test_where_nothing_is_set_a_name_from_outside_does_not_read(host: str) -> None:
    """A web page's own name led to this machine, or a proxy that calls for somebody else."""
    assert not may_read(ReaderAccess(None, "", now), {"Host": host}, "127.0.0.1")


@pytest.mark.parametrize("remote", ["127.0.0.1", "192.0.2.1"])
def test_admin_token_reads_from_anywhere(remote: str) -> None:
    assert may_read(ReaderAccess("reader-token", "", now), TOKEN, remote)


@pytest.mark.parametrize(
    "shown",
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
def test_with_a_token_set_nothing_else_reads_not_even_here(shown: str) -> None:
    headers = {**LOCAL, "Authorization": shown}

    assert not may_read(ReaderAccess("reader-token", "", now), headers, "127.0.0.1")


def test_letter_case_of_the_scheme_makes_no_difference() -> None:
    headers = {"Authorization": "bearer reader-token"}

    assert may_read(ReaderAccess("reader-token", "", now), headers, "192.0.2.1")


def test_reader_whom_the_trusted_proxy_names_reads() -> None:
    assert may_read(ReaderAccess(None, "X-Reader", now), PROXY, "192.0.2.1")


@pytest.mark.parametrize("headers", [{}, {"X-Reader": ""}, {"X-Other": "somebody"}, TOKEN])
def test_with_a_trusted_proxy_set_nobody_reads_around_it(headers: dict[str, str]) -> None:
    assert not may_read(ReaderAccess(None, "X-Reader", now), {**LOCAL, **headers}, "127.0.0.1")


def test_without_a_trusted_proxy_its_header_is_worth_nothing() -> None:
    assert not may_read(ReaderAccess("reader-token", "", now), PROXY, "127.0.0.1")


@pytest.mark.parametrize("headers", [TOKEN, PROXY])
def test_with_both_set_either_reads(headers: dict[str, str]) -> None:
    assert may_read(ReaderAccess("reader-token", "X-Reader", now), headers, "192.0.2.1")


def test_agent_speaks_in_its_own_name() -> None:
    check_name(Caller(AgentName("s", "t"), datetime(2026, 1, 1, tzinfo=UTC)), "s", "t")


@pytest.mark.parametrize(("store_id", "till_id"), [("s", "T"), ("other", "t"), ("t", "s")])
def test_agent_speaks_in_no_other_name(store_id: str, till_id: str) -> None:
    caller = Caller(AgentName("s", "t"), datetime(2026, 1, 1, tzinfo=UTC))

    with pytest.raises(Problem) as raised:
        check_name(caller, store_id, till_id)

    assert raised.value.status == HTTPStatus.FORBIDDEN
