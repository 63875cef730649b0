"""Keeps digests of events before they are purged, in the purge's own transaction."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import cache
from typing import TypeAlias

import sqlalchemy as sa

from sync.protocol.wire import EventType
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db import conditions, statements
from sync.receiver.db.tables import answers, duplicates, sessions
from sync.receiver.ingest.deduplication.purged import (
    duplicate_digest,
    first_of_block,
    merged,
    short_digest,
)
from sync.receiver.ingest.events import AnswerEvent, SessionEvent
from sync.receiver.ingest.rows import Row, epoch_key

# Between two reads, head office answers other requests. A body has up to 32 KiB.
_ROWS_PER_READ = 100
_AFTER, _MOST = (
    sa.bindparam("after", type_=sa.BigInteger),
    sa.bindparam("most", type_=sa.BigInteger),
)
_SESSION = ("sequence", "correlation_id", "occurred_at", "query_locale", "body")
_ANSWER = ("sequence", "correlation_id", "occurred_at", "status", "body")
_DUPLICATE = ("sequence", "correlation_id", "type", "digest")
_Condition: TypeAlias = Callable[[sa.Table], sa.ColumnElement[bool]]


def keep_digests(
    connection: sa.Connection,
    name: AgentName,
    epoch: str,
    condition: _Condition,
    **values: object,
) -> None:
    """Keep the digests of the epoch's events that meet `condition`, bound to `values`.

    The epoch's row in `agents` is locked: no other transaction writes its digests.
    """
    key: Mapping[str, object] = {**conditions.params_for(name, epoch), **values}
    digests: dict[int, bytes] = {}
    for select in _selects(condition):
        after = 0
        while True:
            page = {**key, "after": after, "most": _ROWS_PER_READ}
            rows = connection.execute(select, page).mappings().all()
            digests |= {row["sequence"]: _digest(row) for row in rows}
            if len(rows) < _ROWS_PER_READ:
                break
            after = rows[-1]["sequence"]
    if digests:
        _write(connection, name, epoch, digests)


@cache
def _selects(condition: _Condition) -> list[sa.Select[tuple[object, ...]]]:
    return [
        sa.select(*(table.c[name] for name in columns))
        .where(condition(table), table.c.sequence > _AFTER)
        .order_by(table.c.sequence)
        .limit(_MOST)
        for table, columns in (
            (sessions, _SESSION),
            (answers, _ANSWER),
            (duplicates, _DUPLICATE),
        )
    ]


def _digest(row: sa.RowMapping) -> bytes:
    if "type" in row:
        return duplicate_digest(EventType(row["type"]), row["correlation_id"], row["digest"])
    if "status" in row:
        return short_digest(AnswerEvent(**row, email_address=None, address_erased=False))
    return short_digest(SessionEvent(**row))


def _write(
    connection: sa.Connection, name: AgentName, epoch: str, digests: Mapping[int, bytes]
) -> None:
    added: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
    for number, digest in digests.items():
        added[first_of_block(number)][number] = digest
    key = conditions.params_for(name, epoch)
    found = connection.execute(statements.SELECT_PURGED_DIGESTS, {**key, "numbers": [*added]})
    blocks = {row.first_sequence: row.digests for row in found}
    rows: list[Row] = []
    for first, some in added.items():
        block = merged(blocks.get(first, b""), first, some)
        last = first + len(block) // len(next(iter(some.values()))) - 1
        row = {"first_sequence": first, "last_sequence": last, "digests": block}
        rows.append({**epoch_key(name, epoch), **row})
    connection.execute(statements.upsert_purged_digests(connection.dialect.name), rows)
