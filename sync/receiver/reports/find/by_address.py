"""The events that hold an e-mail address, and the sessions that they answer: an access request.

With their content, in which a mark stands for the address.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator

from msgspec.structs import replace
from sqlalchemy import RowMapping, Table

from sync.protocol.wire import EventType
from sync.receiver.db.database import Database
from sync.receiver.db.tables import answers, duplicates, rejections, sessions
from sync.receiver.privacy.forget import rows_with_address
from sync.receiver.privacy.redaction import MARK, Address
from sync.receiver.reports.find.events import FoundEvent, find_events, found_event
from sync.receiver.reports.find.query import Query

_MARK = "[this address]"
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
        for one in (_with_content(table, row) for row in rows):
            # A till can give thousands of answers to one session: it is read once.
            is_known = (one.store_id, one.correlation_id) in known
            known.add((one.store_id, one.correlation_id))
            async for event in _with_its_session(database, one, is_known=is_known):
                if event not in seen:
                    seen.add(event)
                    yield _without(address, event)


def _with_content(table: Table, row: RowMapping) -> FoundEvent:
    """Return the event; an answer's body is stored without the address, and gets it back."""
    event = found_event(table, row)
    if table is not answers or row["email_address"] is None:
        return event
    body = json.loads(row["body"]) | {"emailAddress": row["email_address"]}
    return replace(event, body=json.dumps(body, ensure_ascii=False))


async def _with_its_session(
    database: Database, event: FoundEvent, *, is_known: bool
) -> AsyncIterator[FoundEvent]:
    yield event
    if event.correlation_id is not None and not is_known:
        async for other in find_events(database, Query(event.correlation_id), event.store_id):
            # An answer to the session without this address may be another person's.
            if other.type == EventType.SESSION_STARTED:
                yield other


def _without(address: Address, event: FoundEvent) -> FoundEvent:
    """Return the event with the address redacted: a till can send it as an id."""
    texts = {
        name: address.redact(text, _MARK)
        for name in ("correlation_id", "external_identifier", "reason", "status")
        if (text := getattr(event, name)) is not None
    }
    body = event.body and address.redact_json(event.body).replace(MARK, _MARK)
    return replace(event, **texts, body=body)
