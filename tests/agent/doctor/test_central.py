"""Clock, credentials and protocol checks against a scripted head office; no record is left."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from yarl import URL

from agent.config.central import AuthKind, Protocol
from agent.doctor.central import (
    ProbeOutcome,
    check_clock,
    check_credentials,
    check_protocol,
    measure_clock_offset,
    probe_central,
)
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.auth import NoCredentials, bearer
from sync.delivery.transports.http_client import HttpClient, HttpOptions
from sync.delivery.transports.oauth import ClientCredentials, OAuthClient
from sync.runtime.checks.check import Verdict
from tests.support.central import ScriptedCentral
from tests.support.central.faults import (
    Answer,
    Fault,
    captive_portal,
    gateway,
    html,
    problem,
    respond_with,
)
from tests.support.transports import client_to

NOW = datetime(2026, 6, 1, 12, 0, 0, 500_000, UTC)
BOTH = pytest.mark.parametrize("protocol", Protocol)


@pytest.fixture
async def central() -> AsyncIterator[ScriptedCentral]:
    async with ScriptedCentral() as scripted:
        yield scripted


async def outcome_from(
    central: ScriptedCentral, protocol: Protocol, token_file: Path | None = None
) -> ProbeOutcome:
    credentials = bearer(token_file) if token_file else NoCredentials()
    async with client_to(central.url, credentials) as client:
        return await probe_central(client, protocol)


def verdicts(outcome: ProbeOutcome, protocol: Protocol = Protocol.BATCH) -> tuple[Verdict, Verdict]:
    return (
        check_credentials(outcome, AuthKind.BEARER).verdict,
        check_protocol(outcome, protocol).verdict,
    )


@BOTH
async def test_responding_central_passes_and_keeps_no_record(
    central: ScriptedCentral, protocol: Protocol
) -> None:
    outcome = await outcome_from(central, protocol)

    assert verdicts(outcome, protocol) == (Verdict.PASS, Verdict.PASS)
    assert central.requests
    assert central.ledger.records == []


@BOTH
async def test_wrong_token_is_a_credentials_fault_only(
    central: ScriptedCentral, protocol: Protocol, tmp_path: Path
) -> None:
    central.credentials = {"Bearer right"}
    (tmp_path / "token").write_text("wrong\n")

    outcome = await outcome_from(central, protocol, tmp_path / "token")

    assert verdicts(outcome, protocol) == (Verdict.FAULT, Verdict.WARNING)
    assert "(HTTP 401)" in check_credentials(outcome, AuthKind.BEARER).found
    assert "loyalty-hq enroll" in check_credentials(outcome, AuthKind.BEARER).advice


@BOTH
async def test_right_token_is_accepted(
    central: ScriptedCentral, protocol: Protocol, tmp_path: Path
) -> None:
    central.credentials = {"Bearer right"}
    (tmp_path / "token").write_text("right\n")

    assert await outcome_from(central, protocol, tmp_path / "token") is None


@BOTH
@pytest.mark.parametrize(
    "fault",
    [
        captive_portal,
        html(502),
        gateway(504),
        html(404),
        problem(404, "NOT_FOUND"),
        problem(503, "UNAVAILABLE"),
        html(400),
    ],
)
async def test_response_outside_the_protocol_is_a_protocol_fault(
    central: ScriptedCentral, protocol: Protocol, fault: Fault
) -> None:
    central.script(fault)

    outcome = await outcome_from(central, protocol)

    assert verdicts(outcome, protocol) == (Verdict.WARNING, Verdict.FAULT)


@pytest.mark.parametrize(
    ("outcome", "kind", "advice"),
    [
        (Blocked(BlockedReason.UNAUTHORIZED, "no", 401), AuthKind.NONE, "set [central.auth]"),
        (
            Blocked(BlockedReason.UNAUTHORIZED, "no", 401),
            AuthKind.HEADER,
            "credentials issued for this machine",
        ),
        (
            Blocked(BlockedReason.FORBIDDEN, "no", 403),
            AuthKind.BEARER,
            "compare store_id and till_id",
        ),
        (Blocked(BlockedReason.CREDENTIALS, "no file"), AuthKind.BEARER, "to the files"),
        (RetryLater(FailureCause.NO_TOKEN, "endpoint"), AuthKind.OAUTH2, "central.auth.token_url"),
    ],
)
def test_rejected_credentials_advise_how_to_fix_them(
    outcome: ProbeOutcome, kind: AuthKind, advice: str
) -> None:
    check = check_credentials(outcome, kind)

    assert check.verdict is Verdict.FAULT
    assert advice in check.advice


def test_unreachable_central_leaves_credentials_and_protocol_unknown() -> None:
    outcome = RetryLater(FailureCause.NETWORK_DOWN, "no connection to head office")

    assert verdicts(outcome) == (Verdict.WARNING, Verdict.WARNING)


@pytest.mark.parametrize(
    ("ahead", "verdict", "words"),
    [
        (timedelta(seconds=59), Verdict.PASS, "within 60 s"),
        (timedelta(seconds=-59), Verdict.PASS, "within 60 s"),
        (timedelta(seconds=60), Verdict.WARNING, "60 s ahead of"),
        (timedelta(hours=-2), Verdict.WARNING, "7200 s behind"),
        (timedelta(days=1), Verdict.FAULT, "1 day ahead of"),
        (timedelta(days=-20_000), Verdict.FAULT, "20000 days behind"),
        (None, Verdict.WARNING, "unknown"),
    ],
)
def test_clock_verdict_depends_on_offset_from_central(
    ahead: timedelta | None, verdict: Verdict, words: str
) -> None:
    check = check_clock(ahead)

    assert check.verdict is verdict
    assert words in check.found


@pytest.mark.parametrize("status", [200, 401, 404])
async def test_clock_offset_is_read_from_the_date_of_any_response(
    central: ScriptedCentral, status: int
) -> None:
    there = (NOW - timedelta(hours=3)).replace(microsecond=0)
    central.script(
        respond_with(Answer(status, headers={"Date": format_datetime(there, usegmt=True)}))
    )

    assert await asked_for_its_clock(central) == timedelta(hours=3)


@pytest.mark.parametrize(
    "date",
    ["", "yesterday", "Mon, 99 Foo 2026", "Sun, 06 Nov 99999999999999999999 08:49:37 GMT"],
)
async def test_malformed_date_gives_no_clock_offset(central: ScriptedCentral, date: str) -> None:
    central.script(respond_with(Answer(200, headers={"Date": date})))

    assert await asked_for_its_clock(central) is None


async def test_clock_request_carries_no_credentials(central: ScriptedCentral) -> None:
    await asked_for_its_clock(central)

    (request,) = central.requests
    assert (request.method, request.headers.get("Authorization")) == ("GET", None)


async def test_unreachable_central_gives_no_clock_offset(central: ScriptedCentral) -> None:
    await central.stop()

    assert await asked_for_its_clock(central) is None


async def asked_for_its_clock(central: ScriptedCentral) -> timedelta | None:
    line = HttpClient(HttpOptions(timeout_seconds=10))
    try:
        return await measure_clock_offset(line, URL(central.url), lambda: NOW)
    finally:
        await line.close()


@pytest.mark.parametrize(
    ("token_url", "found"),
    [
        ("https://no-such-host.invalid/token", "the token endpoint's name cannot be resolved"),
        ("http://127.0.0.1:9/token", "no connection to the token endpoint: Connection refused"),
    ],
)
async def test_unreachable_token_endpoint_is_a_fault_though_head_office_is_reached(
    central: ScriptedCentral, tmp_path: Path, token_url: str, found: str
) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    http = HttpClient(HttpOptions(timeout_seconds=10))
    oauth = OAuthClient(token_url, "pos", tmp_path / "secret")
    credentials = ClientCredentials(http, oauth, lambda: 0.0, lambda: NOW)
    async with client_to(central.url, credentials) as client:
        outcome = await probe_central(client, Protocol.BATCH)
    await http.close()
    check = check_credentials(outcome, AuthKind.OAUTH2)
    assert (check.verdict, check.found) == (Verdict.FAULT, f"oauth2: {found}")
    assert "token_url" in check.advice
