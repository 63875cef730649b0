"""A chain of stores of every kind, put straight into a ledger: what a page is looked at with."""

from datetime import timedelta
from functools import partial
from itertools import islice

from sqlalchemy import Connection, insert

from sync.receiver.database import Database
from sync.receiver.tables import Agent, Token, table_of
from tests.head_office.sender import AT, EPOCH

OWN_VERSION = "0.1.0"
_AT_ONCE = 1000
Row = dict[str, object]
_GIB = 1024**3
# One in so many stores, by what is the matter with it.
_KINDS: dict[int, Row] = {
    97: dict.fromkeys(("last_seen_at", "heartbeat_at", "agent_sent_at"), AT - timedelta(days=3)),
    89: {"dead_letters": 3},
    83: {"free_bytes": _GIB // 5},
    79: {"agent_sent_at": AT - timedelta(hours=7)},
    41: {"outstanding": 12_400, "oldest_undelivered_at": AT - timedelta(hours=5)},
    13: {"agent_version": "0.0.9"},
}


async def fill(database: Database, stores: int, tills: int = 2) -> None:
    """Put so many stores into an open database, most of them well."""
    rows = (
        _row(f"{store:05}", f"till-{till}", store if till == 1 else 1)
        for store in range(1, stores + 1)
        for till in range(1, tills + 1)
    )
    while some := list(islice(rows, _AT_ONCE)):
        await database.write(partial(_add, rows=some))


def _add(connection: Connection, rows: list[Row]) -> None:
    tokens = [
        {"store_id": row["store_id"], "till_id": row["till_id"], "token_hash": "x"}
        | {"generation": 1, "enrolled_at": row["enrolled_at"]}
        for row in rows
    ]
    connection.execute(insert(table_of(Token)), tokens)
    connection.execute(insert(table_of(Agent)), rows)


def _row(store_id: str, till_id: str, number: int) -> Row:
    row: Row = {
        "store_id": store_id,
        "till_id": till_id,
        "epoch": EPOCH,
        "accepted_through": 100 + number,
        "last_sequence": 100 + number,
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
    }
    for each, changes in _KINDS.items():
        if number % each == 0:
            row |= changes
    return row
