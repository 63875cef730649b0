"""OAuth 2.0 as gateways do it: status codes, token types, lifetimes, ways to authenticate."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from sync.delivery.outcomes import Blocked, BlockedReason, Deferred, FailureCause, RetryLater
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient, HttpOptions, HttpResponse
from sync.delivery.transports.oauth import ClientCredentials, OAuthClient
from sync.delivery.transports.replay.replay_transport import ReplayTransport
from tests.support.central import Answer, ScriptedCentral, faults
from tests.support.central.faults import Fault
from tests.support.central.scripted import TOKEN_PATH
from tests.support.clocks import MonotonicClock
from tests.support.transports import NOW, batch_transport, replay_transport, sessions, window

SECRET = "s3cret/+&"  # noqa: S105 - a test value
DENIED = faults.gateway(403)


@pytest.fixture
def clock() -> MonotonicClock:
    return MonotonicClock(1_000.0)


@pytest.fixture
def oauth_client(central: ScriptedCentral, tmp_path: Path) -> OAuthClient:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return OAuthClient(f"{central.url}{TOKEN_PATH}", "an id", tmp_path / "secret")


@asynccontextmanager
async def authenticated(
    central: ScriptedCentral, oauth_client: OAuthClient, clock: MonotonicClock
) -> AsyncIterator[CentralClient]:
    http = HttpClient(HttpOptions(timeout_seconds=10))
    credentials = ClientCredentials(http, oauth_client, clock, lambda: NOW)
    yield CentralClient(http, central.url, credentials, lambda: NOW)
    await http.close()


@pytest.fixture
async def client(
    central: ScriptedCentral, oauth_client: OAuthClient, clock: MonotonicClock
) -> AsyncIterator[CentralClient]:
    central.credentials = set()
    async with authenticated(central, oauth_client, clock) as one:
        yield one


async def asked(client: CentralClient) -> HttpResponse | Blocked | RetryLater:
    return await client.request("GET", "/sync/v1/program")


async def status_of(client: CentralClient) -> int | None:
    found = await asked(client)
    return found.status if isinstance(found, HttpResponse) else found.http_status


def granting(**answer: object) -> Fault:
    """Answer a token request with these members."""
    return faults.respond_with(Answer.of(200, {"access_token": "x", **answer}))


class TestRefusedTokens:
    """A 403 to an expired or revoked token, as some gateways answer it."""

    async def test_denied_token_is_renewed_once_and_the_request_repeated(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        assert await status_of(client) == 200
        central.script(DENIED, on="/sync")
        assert await status_of(client) == 200
        assert central.tokens_granted == 2

    async def test_denied_new_token_holds(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        await asked(client)
        central.script(DENIED, DENIED, on="/sync")
        found = await asked(client)
        assert isinstance(found, Blocked)
        assert (found.reason, found.http_status) == (BlockedReason.FORBIDDEN, 403)
        assert central.tokens_granted == 2

    async def test_requests_that_are_denied_whatever_the_token_cost_one_token_a_minute(
        self, central: ScriptedCentral, client: CentralClient, clock: MonotonicClock
    ) -> None:
        """As a firewall denies one record of many: the token is not at fault."""
        await asked(client)
        central.script(*[DENIED] * 11, on="/sync")
        for _ in range(10):
            assert await status_of(client) == 403
        assert central.tokens_granted == 2
        clock.seconds += 61
        central.script(DENIED, on="/sync")
        assert await status_of(client) == 200
        assert central.tokens_granted == 3

    async def test_token_outlives_a_failed_renewal(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        """The endpoint is down, and one denied record must not stop those that are accepted."""
        await asked(client)
        central.script(DENIED, on="/sync")
        central.script(faults.html(503), on=TOKEN_PATH)
        found = await asked(client)
        assert isinstance(found, RetryLater)
        assert found.cause is FailureCause.NO_TOKEN
        assert await status_of(client) == 200
        assert central.tokens_granted == 1

    @pytest.mark.parametrize("protocol", ["batch", "replay"])
    async def test_denied_event_does_not_hold_the_others_while_no_token_is_granted(
        self, central: ScriptedCentral, client: CentralClient, protocol: str
    ) -> None:
        """A firewall denies it; the token in use is good, and the endpoint is down."""
        await asked(client)
        central.script(*[faults.html(503)] * 9, on=TOKEN_PATH)
        if protocol == "batch":
            central.script(DENIED, DENIED, on="/sync/v1/batches")  # both events, the first one
            found = await batch_transport(client).send(window(*sessions(1, 2)), probing=False)
        else:
            central.script(DENIED, on="/client")
            found = await replay_transport(client).send(window(*sessions(1, 1)), probing=True)
        assert found.stop is None
        assert isinstance(found.results[0].verdict, Deferred)

    @pytest.mark.parametrize("build", [batch_transport, replay_transport])
    async def test_expired_token_without_a_new_one_is_not_said_to_be_the_events_trouble(
        self,
        central: ScriptedCentral,
        client: CentralClient,
        build: Callable[[CentralClient], BatchTransport | ReplayTransport],
    ) -> None:
        await asked(client)
        central.credentials = {"Bearer another"}
        central.script(*[faults.html(503)] * 9, on=TOKEN_PATH)
        found = await build(client).send(window(*sessions(1, 2)), probing=True)
        assert isinstance(found.stop, RetryLater)
        assert found.stop.cause is FailureCause.NO_TOKEN
        assert not found.results


class TestTokens:
    """What token endpoints answer."""

    @pytest.mark.parametrize(
        "token_type",
        ["Bearer", "BEARER", "bearer", "BearerToken", "bearertoken", "", " Bearer ", None],
    )
    async def test_bearer_token_by_any_name_is_used(
        self, central: ScriptedCentral, client: CentralClient, token_type: str | None
    ) -> None:
        central.credentials = {"Bearer x"}
        central.script(granting(token_type=token_type, expires_in=60))
        assert await status_of(client) == 200

    async def test_token_without_a_type_is_used(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        central.credentials = {"Bearer x"}
        central.script(granting(expires_in=60))
        assert await status_of(client) == 200

    async def test_token_of_another_type_is_named(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        central.script(granting(token_type="DPoP"))  # noqa: S106 - a type
        found = await asked(client)
        assert isinstance(found, RetryLater)
        assert found.cause is FailureCause.NO_TOKEN
        assert "a token that is not a bearer token" in found.detail

    @pytest.mark.parametrize("expires_in", [100, 100.0, "100", " 100 ", "100.5"])
    async def test_lifetime_is_read_as_number_or_text(
        self,
        central: ScriptedCentral,
        client: CentralClient,
        clock: MonotonicClock,
        expires_in: object,
    ) -> None:
        central.credentials = {"Bearer x"}
        central.script(granting(expires_in=expires_in))
        await asked(client)
        clock.seconds += 79
        await asked(client)
        assert central.tokens_granted == 0
        clock.seconds += 2
        await asked(client)
        assert central.tokens_granted == 1

    @pytest.mark.parametrize(
        "answer",
        [
            {},
            *({"expires_in": text} for text in ("", "soon", "nan", "1e999")),
            *({"expires_in": number} for number in (None, 0, -1, True)),
            {"expires_in": []},
        ],
    )
    async def test_token_of_unknown_lifetime_is_used_for_most_of_an_hour(
        self,
        central: ScriptedCentral,
        client: CentralClient,
        clock: MonotonicClock,
        answer: Mapping[str, object],
    ) -> None:
        central.credentials = {"Bearer x"}
        central.script(granting(**answer))
        assert await status_of(client) == 200
        clock.seconds += 2_800
        assert await status_of(client) == 200
        assert central.tokens_granted == 0

    async def test_byte_order_mark_and_status_201_do_not_matter(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        central.credentials = {"Bearer x"}
        plain = Answer.of(201, {"access_token": "x"})
        central.script(
            faults.respond_with(replace(plain, body=b"\xef\xbb\xbf" + plain.body)), on=TOKEN_PATH
        )
        assert await status_of(client) == 200


class TestTokenRequest:
    """How the client authenticates, and what else it sends."""

    async def test_secret_is_sent_in_the_form_where_the_endpoint_wants_that(
        self, central: ScriptedCentral, oauth_client: OAuthClient, clock: MonotonicClock
    ) -> None:
        central.credentials = set()
        oauth_client = replace(oauth_client, secret_in_form=True)
        async with authenticated(central, oauth_client, clock) as client:
            assert await status_of(client) == 200
        request = central.requests[0]
        assert "Authorization" not in request.headers
        assert parse_qs(request.body.decode()) == {
            "grant_type": ["client_credentials"],
            "client_id": ["an id"],
            "client_secret": [SECRET],
        }

    async def test_further_parameters_are_sent(
        self, central: ScriptedCentral, oauth_client: OAuthClient, clock: MonotonicClock
    ) -> None:
        parameters = {"audience": "https://loyalty.example/?a=1&b", "resource": "urn:x"}
        oauth_client = replace(oauth_client, scope="write", parameters=parameters)
        async with authenticated(central, oauth_client, clock) as client:
            await asked(client)
        assert parse_qs(central.requests[0].body.decode()) == {
            "grant_type": ["client_credentials"],
            "scope": ["write"],
            "audience": ["https://loyalty.example/?a=1&b"],
            "resource": ["urn:x"],
        }


class TestErrors:
    """Errors of the token endpoint, named truly and without secrets."""

    @pytest.mark.parametrize(
        ("status", "error", "advice"),
        [
            (401, "invalid_client", "client_id, its secret and client_auth"),
            (400, "unauthorized_client", "client_id, its secret and client_auth"),
            (400, "invalid_scope", "check scope"),
            (400, "invalid_target", "audience or resource in parameters"),
            (403, "access_denied", "audience or resource in parameters"),
            (400, "unsupported_grant_type", "client credentials"),
            (400, "invalid_request", "client_auth, scope and parameters"),
            (400, "of their own: s3cret", "no reason given"),
        ],
    )
    async def test_refusal_says_what_to_check(
        self, central: ScriptedCentral, client: CentralClient, status: int, error: str, advice: str
    ) -> None:
        answer = Answer.of(status, {"error": error, "error_description": SECRET})
        central.script(faults.respond_with(answer), on=TOKEN_PATH)
        found = await asked(client)
        assert isinstance(found, Blocked)
        assert (found.reason, found.http_status) == (BlockedReason.CREDENTIALS, status)
        assert advice in found.detail
        assert "s3cret" not in found.detail

    @pytest.mark.parametrize("status", [200, 400, 401, 403])
    async def test_page_of_a_portal_is_no_refusal_of_this_client(
        self, central: ScriptedCentral, client: CentralClient, status: int
    ) -> None:
        central.script(faults.html(status), on=TOKEN_PATH)
        found = await asked(client)
        assert found == RetryLater(
            FailureCause.NO_TOKEN,
            f"the token endpoint: answered {status}: a web page of a portal or gateway, not a token"
            " endpoint's response",
            http_status=status,
        )

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(401),
            Answer(401, b"<html>Unauthorized</html>", {"WWW-Authenticate": "Basic realm=x"}),
            Answer(400, b'{"message": "no"}'),
        ],
    )
    async def test_refusal_without_a_code_is_one(
        self, central: ScriptedCentral, client: CentralClient, answer: Answer
    ) -> None:
        central.script(faults.respond_with(answer), on=TOKEN_PATH)
        found = await asked(client)
        assert isinstance(found, Blocked)
        assert "refuses this client (no reason given)" in found.detail

    @pytest.mark.parametrize("status", [404, 405])
    async def test_wrong_address_is_named(
        self, central: ScriptedCentral, client: CentralClient, status: int
    ) -> None:
        central.script(faults.html(status), on=TOKEN_PATH)
        found = await asked(client)
        assert isinstance(found, RetryLater)
        assert found.cause is FailureCause.NO_TOKEN
        assert "check token_url" in found.detail

    async def test_unreachable_endpoint_is_not_called_head_office(
        self, central: ScriptedCentral, client: CentralClient
    ) -> None:
        await central.stop()
        found = await asked(client)
        assert found == RetryLater(
            FailureCause.NO_TOKEN, "no connection to the token endpoint: Connection refused"
        )

    async def test_name_that_cannot_be_resolved_is_the_endpoints(
        self, central: ScriptedCentral, oauth_client: OAuthClient, clock: MonotonicClock
    ) -> None:
        oauth_client = replace(oauth_client, token_url="https://no-such-host.invalid/token")  # noqa: S106 - a URL
        async with authenticated(central, oauth_client, clock) as client:
            found = await asked(client)
        assert found == RetryLater(
            FailureCause.NETWORK_DOWN, "the token endpoint's name cannot be resolved"
        )
