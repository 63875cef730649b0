"""Read models of the JSON API. They never contain an e-mail address."""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, func, select, true
from sqlalchemy.exc import SQLAlchemyError

from sync.receiver.db.database import Database
from sync.receiver.db.tables import AgentRow, EmailAnswerRow, SessionRow, TokenRow, table_of

_agents, _tokens = table_of(AgentRow), table_of(TokenRow)
_sessions, _answers = table_of(SessionRow), table_of(EmailAnswerRow)
# By sequence number; epochs in the order in which their first answer arrived.
_IN_ORDER = (
    func.min(_answers.c.received_at).over(partition_by=(_answers.c.till_id, _answers.c.epoch)),
    _answers.c.till_id,
    _answers.c.epoch,
    _answers.c.sequence,
)
_EPOCH = (
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


class Views:
    """Short queries, each in one read transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self) -> None:
        """Raise the database's error if it cannot be read."""
        await self._database.read(_look)

    async def pulse(self) -> bool:
        """Return True once the database has responded, even with an error."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self.check()
        return True

    async def stores(self, store_id: str | None = None) -> list[dict[str, object]]:
        """Return the enrolled tills with their epochs, of one store or of all, in order."""
        if store_id is not None and not can_be_a_name(store_id):
            return []
        return await self._database.read(partial(_stores, store_id=store_id))

    async def sessions(self, correlation_id: str) -> list[dict[str, object]]:
        """Return the sessions with this correlation id, each with its e-mail answers in order."""
        if not can_be_a_name(correlation_id):
            return []
        return await self._database.read(lambda connection: _under(connection, correlation_id))


def can_be_a_name(text: str) -> bool:
    """Return whether the text can be a query parameter: PostgreSQL rejects NUL in text."""
    return "\0" not in text


def _look(connection: Connection) -> None:
    connection.execute(select(_tokens.c.store_id).limit(1))


def _stores(connection: Connection, store_id: str | None) -> list[dict[str, object]]:
    names = select(_tokens.c.store_id, _tokens.c.till_id).where(_of(_tokens, store_id)).distinct()
    enrolled = connection.execute(names)
    found: dict[tuple[str, str], list[dict[str, object]]] = {
        (row.store_id, row.till_id): [] for row in enrolled
    }
    by_key = select(_agents).where(_of(_agents, store_id)).order_by(*_agents.primary_key)
    for row in connection.execute(by_key).mappings():
        shown = {"epoch": row["epoch"], **_shown(row, _EPOCH)}
        found.setdefault((row["store_id"], row["till_id"]), []).append(shown)
    return [
        {"storeId": store_id, "tillId": till_id, "epochs": found[store_id, till_id]}
        for store_id, till_id in sorted(found)
    ]


def _of(table: Table, store_id: str | None) -> ColumnElement[bool]:
    return true() if store_id is None else table.c.store_id == store_id


def _under(connection: Connection, correlation_id: str) -> list[dict[str, object]]:
    # The index begins with `store_id`: the condition on it makes the index usable.
    under_id = (
        select(_sessions)
        .where(
            _sessions.c.store_id.in_(select(_agents.c.store_id)),
            _sessions.c.correlation_id == correlation_id,
        )
        .order_by(_sessions.c.store_id)
    )
    return [
        {
            "correlationId": correlation_id,
            **_shown(row, (*_EVENT, "channel", "locale", "user_status")),
            "emailAnswers": [
                _shown(answer, (*_EVENT, "status")) for answer in _answers_of(connection, row)
            ],
        }
        for row in connection.execute(under_id).mappings().all()
    ]


def _answers_of(connection: Connection, session: RowMapping) -> Sequence[RowMapping]:
    statement = (
        select(_answers)
        .where(
            _answers.c.store_id == session["store_id"],
            _answers.c.correlation_id == session["correlation_id"],
        )
        .order_by(*_IN_ORDER)
    )
    return connection.execute(statement).mappings().all()


def _shown(row: RowMapping, columns: Sequence[str]) -> dict[str, object]:
    """Return the columns as members of a JSON object."""
    return {_camel(name): _plain(row[name]) for name in columns}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return f"{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
    return value
