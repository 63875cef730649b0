"""Rows of agents' tokens: added by enrolment and by joins, serialized over all receivers."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, text

from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.conditions import in_stores, is_agent
from sync.receiver.db.tables import tokens as token_table

# A till's token by its `hash`.
SELECT_TOKEN = select(token_table).where(
    is_agent(token_table), token_table.c.token_hash == bindparam("hash")
)
# All tokens of a till, the newest last.
SELECT_TOKENS = select(token_table).where(is_agent(token_table)).order_by(token_table.c.generation)
# Arbitrary lock number shared by all receivers. Without it, two concurrent enrolments of one agent
# would give both tokens the same generation, and neither would revoke the other; and an enrolment
# could cross a retirement.
_ENROLMENT_LOCK = text("SELECT pg_advisory_xact_lock(8581)")


def take_turns(connection: Connection) -> None:
    """Hold the lock of enrolments until the transaction ends."""
    if connection.dialect.name == "postgresql":
        # SQLite needs no lock: it has a single writer.
        connection.execute(_ENROLMENT_LOCK)


def add_tokens(connection: Connection, hashes: Mapping[AgentName, str], at: datetime) -> None:
    """Add the hash of a new token for each agent. Call `take_turns` before."""
    latest = _latest_generations(connection, {name.store_id for name in hashes})
    rows = [
        {
            "store_id": name.store_id,
            "till_id": name.till_id,
            "token_hash": token_hash,
            "generation": latest.get((name.store_id, name.till_id), 0) + 1,
            "enrolled_at": at,
            "first_used_at": None,
        }
        for name, token_hash in hashes.items()
    ]
    # As objects of the ORM a chain's tokens would hold the lock ten times as long.
    insert_rows(connection, token_table, rows)


def _latest_generations(
    connection: Connection, stores: Collection[str]
) -> dict[tuple[str, str], int]:
    key = (token_table.c.store_id, token_table.c.till_id)
    of_stores = in_stores(token_table.c.store_id, stores)
    found = select(*key, func.max(token_table.c.generation)).where(of_stores).group_by(*key)
    return {(store, till): latest for store, till, latest in connection.execute(found)}
