"""Read models of the JSON API: stores with their epochs, sessions with their e-mail answers.

They never contain an e-mail address.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, func, true
from sqlalchemy.orm import load_only
from sqlmodel import Session, col, select

from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.db.database import Database
from sync.receiver.db.tables import (
    AgentRecord,
    EmailAnswerRecord,
    LedgerTable,
    SessionRecord,
    TokenRecord,
)
from sync.receiver.db.tables import agents as agent_table

_EPOCH = (
    "epoch",
    "accepted_through",
    "last_sequence",
    "last_seen_at",
    "agent_version",
    "watermark",
    "outstanding",
    "dead_letters",
    "oldest_undelivered_at",
    "last_activity_at",
)
_EVENT = (
    "store_id",
    "till_id",
    "epoch",
    "sequence",
    "occurred_at",
    "received_at",
    "corrected_at",
    "clock_trusted",
)
_SESSION = ("correlation_id", *_EVENT, "channel", "locale", "user_status")
_ANSWER = (*_EVENT, "status")


async def list_stores(database: Database, store_id: str | None) -> list[dict[str, object]]:
    """Return the tills in service with their epochs, of one store or of all, in order."""
    if store_id is not None and not is_valid_text(store_id):
        return []
    return await database.read(partial(_stores, store_id=store_id))


async def find_sessions(database: Database, correlation_id: str) -> list[dict[str, object]]:
    """Return the sessions with this correlation id, each with its e-mail answers in order."""
    if not is_valid_text(correlation_id):
        return []
    return await database.read(partial(_sessions, correlation_id=correlation_id))


def is_valid_text(text: str) -> bool:
    """Return whether the text can be a query parameter: PostgreSQL rejects NUL in text."""
    return "\0" not in text


def _stores(connection: Connection, store_id: str | None) -> list[dict[str, object]]:
    def is_wanted(column: str) -> ColumnElement[bool]:
        return true() if store_id is None else col(column) == store_id

    enrolled = select(TokenRecord.store_id, TokenRecord.till_id).distinct()
    # Plain rows: as objects of the ORM the epochs of a chain took twice the processor time.
    in_service = agent_table.c.retired_at.is_(None)
    agents = sa.select(agent_table).where(in_service).order_by(*agent_table.primary_key)
    with Session(connection) as session:
        found: dict[tuple[str, str], list[dict[str, object]]] = {
            name: [] for name in session.exec(enrolled.where(is_wanted(TokenRecord.store_id)))
        }
        for agent in connection.execute(agents.where(is_wanted(AgentRecord.store_id))):
            epochs = found.setdefault((agent.store_id, agent.till_id), [])
            epochs.append(_members(agent, _EPOCH))
    return [
        {"storeId": store, "tillId": till, "epochs": found[store, till]}
        for store, till in sorted(found)
    ]


def _sessions(connection: Connection, correlation_id: str) -> list[dict[str, object]]:
    sessions = (
        select(SessionRecord)
        .options(load_only(*(getattr(SessionRecord, name) for name in _SESSION)))
        # The index begins with `store_id`: the condition on it makes the index usable.
        .where(col(SessionRecord.store_id).in_(select(AgentRecord.store_id)))
        .where(SessionRecord.correlation_id == correlation_id)
        .order_by(col(SessionRecord.store_id))
    )
    with Session(connection) as session:
        return [
            _members(found, _SESSION)
            | {"emailAnswers": _answers(session, found.store_id, correlation_id)}
            for found in session.exec(sessions).all()
        ]


def _answers(session: Session, store_id: str, correlation_id: str) -> list[dict[str, object]]:
    epoch = (col(EmailAnswerRecord.till_id), col(EmailAnswerRecord.epoch))
    first_arrival = func.min(EmailAnswerRecord.received_at).over(partition_by=epoch)
    answers = (
        select(EmailAnswerRecord)
        .options(load_only(*(getattr(EmailAnswerRecord, name) for name in _ANSWER)))
        .where(EmailAnswerRecord.store_id == store_id)
        .where(EmailAnswerRecord.correlation_id == correlation_id)
        # By sequence number; epochs in the order in which their first answer arrived.
        .order_by(first_arrival, *epoch, col(EmailAnswerRecord.sequence))
    )
    return [_members(answer, _ANSWER) for answer in session.exec(answers)]


def _members(row: LedgerTable | sa.Row[Any], columns: Sequence[str]) -> dict[str, object]:
    """Return the columns as members of a JSON object."""
    members: dict[str, object] = {}
    for name in columns:
        first, *rest = name.split("_")
        value = getattr(row, name)
        is_time = isinstance(value, datetime)
        member = first + "".join(word.capitalize() for word in rest)
        members[member] = to_rfc3339(value, "milliseconds") if is_time else value
    return members
