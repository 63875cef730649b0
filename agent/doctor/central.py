"""Checks of head office's clock, credentials and protocol.

The requests create no record there. `batch` requests the program terms. `replay` has no
read-only endpoint, so it sends an e-mail answer that is invalid twice: its status is unknown and
its session was never started (`docs/till-api.md`).
"""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TypeAlias, assert_never

import msgspec
from yarl import URL

from agent.config.central import AuthKind, Protocol
from agent.doctor.connection import ADVICE_ON_PROXY
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.batch.control_requests import fetch_terms
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient, HttpResponse
from sync.delivery.transports.oauth import TOKEN_ENDPOINT
from sync.delivery.transports.responses import error_body, http_date, outside_protocol
from sync.runtime.checks.check import Check, fault, passed, warning

_CLOCK, _CREDENTIALS, _PROTOCOL = "clock", "credentials", "protocol"
_WARNING_OFFSET = timedelta(minutes=1)
_FAULT_OFFSET = timedelta(days=1)
_INVALID_ANSWER = msgspec.json.encode({"status": "loyalty-agent doctor"})
_JSON = {"Content-Type": "application/json"}
# 404 is not included: a wrong URL yields it too, with the same body.
_RECORD_REJECTED = {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
_ADVICE_ON_GATEWAY = "a portal, proxy or gateway in between responds, or central.url is wrong"
_CREDENTIALS_REJECTED = {
    BlockedReason.UNAUTHORIZED,
    BlockedReason.FORBIDDEN,
    BlockedReason.CREDENTIALS,
}

# None: central answered according to the protocol.
ProbeOutcome: TypeAlias = Blocked | RetryLater | None


async def measure_clock_offset(
    client: HttpClient, url: URL, now: Callable[[], datetime]
) -> timedelta | None:
    """Return how far this machine's clock is ahead of central's; None if unknown.

    Reads the `Date` header (RFC 9110, 6.6.1) of any response; the request has no credentials.
    """
    before = now()
    response = await client.request("GET", url, headers={})
    after = now()
    sent = response.headers.get("Date") if isinstance(response, HttpResponse) else None
    date = http_date(sent)
    if date is None:
        return None
    # Date is truncated to a second and was generated between `before` and `after`.
    return before + (after - before) / 2 - date - timedelta(seconds=0.5)


def check_clock(ahead: timedelta | None) -> Check:
    """Judge the clock offset."""
    if ahead is None:
        return warning(_CLOCK, "head office's time is unknown", "fix the connection first")
    direction = "ahead of" if ahead > timedelta(0) else "behind"
    found = f"{_format(abs(ahead))} {direction} head office's clock"
    advice = "set the clock and keep it synchronised (timedatectl set-ntp true)"
    if abs(ahead) >= _FAULT_OFFSET:
        return fault(_CLOCK, f"{found}: certificates may appear expired or not yet valid", advice)
    if abs(ahead) >= _WARNING_OFFSET:
        return warning(_CLOCK, f"{found}; the order of captures is not affected", advice)
    return passed(_CLOCK, f"within {_WARNING_OFFSET.seconds} s of head office's clock")


async def probe_central(client: CentralClient, protocol: Protocol) -> ProbeOutcome:
    """Send a request that creates no record; return the outcome."""
    match protocol:
        case Protocol.BATCH:
            terms = await fetch_terms(client, None)
            return terms if isinstance(terms, Blocked | RetryLater) else None
        case Protocol.REPLAY:
            return await _probe_loyalty_api(client)
        case _:
            assert_never(protocol)


def check_credentials(outcome: ProbeOutcome, kind: AuthKind) -> Check:
    """Judge if central accepts the credentials."""
    if outcome is None:
        is_open = kind is AuthKind.NONE
        return passed(_CREDENTIALS, "none required" if is_open else f"{kind}: accepted")
    if isinstance(outcome, Blocked) and outcome.reason in _CREDENTIALS_REJECTED:
        advice = _advice_on(outcome.reason, kind)
        return fault(_CREDENTIALS, f"{kind}: {_describe(outcome)}", advice)
    if isinstance(outcome, RetryLater) and (
        outcome.cause is FailureCause.NO_TOKEN or TOKEN_ENDPOINT in outcome.detail
    ):
        advice = "check the token endpoint and the connection to it (central.auth.token_url)"
        return fault(_CREDENTIALS, f"{kind}: {outcome.detail}", advice)
    advice = "fix the connection and the protocol first"
    return warning(_CREDENTIALS, "not verified", advice)


def check_protocol(outcome: ProbeOutcome, protocol: Protocol) -> Check:
    """Judge if central speaks the configured protocol."""
    match outcome:
        case None:
            return passed(_PROTOCOL, f"{protocol}: valid response")
        case Blocked() if outcome.reason in _CREDENTIALS_REJECTED:
            return warning(_PROTOCOL, f"{protocol}: not verified", "fix the credentials first")
        case Blocked(BlockedReason.GATEWAY) | RetryLater(FailureCause.UNEXPECTED_RESPONSE):
            return fault(_PROTOCOL, f"{protocol}: {outcome.detail}", _ADVICE_ON_GATEWAY)
        case Blocked():
            advice = "compare central.url and central.protocol with the values given by head office"
            if outcome.reason is BlockedReason.PROXY:
                advice = ADVICE_ON_PROXY
            return fault(_PROTOCOL, f"{protocol}: {_describe(outcome)}", advice)
        case RetryLater() if outcome.cause in {FailureCause.OVERLOADED, FailureCause.SERVER_ERROR}:
            advice = "head office has a fault: captures are kept here and sent later"
            return fault(_PROTOCOL, f"{protocol}: {outcome.cause} ({outcome.detail})", advice)
        case RetryLater():
            return warning(_PROTOCOL, f"{protocol}: not verified", "fix the connection first")
        case _:
            assert_never(outcome)


async def _probe_loyalty_api(client: CentralClient) -> ProbeOutcome:
    path = f"/client/users/{uuid.uuid4()}/profile/email"
    response = await client.request("PUT", path, body=_INVALID_ANSWER, headers=_JSON)
    if not isinstance(response, HttpResponse):
        return response
    if response.status in _RECORD_REJECTED and error_body(response) is not None:
        return None
    return outside_protocol(response, "not a response of the loyalty API")


def _describe(blocked: Blocked) -> str:
    status = f" (HTTP {blocked.http_status})" if blocked.http_status else ""
    return blocked.detail + status


def _advice_on(reason: BlockedReason, kind: AuthKind) -> str:
    if kind is AuthKind.OAUTH2 and reason is BlockedReason.CREDENTIALS:
        return "compare [central.auth] with the values given by whoever runs the token endpoint"
    if kind is AuthKind.NONE:
        return "set [central.auth] to the values given by head office"
    if kind is AuthKind.BEARER and reason is BlockedReason.UNAUTHORIZED:
        return "issue a new token (loyalty-hq enroll STORE_ID TILL_ID) and write it to token_file"
    if reason is BlockedReason.FORBIDDEN:
        return "compare store_id and till_id with the names for which the credentials were issued"
    return "write the credentials issued for this machine to the files of [central.auth]"


def _format(length: timedelta) -> str:
    if length >= _FAULT_OFFSET:
        return "1 day" if length.days == 1 else f"{length.days} days"
    return f"{length.total_seconds():.0f} s"
