"""Checks of head office's clock, credentials and protocol.

The requests create no record there. `batch` requests the program terms. `replay` has no
read-only endpoint, so it sends an e-mail answer that is invalid twice: its status is unknown and
its session was never started (`reference/set-email.txt`).
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeAlias, assert_never

import msgspec
from yarl import URL

from agent.config.delivery import AuthKind, Protocol
from agent.doctor.check import Check, fault, passed, warning
from sync.delivery.outcomes import Blocked, BlockedReason, FailureCause, RetryLater
from sync.delivery.transports.batch.terms import fetch_terms
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient, HttpResponse
from sync.delivery.transports.responses import error_body, no_such_endpoint, unexpected

_CLOCK, _CREDENTIALS, _PROTOCOL = "clock", "credentials", "protocol"
_SMALL = timedelta(minutes=1)
_LARGE = timedelta(days=1)
_IMPOSSIBLE_ANSWER = msgspec.json.encode({"status": "loyalty-agent doctor"})
_JSON = {"Content-Type": "application/json"}
# 404 is not included: a wrong URL yields it too, with the same body.
_REFUSES_A_RECORD = {HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
_ABOUT_CREDENTIALS = {
    BlockedReason.UNAUTHORIZED,
    BlockedReason.FORBIDDEN,
    BlockedReason.CREDENTIALS,
}


@dataclass(frozen=True, slots=True)
class Spoken:
    """Central answered according to the protocol."""


Heard: TypeAlias = Spoken | Blocked | RetryLater


async def look_at_clock(
    line: HttpClient, url: URL, now: Callable[[], datetime]
) -> timedelta | None:
    """Return how far this machine's clock is ahead of central's; None if unknown.

    Reads the `Date` header (RFC 9110, 6.6.1) of any response; the request has no credentials.
    """
    before = now()
    answer = await line.request("GET", url, headers={})
    after = now()
    there = _date_in(answer) if isinstance(answer, HttpResponse) else None
    # Date is truncated to a second and was generated between `before` and `after`.
    return None if there is None else before + (after - before) / 2 - there - _HALF_A_SECOND


def judge_clock(ahead: timedelta | None) -> Check:
    """Judge the clock offset."""
    if ahead is None:
        advice = "see to the connection first"
        return warning(_CLOCK, "central's time is not known", advice)
    word = "ahead of" if ahead > timedelta(0) else "behind"
    found = f"{_rounded(abs(ahead))} {word} central's"
    advice = "set the clock, and have it kept (timedatectl set-ntp true)"
    if abs(ahead) >= _LARGE:
        return fault(_CLOCK, f"{found}: certificates can count as expired or not yet valid", advice)
    if abs(ahead) >= _SMALL:
        return warning(_CLOCK, f"{found}; the order of captures does not depend on it", advice)
    return passed(_CLOCK, f"within {_SMALL.seconds} s of central's")


async def ask_central(caller: CentralClient, protocol: Protocol) -> Heard:
    """Send a request that creates no record; return the outcome."""
    match protocol:
        case Protocol.BATCH:
            found = await fetch_terms(caller, None)
            return found if isinstance(found, Blocked | RetryLater) else Spoken()
        case Protocol.REPLAY:
            return await _ask_loyalty_api(caller)
        case _:
            assert_never(protocol)


def judge_credentials(heard: Heard, kind: AuthKind) -> Check:
    """Judge if central accepts the credentials."""
    if isinstance(heard, Spoken):
        none = kind is AuthKind.NONE
        return passed(_CREDENTIALS, "none are asked for" if none else f"{kind}: accepted")
    if isinstance(heard, Blocked) and heard.reason in _ABOUT_CREDENTIALS:
        return fault(_CREDENTIALS, f"{kind}: {_said(heard)}", _advice_on(heard.reason, kind))
    if isinstance(heard, RetryLater) and heard.cause is FailureCause.NO_TOKEN:
        advice = "see to the token endpoint, or to the way to it (central.auth.token_url)"
        return fault(_CREDENTIALS, f"{kind}: {heard.detail}", advice)
    advice = "see to the connection and the protocol first"
    return warning(_CREDENTIALS, "not known whether they are accepted", advice)


def judge_protocol(heard: Heard, protocol: Protocol) -> Check:
    """Judge if central speaks the configured protocol."""
    match heard:
        case Spoken():
            return passed(_PROTOCOL, f"{protocol}: answered as it should be")
        case Blocked() if heard.reason in _ABOUT_CREDENTIALS:
            return warning(_PROTOCOL, f"{protocol}: not known", "see to the credentials first")
        case Blocked():
            advice = "compare central.url and central.protocol with what head office says"
            return fault(_PROTOCOL, f"{protocol}: {_said(heard)}", advice)
        case RetryLater() if heard.cause is FailureCause.UNEXPECTED_RESPONSE:
            advice = "something in between answers (a portal, a proxy), or central.url is wrong"
            return fault(_PROTOCOL, f"{protocol}: {heard.detail}", advice)
        case RetryLater() if heard.cause in {FailureCause.OVERLOADED, FailureCause.SERVER_ERROR}:
            advice = "head office has trouble of its own: captures wait here and are sent later"
            return fault(_PROTOCOL, f"{protocol}: {heard.cause} ({heard.detail})", advice)
        case RetryLater():
            return warning(_PROTOCOL, f"{protocol}: not known", "see to the connection first")
        case _:
            assert_never(heard)


async def _ask_loyalty_api(caller: CentralClient) -> Heard:
    path = f"/client/users/{uuid.uuid4()}/profile/email"
    answer = await caller.request("PUT", path, body=_IMPOSSIBLE_ANSWER, headers=_JSON)
    if not isinstance(answer, HttpResponse):
        return answer
    if answer.status in _REFUSES_A_RECORD and error_body(answer) is not None:
        return Spoken()
    if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        return no_such_endpoint(answer)
    return unexpected(answer, "not the loyalty API's response")


def _date_in(answer: HttpResponse) -> datetime | None:
    try:
        found = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _said(hold: Blocked) -> str:
    status = f" (HTTP {hold.http_status})" if hold.http_status else ""
    return hold.detail + status


def _advice_on(reason: BlockedReason, kind: AuthKind) -> str:
    if kind is AuthKind.NONE:
        return "set [central.auth] as head office says"
    if kind is AuthKind.BEARER and reason is BlockedReason.UNAUTHORIZED:
        return "have a new token made (loyalty-hq enroll STORE_ID TILL_ID) and put into token_file"
    if reason is BlockedReason.FORBIDDEN:
        return "compare store_id and till_id with those that the credentials were given out for"
    return "put into the files of [central.auth] what head office gave for this machine"


def _rounded(length: timedelta) -> str:
    if length >= _LARGE:
        return "1 day" if length.days == 1 else f"{length.days} days"
    return f"{length.total_seconds():.0f} s"


_HALF_A_SECOND = timedelta(seconds=0.5)
