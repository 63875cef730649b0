"""Reads the records of the scripted head office and of the receiver in one format."""

import json
from pathlib import Path
from typing import Any

from sync.protocol.wire import EventType
from tests.support.central import Record, ScriptedCentral
from tests.support.head_office.postgresql import rows_at
from tests.support.shop.verdict import StoredRecord
from tests.support.sqlite import rows_in
from tests.support.till.requests import Kind

_KINDS = {EventType.SESSION_STARTED: Kind.SESSION, EventType.EMAIL_ANSWERED: Kind.EMAIL}
_RECEIVED = """
SELECT 'session.started', correlation_id, body, NULL, NULL, epoch, sequence FROM sessions
UNION ALL
SELECT 'email.answered', correlation_id, NULL, status, email_address, epoch, sequence
FROM email_answers
ORDER BY epoch, sequence
"""


def records_of(central: ScriptedCentral) -> list[StoredRecord]:
    """Return the records of the scripted head office, in order of arrival."""
    return [_scripted(record) for record in central.ledger.records]


def records_in(database: Path) -> list[StoredRecord]:
    """Return the records in the receiver's SQLite database, by epoch and sequence."""
    rows: list[tuple[Any, ...]] = rows_in(database, _RECEIVED)
    return [_received(*row) for row in rows]


async def records_at(url: str) -> list[StoredRecord]:
    """Return the records in the receiver's PostgreSQL database, by epoch and sequence."""
    rows: list[tuple[Any, ...]] = await rows_at(url, _RECEIVED)
    return [_received(*row) for row in rows]


def _received(
    kind: str,
    correlation_id: str,
    body: str,
    status: str | None,
    address: str | None,
    epoch: str,
    sequence: int,
) -> StoredRecord:
    content: object = body.encode() if status is None else (status, address)
    return StoredRecord(_KINDS[EventType(kind)], correlation_id, content, f"{epoch}/{sequence}")


def _scripted(record: Record) -> StoredRecord:
    content: object = record.body
    if record.type is EventType.EMAIL_ANSWERED:
        document = json.loads(record.body)
        content = (document["status"], document["emailAddress"])
    receipt = f"{record.epoch}/{record.sequence}" if record.epoch else None
    return StoredRecord(_KINDS[record.type], record.correlation_id, content, receipt)
