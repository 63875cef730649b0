"""Fills a ledger with a chain of healthy and unhealthy stores, for tests of the pages."""

from datetime import datetime, timedelta
from functools import partial
from itertools import islice

from sqlalchemy import Connection

from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.database import Database
from sync.receiver.db.tables import AgentRecord, HourRecord, TokenRecord, table_of
from tests.support.head_office.messages import AT, EPOCH

OWN_VERSION = "0.1.0"
_AT_ONCE = 5000
Row = dict[str, object]
_GIB = 1024**3
# Rows of unhealthy stores; every n-th store has these values.
_KINDS: dict[int, Row] = {
    97: dict.fromkeys(("last_seen_at", "heartbeat_at", "agent_sent_at"), AT - timedelta(days=3)),
    89: {"dead_letters": 3},
    83: {"free_bytes": _GIB // 5},
    79: {"agent_sent_at": AT - timedelta(hours=7)},
    41: {
        "outstanding": 12_400,
        "oldest_undelivered_at": AT - timedelta(hours=5),
        "outstanding_before": 13_000,
        "heartbeat_before_at": AT - timedelta(minutes=1),
    },
    13: {"agent_version": "0.0.9"},
    59: {"last_seen_at": AT - timedelta(hours=9), "closed_at": AT - timedelta(hours=9)},
    61: {"closed_at": AT - timedelta(hours=9), "last_sequence": 10_000, "outstanding": 7},
    67: {"closed_at": AT - timedelta(days=9)},
    73: {"speaker_returns": 5, "speaker_returned_at": AT - timedelta(minutes=2)},
    43: dict.fromkeys(("last_seen_at", "heartbeat_at", "agent_sent_at", "agent_version")),
}


async def fill(database: Database, stores: int, tills: int = 2) -> None:
    """Insert so many stores into an open database; most are healthy."""
    rows = (
        _row(f"{store:05}", f"till-{till}", store if till == 1 else 1)
        for store in range(1, stores + 1)
        for till in range(1, tills + 1)
    )
    while some := list(islice(rows, _AT_ONCE)):
        await database.write(partial(_add, rows=some))
    replaced = [
        _row(f"{store:05}", "till-1", 1)
        | {"epoch": "epoch-of-a-replaced-machine", "is_current": None, "followed_at": AT}
        for store in range(71, stores + 1, 71)
    ]
    await database.write(partial(_add, rows=replaced))


async def fill_hours(database: Database, stores: int, hours: int) -> None:
    """Insert hourly rollups up to now for the first till of each store."""
    rows = (
        _hour(f"{store:05}", AT.replace(minute=0, second=0) - timedelta(hours=ago), ago)
        for store in range(1, stores + 1)
        for ago in range(hours)
    )
    while some := list(islice(rows, _AT_ONCE)):
        await database.write(partial(_add_hours, rows=some))


def _hour(store_id: str, at: datetime, ago: int) -> Row:
    # Shops open from 8 to 20 o'clock; ten hours ago the line was down.
    sessions = max(0, 60 - 8 * abs(at.hour - 14)) if 8 <= at.hour < 20 else 0
    lag = 5400 if ago == 10 else 2
    return {
        "store_id": store_id,
        "till_id": "till-1",
        "hour": at,
        "sessions": sessions,
        "accepted": sessions * 5 // 10,
        "deferred": sessions * 3 // 10,
        "declined": sessions * 2 // 10,
        "other_answers": 0,
        "arrived": 2 * sessions,
        "lag_seconds": 2 * sessions * lag,
        "longest_lag_seconds": 5 * lag,
    }


def _add_hours(connection: Connection, rows: list[Row]) -> None:
    insert_rows(connection, table_of(HourRecord), rows)


def _add(connection: Connection, rows: list[Row]) -> None:
    tokens = [
        {"store_id": row["store_id"], "till_id": row["till_id"], "token_hash": "x"}
        | {"generation": 1, "enrolled_at": row["enrolled_at"], "first_used_at": AT}
        for row in rows
        if row["is_current"]
    ]
    insert_rows(connection, table_of(TokenRecord), tokens)
    agents = table_of(AgentRecord)
    unset = dict.fromkeys(column.name for column in agents.c if column.nullable)
    insert_rows(connection, agents, [{**unset, **row} for row in rows])


def _row(store_id: str, till_id: str, number: int) -> Row:
    row: Row = {
        "store_id": store_id,
        "till_id": till_id,
        "epoch": EPOCH,
        "accepted_through": 100 + number,
        "last_sequence": 100 + number,
        "purged_through": 0,
        "last_seen_at": AT - timedelta(seconds=number % 60),
        "agent_version": OWN_VERSION,
        "enrolled_at": AT - timedelta(days=100),
        "newest_trusted_at": AT,
        "heartbeat_at": AT,
        "agent_sent_at": AT,
        "watermark": 100 + number,
        "outstanding": 0,
        "dead_letters": 0,
        "oldest_undelivered_at": None,
        "last_activity_at": AT - timedelta(seconds=number % 600),
        "database_bytes": 5_000_000,
        "free_bytes": 40 * _GIB,
        "heartbeat_before_at": AT - timedelta(minutes=1),
        "outstanding_before": 0,
        "retired_at": None,
        "is_current": True,
        "begun_at": AT - timedelta(days=100),
        "older_missing": 0,
        "epochs_refused_at": None,
        "terms_refused": None,
    }
    for each, changes in _KINDS.items():
        if number % each == 0:
            row |= changes
    return row
