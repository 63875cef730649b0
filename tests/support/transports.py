"""Builders for transport tests: events, windows, and transports to a fake central."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from agent.facts import Timestamp
from sync.delivery.outbox import BatchLimits, OutboxEvent, Window
from sync.delivery.outcomes import Verdict
from sync.delivery.transport import WindowResult
from sync.delivery.transports.auth import Credentials, NoCredentials
from sync.delivery.transports.batch.batch_transport import BatchTransport
from sync.delivery.transports.batch.documents import Sender
from sync.delivery.transports.central_client import CentralClient
from sync.delivery.transports.http_client import HttpClient, HttpOptions
from sync.delivery.transports.replay.replay_transport import OnTerms, ReplayTransport
from sync.delivery.transports.short_retries import ShortRetries
from sync.protocol.wire import EventType

EPOCH = "6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
NOW_US = 1_772_600_767_000_000
BOOT = "9f0d8f57-0d6e-4b0e-9d7b-0f9c7c1d1f10"


AT = Timestamp(wall_us=NOW_US, monotonic_us=123_000_000)


def sender() -> Sender:
    return Sender("store-1", "till-1", BOOT, "0.1.0", lambda: AT)


def session(number: int, correlation_id: str | None = None, **fields: str) -> OutboxEvent:
    """A session start; position and sequence are `number`."""
    name = correlation_id or f"session-{number}"
    body = json.dumps({"correlationId": name, **fields}, separators=(",", ":")).encode()
    return OutboxEvent(
        position=number,
        sequence=number,
        type=EventType.SESSION_STARTED,
        session=number,
        correlation_id=name,
        occurred_at_us=NOW_US + number,
        monotonic_us=number,
        boot_id=BOOT,
        query_locale=None,
        body=body,
    )


def answer(
    number: int, of: OutboxEvent, status: str = "accepted", address: str = "a@example.com"
) -> OutboxEvent:
    """An answer to the e-mail prompt of the session `of`."""
    members = {"emailAddress": address, "status": status}
    if status != "accepted":
        del members["emailAddress"]
    return replace(
        of,
        position=number,
        sequence=number,
        type=EventType.EMAIL_ANSWERED,
        occurred_at_us=NOW_US + number,
        query_locale=None,
        body=json.dumps(members).encode(),
    )


def sessions(first: int, last: int) -> list[OutboxEvent]:
    return [session(number) for number in range(first, last + 1)]


def window(*events: OutboxEvent, base_sequence: int = 1) -> Window:
    return Window(EPOCH, base_sequence, events)


def verdicts(delivery: WindowResult) -> dict[int, Verdict]:
    """Return the verdicts by sequence; each event has at most one."""
    found = {judged.event.sequence: judged.verdict for judged in delivery.results}
    assert len(found) == len(delivery.results)
    return found


class RecordedSleeps:
    """A fake sleep that takes no time and records the seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@asynccontextmanager
async def client_to(
    url: str, credentials: Credentials | None = None, **rules: object
) -> AsyncIterator[CentralClient]:
    """Yield a client with its own connections, closed at the end."""
    http = HttpClient(replace(HttpOptions(timeout_seconds=10), **rules))  # type: ignore[arg-type]
    try:
        yield CentralClient(http, url, credentials or NoCredentials(), lambda: NOW)
    finally:
        await http.close()


def batch_transport(
    client: CentralClient, sleeps: RecordedSleeps | None = None, limits: BatchLimits | None = None
) -> BatchTransport:
    retries = ShortRetries(lambda: 0.5, sleeps or RecordedSleeps())
    return BatchTransport(client, sender(), retries, limits or BatchLimits(500, 1_048_576))


def replay_transport(
    client: CentralClient,
    sleeps: RecordedSleeps | None = None,
    *,
    max_in_flight: int = 8,
    on_terms: OnTerms = lambda _kind, _terms: None,
) -> ReplayTransport:
    return ReplayTransport(
        client,
        ShortRetries(lambda: 0.5, sleeps or RecordedSleeps()),
        BatchLimits(500, 1_048_576),
        max_in_flight=max_in_flight,
        on_terms=on_terms,
    )
