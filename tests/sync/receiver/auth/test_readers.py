"""Read access by the `[access]` settings."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from aiohttp import hdrs
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from sync.receiver.auth.guess_limiter import GuessLimiter
from sync.receiver.auth.peers import Peers
from sync.receiver.auth.readers import GuessLimiters, ReaderAccess, ReaderRules, RefusedReaders
from sync.runtime.network.http_errors import HttpError
from sync.runtime.refusal_log import RefusalLog

TOKEN = "correct-horse-battery"  # noqa: S105 - of these tests only
LOCAL = {"Host": "localhost:8580"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LOGGER = logging.getLogger("sync.test")
PROXY = {"X-Reader": "ann"}
CLOSED = ReaderRules()
WITH_TOKEN = ReaderRules(token=lambda: TOKEN)
BY_PROXY = ReaderRules(proxy_header="X-Reader")
OPEN_HERE = ReaderRules(open_on_loopback=True)


def access(rules: ReaderRules) -> ReaderAccess:
    """Return access by these rules, with a trusted proxy at 192.0.2.1; nobody is signed in."""
    refused = RefusedReaders(*(RefusalLog(LOGGER, "reader.refused") for _ in range(2)))
    form, api = (GuessLimiter(lambda: 0.0, b"key") for _ in range(2))
    limiters = GuessLimiters(form, api, refused)
    peers = Peers(["192.0.2.1"])
    return ReaderAccess(
        rules, peers, limiters, now=lambda: datetime(2026, 6, 1, tzinfo=UTC), new_hex=str
    )


async def reader(rules: ReaderRules, headers: Mapping[str, str], remote: str) -> str | None:
    """Return the reader's name, None if the request may not read."""
    request = make_mocked_request("GET", "/v1/stores", headers).clone(remote=remote)
    try:
        return (await access(rules).check(request)).user
    except HttpError as error:
        if error.status is not HTTPStatus.UNAUTHORIZED:
            raise
        return None


@pytest.mark.parametrize("rules", [CLOSED, WITH_TOKEN, BY_PROXY])
async def test_this_machine_is_no_reader_by_itself(rules: ReaderRules) -> None:
    assert await reader(rules, LOCAL, "127.0.0.1") is None


async def test_this_machine_reads_if_it_is_opened() -> None:
    assert await reader(OPEN_HERE, LOCAL, "127.0.0.1") is not None
    assert await reader(OPEN_HERE, LOCAL, "192.0.2.7") is None


async def test_forwarded_request_is_refused_where_this_machine_is_opened() -> None:
    """A proxy on this machine that rewrites Host."""
    headers = {**LOCAL, "X-Forwarded-For": "198.51.100.7"}

    assert await reader(OPEN_HERE, headers, "127.0.0.1") is None


@pytest.mark.parametrize("remote", ["127.0.0.1", "192.0.2.1", "198.51.100.7", ""])
async def test_token_reads_from_anywhere(remote: str) -> None:
    assert await reader(WITH_TOKEN, BEARER, remote) is not None
    assert await reader(WITH_TOKEN, {"Authorization": f"bearer {TOKEN}"}, remote) is not None


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}2",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN.upper()}",
        "Bearer é",
    ],
)
async def test_any_other_authorization_is_refused(given: str) -> None:
    headers = {**LOCAL, "Authorization": given}

    assert await reader(WITH_TOKEN, headers, "127.0.0.1") is None


@pytest.mark.parametrize("rules", [CLOSED, BY_PROXY])
@pytest.mark.parametrize("given", ["Bearer ", "Bearer None"])
async def test_no_token_matches_if_there_is_none(rules: ReaderRules, given: str) -> None:
    assert await reader(rules, {**LOCAL, "Authorization": given}, "127.0.0.1") is None


async def test_reader_named_by_the_trusted_proxy_reads() -> None:
    assert await reader(BY_PROXY, PROXY, "192.0.2.1") == "ann"


@pytest.mark.parametrize("headers", [{}, {"X-Reader": ""}, {"X-Reader": " "}, {"X-Other": "ann"}])
async def test_trusted_proxy_that_names_no_reader_is_refused(headers: dict[str, str]) -> None:
    assert await reader(BY_PROXY, {**LOCAL, **headers}, "192.0.2.1") is None


@pytest.mark.parametrize("remote", ["127.0.0.1", "192.0.2.2", "2001:db8::1", ""])
async def test_proxy_header_is_believed_from_trusted_proxies_only(remote: str) -> None:
    assert await reader(BY_PROXY, PROXY, remote) is None


async def test_proxy_header_that_came_twice_is_refused() -> None:
    """The proxy added its own beside that of the client."""
    headers = CIMultiDict([("X-Reader", "ann"), ("X-Reader", "bob")])

    assert await reader(BY_PROXY, headers, "192.0.2.1") is None


async def test_proxy_header_is_ignored_unless_it_is_set() -> None:
    assert await reader(WITH_TOKEN, PROXY, "192.0.2.1") is None


async def test_wrong_tokens_of_one_peer_do_not_keep_another_out() -> None:
    both = access(WITH_TOKEN)
    wrong = {hdrs.AUTHORIZATION: "Bearer wrong"}
    statuses = []
    for headers, remote in [(wrong, "198.51.100.7"), (BEARER, "198.51.100.7"), (BEARER, "::1")]:
        request = make_mocked_request("GET", "/", headers).clone(remote=remote)
        try:
            await both.check(request)
            statuses.append(200)
        except HttpError as error:
            statuses.append(error.status)

    assert statuses == [401, 429, 200]
