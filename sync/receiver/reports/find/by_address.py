"""The events that hold an e-mail address, and the sessions that they answer: an access request."""

from collections import Counter
from collections.abc import AsyncIterator

from msgspec.structs import replace

from sync.receiver.db.database import Database
from sync.receiver.db.tables import answers, duplicates, rejections, sessions
from sync.receiver.privacy.forget import rows_with_address
from sync.receiver.privacy.redaction import Address
from sync.receiver.reports.find.events import FoundEvent, find_events, found_event
from sync.receiver.reports.find.query import Query

_EVENTS = (sessions, answers, rejections, duplicates)


async def find_by_address(
    database: Database, address: Address, others: Counter[str]
) -> AsyncIterator[FoundEvent]:
    """Yield the events, without the address; count the other rows that hold it, by table."""
    seen: set[FoundEvent] = set()
    known: set[tuple[str | None, str | None]] = set()
    async for table, rows in rows_with_address(database, address):
        if table not in _EVENTS:
            others[table.name] += len(rows)
            continue
        for one in (found_event(table, row) for row in rows):
            # A till can give thousands of answers to one session: it is read once.
            is_known = (one.store_id, one.correlation_id) in known
            known.add((one.store_id, one.correlation_id))
            async for event in _with_its_session(database, one, is_known=is_known):
                if event not in seen:
                    seen.add(event)
                    yield _without(address, event)


async def _with_its_session(
    database: Database, event: FoundEvent, *, is_known: bool
) -> AsyncIterator[FoundEvent]:
    yield event
    if event.correlation_id is not None and not is_known:
        async for other in find_events(database, Query(event.correlation_id), event.store_id):
            yield other


def _without(address: Address, event: FoundEvent) -> FoundEvent:
    """Return the event with the address redacted: a till can send it as an id."""
    texts = {
        name: address.redact(text)
        for name in ("correlation_id", "external_identifier", "reason", "status")
        if (text := getattr(event, name)) is not None
    }
    return replace(event, **texts)
