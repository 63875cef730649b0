"""Credentials for central."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.auth import Credentials, FixedHeader, NoCredentials, bearer
from sync.delivery.transports.http_client import HttpClient, HttpOptions
from sync.delivery.transports.oauth import ClientCredentials, OAuthClient
from tests.support.central import Answer, Fault, ScriptedCentral, faults
from tests.support.central.scripted import TOKEN_PATH
from tests.support.clocks import MonotonicClock
from tests.support.transports import (
    NOW,
    batch_transport,
    client_to,
    replay_transport,
    session,
    verdicts,
    window,
)

SECRET = "s3cret:/+ &"  # noqa: S105 - a test value


def granted(token: str, kind: str) -> Fault:
    """Answer with a token that has no `expires_in`."""
    return faults.respond_with(Answer.of(200, {"access_token": token, "token_type": kind}))


@pytest.fixture
def clock() -> MonotonicClock:
    return MonotonicClock(1_000.0)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    return path


@pytest.fixture
async def oauth(
    central: ScriptedCentral, secret_file: Path, clock: MonotonicClock
) -> AsyncIterator[ClientCredentials]:
    central.credentials = set()
    http = HttpClient(HttpOptions(timeout_seconds=10))
    url = f"{central.url}{TOKEN_PATH}"
    client = OAuthClient(url, "an id", secret_file, "write all")
    yield ClientCredentials(http, client, clock, lambda: NOW)
    await http.close()


async def outcome(
    central: ScriptedCentral, credentials: Credentials
) -> Answer | Blocked | RetryLater:
    """Return the result of a request with the credentials."""
    async with client_to(central.url, credentials) as client:
        answer = await client.request("GET", "/sync/v1/program")
    return Answer(answer.status) if not isinstance(answer, (Blocked, RetryLater)) else answer


async def test_bearer_token_is_sent_and_reread_after_rotation(
    central: ScriptedCentral, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    central.credentials = {"Bearer one"}
    assert await outcome(central, bearer(file)) == Answer(200)
    file.write_text("two\n")
    central.credentials = {"Bearer two"}
    assert await outcome(central, bearer(file)) == Answer(200)


@pytest.mark.parametrize("content", ["", "two\nlines\n", None])
async def test_token_in_use_stays_in_use_while_its_new_file_is_broken(
    central: ScriptedCentral,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: str | None,
) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    central.credentials = {"Bearer one"}
    credentials = bearer(file)
    assert await outcome(central, credentials) == Answer(200)
    file.unlink() if content is None else file.write_text(content)
    assert await outcome(central, credentials) == Answer(200)
    assert caplog.messages == ["files.rejected"]
    central.credentials = set()
    found = await outcome(central, credentials)
    assert isinstance(found, Blocked)
    assert found.reason is BlockedReason.CREDENTIALS
    assert str(file) in found.detail


async def test_token_rotated_during_a_request_is_used_at_once(
    central: ScriptedCentral, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    central.credentials = {"Bearer two"}
    stalled = faults.Stalled()
    central.script(stalled)
    requesting = asyncio.ensure_future(outcome(central, bearer(file)))
    await stalled.reached.wait()
    file.write_text("two\n")
    stalled.release.set()
    assert await requesting == Answer(200)


async def test_fixed_header_is_sent(central: ScriptedCentral, secret_file: Path) -> None:
    await outcome(central, FixedHeader("X-Api-Key", secret_file))
    assert central.requests[0].headers["X-Api-Key"] == SECRET


@pytest.mark.parametrize("kind", ["none", "bearer"])
async def test_refused_token_blocks_after_one_request(
    central: ScriptedCentral, secret_file: Path, kind: str
) -> None:
    central.credentials = set()
    found = await outcome(central, NoCredentials() if kind == "none" else bearer(secret_file))
    assert isinstance(found, Blocked)
    assert (found.reason, found.http_status) == (BlockedReason.UNAUTHORIZED, 401)
    assert len(central.requests) == 1


async def test_unreadable_secret_file_is_named(central: ScriptedCentral, tmp_path: Path) -> None:
    found = await outcome(central, bearer(tmp_path / "absent"))
    assert isinstance(found, Blocked)
    assert found.reason is BlockedReason.CREDENTIALS
    assert str(tmp_path / "absent") in found.detail
    assert central.requests == []


class TestClientCredentials:
    """OAuth 2.0 client credentials (RFC 6749, 4.4)."""

    async def test_token_request_follows_the_rfc(
        self, central: ScriptedCentral, oauth: ClientCredentials
    ) -> None:
        assert await outcome(central, oauth) == Answer(200)
        request = central.requests[0]
        encoded = base64.b64encode(b"an+id:s3cret%3A%2F%2B+%26").decode()
        assert request.headers["Authorization"] == f"Basic {encoded}"
        assert request.body == b"grant_type=client_credentials&scope=write+all"

    async def test_repr_shows_no_token(
        self, central: ScriptedCentral, oauth: ClientCredentials
    ) -> None:
        await outcome(central, oauth)
        assert await oauth.headers() == {"Authorization": "Bearer token-1"}
        assert "token-1" not in repr(oauth)

    async def test_token_is_cached_for_four_fifths_of_its_lifetime(
        self, central: ScriptedCentral, oauth: ClientCredentials, clock: MonotonicClock
    ) -> None:
        central.token_seconds = 100
        await outcome(central, oauth)
        clock.seconds += 79
        await outcome(central, oauth)
        assert central.tokens_granted == 1
        clock.seconds += 2
        await outcome(central, oauth)
        assert central.tokens_granted == 2

    async def test_rejected_token_is_renewed_and_the_request_repeated(
        self, central: ScriptedCentral, oauth: ClientCredentials
    ) -> None:
        await outcome(central, oauth)
        central.credentials = set()
        assert await outcome(central, oauth) == Answer(200)
        assert central.tokens_granted == 2

    async def test_rejected_new_token_blocks(
        self, central: ScriptedCentral, oauth: ClientCredentials
    ) -> None:
        await outcome(central, oauth)
        central.script(faults.gateway(401), faults.gateway(401), on="/sync")
        found = await outcome(central, oauth)
        assert isinstance(found, Blocked)
        assert found.reason is BlockedReason.UNAUTHORIZED
        assert central.tokens_granted == 2

    async def test_concurrent_callers_share_one_token_request(
        self, central: ScriptedCentral, oauth: ClientCredentials
    ) -> None:
        first = {"Authorization": "Bearer token-1"}
        found = await asyncio.gather(*(oauth.headers() for _ in range(20)))
        assert all(one == first for one in found)
        renewed = await asyncio.gather(*(oauth.headers(refused=first) for _ in range(20)))
        assert all(one == {"Authorization": "Bearer token-2"} for one in renewed)
        assert len(central.requests) == 2

    async def test_failed_token_request_is_shared_by_waiters_and_retried_by_later_callers(
        self, central: ScriptedCentral, oauth: ClientCredentials
    ) -> None:
        central.script(faults.html(500))
        found = await asyncio.gather(*(oauth.headers() for _ in range(20)))
        assert all(isinstance(one, RetryLater) for one in found)
        assert len(central.requests) == 1
        assert await oauth.headers() == {"Authorization": "Bearer token-1"}

    @pytest.mark.parametrize("status", [400, 401])
    async def test_refused_client_blocks_without_leaking_the_secret(
        self, central: ScriptedCentral, oauth: ClientCredentials, status: int
    ) -> None:
        refused = {"error": "invalid_client", "error_description": SECRET}
        central.script(faults.respond_with(Answer.of(status, refused)))
        found = await outcome(central, oauth)
        assert isinstance(found, Blocked)
        assert (found.reason, found.http_status) == (BlockedReason.CREDENTIALS, status)
        assert "invalid_client" in found.detail
        assert SECRET not in found.detail

    @pytest.mark.parametrize(
        ("fault", "cause"),
        [
            (faults.captive_portal, FailureCause.NO_TOKEN),
            (faults.html(403), FailureCause.NO_TOKEN),
            (faults.gateway(503, Retry_After="7"), FailureCause.NO_TOKEN),
            (faults.answer_lost, FailureCause.NO_TOKEN),
            (
                faults.respond_with(Answer.of(200, {"access_token": "x", "token_type": "mac"})),
                FailureCause.NO_TOKEN,
            ),
            (
                faults.respond_with(
                    Answer.of(200, {"access_token": "a\nb", "token_type": "bearer"})
                ),
                FailureCause.NO_TOKEN,
            ),
            (
                faults.respond_with(
                    Answer.of(200, {"access_token": "a" * 900_000, "token_type": "bearer"})
                ),
                FailureCause.NO_TOKEN,
            ),
        ],
    )
    async def test_transient_token_failure_is_retried_and_nothing_was_sent(
        self, central: ScriptedCentral, oauth: ClientCredentials, fault: Fault, cause: FailureCause
    ) -> None:
        central.script(fault)
        found = await outcome(central, oauth)
        assert isinstance(found, RetryLater)
        assert (found.cause, found.may_have_arrived) == (cause, False)
        assert [request.path for request in central.requests] == [TOKEN_PATH]

    async def test_retry_after_of_the_token_endpoint_is_honoured(
        self, central: ScriptedCentral, oauth: ClientCredentials
    ) -> None:
        central.script(faults.overloaded("7", 503))
        found = await outcome(central, oauth)
        assert isinstance(found, RetryLater)
        assert found.retry_after_seconds == 7

    async def test_token_without_expiry_is_cached_for_a_default_time(
        self, central: ScriptedCentral, oauth: ClientCredentials, clock: MonotonicClock
    ) -> None:
        central.script(granted("x", "bearer"))
        assert await oauth.headers() == {"Authorization": "Bearer x"}
        clock.seconds += 2_000
        await oauth.headers()
        assert len(central.requests) == 1

    @pytest.mark.parametrize("lifetime", ["nan", "inf"])
    async def test_token_of_an_impossible_lifetime_is_cached(
        self, central: ScriptedCentral, oauth: ClientCredentials, lifetime: str
    ) -> None:
        granted_for = {"access_token": "x", "token_type": "bearer", "expires_in": lifetime}
        central.script(faults.respond_with(Answer.of(200, granted_for)))
        for _ in range(3):
            assert await oauth.headers() == {"Authorization": "Bearer x"}
        assert len(central.requests) == 1

    async def test_unreadable_client_secret_blocks(
        self, central: ScriptedCentral, oauth: ClientCredentials, secret_file: Path
    ) -> None:
        await asyncio.to_thread(secret_file.unlink)
        found = await outcome(central, oauth)
        assert isinstance(found, Blocked)
        assert str(secret_file) in found.detail

    async def test_both_protocols_survive_a_token_renewal(
        self, central: ScriptedCentral, oauth: ClientCredentials
    ) -> None:
        async with client_to(central.url, oauth) as client:
            for send in (batch_transport(client).send, replay_transport(client).send):
                assert central.credentials is not None
                central.credentials.clear()
                assert 1 in verdicts(await send(window(session(1)), probing=False))
