"""Read model of the JSON API and of pages: sessions with their e-mail answers.

They never contain an e-mail address.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import func

from sync.protocol.rfc3339 import json_time
from sync.receiver.db.columns import JsonTexts
from sync.receiver.db.conditions import IS_CURRENT, Among
from sync.receiver.db.database import Reads
from sync.receiver.db.tables import agents, answers, sessions

# A till chooses the ids of its sessions: one id can be in every store.
STORES_PER_READ = 50
# The last answer counts. A till can give any number of them; people give one or two.
MAX_ANSWERS = 200
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
_SESSION = (
    "correlation_id",
    *_EVENT,
    "external_identifier",
    "channel",
    "locale",
    "user_status",
)
_ANSWER = (*_EVENT, "status")


async def find_sessions(
    database: Reads, correlation_id: str, after: str = "", limit: int = STORES_PER_READ
) -> list[dict[str, object]]:
    """Return the sessions with this correlation id in the first `limit` stores above `after`.

    Two tills of a store can have the same id: the session that was captured first `stands`. Each
    has the last `MAX_ANSWERS` e-mail answers of each till in order; if there are more,
    `emailAnswersOmitted` says how many.
    """
    if not is_valid_text(correlation_id):
        return []
    find = partial(_sessions, correlation_id=correlation_id, after=after, limit=limit)
    return await database.read(find)


async def sessions_json(database: Reads, correlation_id: str) -> AsyncIterator[bytes]:
    """Yield `{"sessions":[…]}` with all sessions of this id; nothing if there are none.

    A document cut short is invalid JSON.
    """
    separator, after = b'{"sessions":[', ""
    while found := await find_sessions(database, correlation_id, after, STORES_PER_READ):
        yield separator + b",".join(msgspec.json.encode(one) for one in found)
        separator, after = b",", str(found[-1]["storeId"])
        if len({one["storeId"] for one in found}) < STORES_PER_READ:
            break
    if after:
        yield b"]}\n"


def is_valid_text(text: str) -> bool:
    """Return whether the text can be a query parameter: PostgreSQL rejects NUL in text."""
    return "\0" not in text


def json_members(row: sa.RowMapping, columns: Sequence[str]) -> dict[str, object]:
    """Return the columns as members of a JSON object."""
    values = ((_member(name), row[name]) for name in columns)
    return {
        name: json_time(value) if isinstance(value, datetime) else value for name, value in values
    }


@cache
def _member(column: str) -> str:
    first, *rest = column.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _sessions(
    connection: sa.Connection, correlation_id: str, after: str, limit: int
) -> list[dict[str, object]]:
    # The index begins with `store_id`: the condition on it makes the index usable.
    known = sa.select(agents.c.store_id).where(IS_CURRENT)
    statement = (
        sa.select(sessions.c.store_id)
        .distinct()
        .where(sessions.c.correlation_id == correlation_id)
        .where(sessions.c.store_id.in_(known), sessions.c.store_id > after)
        .order_by(sessions.c.store_id)
        .limit(limit)
    )
    stores = [row.store_id for row in connection.execute(statement)]
    if not stores:
        return []
    rows = connection.execute(_sessions_in(correlation_id, stores)).mappings().all()
    given: dict[str, list[sa.RowMapping]] = {store_id: [] for store_id in stores}
    for answer in connection.execute(_last_answers(correlation_id, stores)).mappings():
        given[answer["store_id"]].append(answer)
    found: list[dict[str, object]] = []
    for store_id, in_store in groupby(rows, key=itemgetter("store_id")):
        found += _in_one_store(list(in_store), given[store_id])
    return found


def _in_one_store(
    rows: Sequence[sa.RowMapping], given: Sequence[sa.RowMapping]
) -> list[dict[str, object]]:
    """Return a store's sessions with their answers; the first of them stands.

    An answer belongs to its till's session, or if that has none, to the one that stands.
    """
    tills = {row["till_id"] for row in rows}
    found: list[dict[str, object]] = []
    for row in rows:
        stands = row is rows[0]
        own = [
            answer
            for answer in given
            if answer["till_id"] == row["till_id"] or (stands and answer["till_id"] not in tills)
        ]
        members = json_members(row, _SESSION) | {"stands": stands}
        members["emailAnswers"] = [json_members(answer, _ANSWER) for answer in own]
        if omitted := sum(
            {one["till_id"]: max(one["total"] - MAX_ANSWERS, 0) for one in own}.values()
        ):
            members["emailAnswersOmitted"] = omitted
        found.append(members)
    return found


def _sessions_in(correlation_id: str, stores: Sequence[str]) -> sa.Select[Any]:
    """Select the sessions in some stores; in each store the first captured one comes first.

    An unknown time is not later than the arrival.
    """
    captured_at = func.coalesce(sessions.c.corrected_at, sessions.c.received_at)
    order = (captured_at, sessions.c.received_at, sessions.c.till_id)
    in_stores = Among(sessions.c.store_id, sa.bindparam(None, stores, type_=JsonTexts))
    return (
        sa.select(*(sessions.c[name] for name in _SESSION))
        .where(sessions.c.correlation_id == correlation_id, in_stores)
        .order_by(sessions.c.store_id, *order)
    )


def _last_answers(correlation_id: str, stores: Sequence[str]) -> sa.Select[Any]:
    """Select the last answers of each till, in order.

    By sequence number; epochs in the order in which their first answer arrived.
    """
    epoch = (answers.c.store_id, answers.c.till_id, answers.c.epoch)
    in_stores = Among(answers.c.store_id, sa.bindparam(None, stores, type_=JsonTexts))
    every = (
        sa.select(
            *(answers.c[name] for name in _ANSWER),
            func.min(answers.c.received_at).over(partition_by=epoch).label("first_arrival"),
            func.count().over(partition_by=(answers.c.store_id, answers.c.till_id)).label("total"),
        )
        .where(answers.c.correlation_id == correlation_id, in_stores)
        .subquery()
    )
    order = [every.c[name] for name in ("first_arrival", "till_id", "epoch", "sequence")]
    from_end = func.row_number().over(
        partition_by=(every.c.store_id, every.c.till_id),
        order_by=[column.desc() for column in order],
    )
    ranked = sa.select(every, from_end.label("from_end")).subquery()
    in_order = [ranked.c[column.name] for column in (every.c.store_id, *order)]
    return sa.select(ranked).where(ranked.c.from_end <= MAX_ANSWERS).order_by(*in_order)
