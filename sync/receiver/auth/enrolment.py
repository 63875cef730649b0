"""Agent enrolment: issues and verifies tokens. The database holds only their hashes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, select, text, update

from sync.receiver.auth.tokens import AgentName, EnrolledAgent, hash_of, make_token, name_in
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.columns import JsonTexts
from sync.receiver.db.database import Database, Values
from sync.receiver.db.statements import Among, is_agent, params_for
from sync.receiver.db.tables import TokenRow, table_of

_tokens = table_of(TokenRow)
# Arbitrary lock number shared by all receivers. Without it, two concurrent enrolments of one agent
# would give both tokens the same generation, and neither would revoke the other.
_ENROLMENT_LOCK = text("SELECT pg_advisory_xact_lock(8581)")


_TOKEN = select(_tokens).where(is_agent(_tokens), _tokens.c.token_hash == bindparam("hash"))


class Enrolment:
    """Issues and verifies agent tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enroll(self, name: AgentName, secret: bytes, at: datetime) -> str:
        """Return a new token for an agent. Its first use revokes the older ones."""
        (token,) = await self.enroll_all([(name, secret)], at)
        return token

    async def enroll_all(self, new: Sequence[tuple[AgentName, bytes]], at: datetime) -> list[str]:
        """Return a new token for each agent, as `enroll` does, in one transaction."""
        tokens = {name: make_token(name, secret) for name, secret in new}
        await self._database.write(lambda connection: _add(connection, tokens, at))
        return list(tokens.values())

    async def find(self, token: str, at: datetime) -> EnrolledAgent | None:
        """Return the owner of the token, or None. The first use of a token revokes older ones.

        The lookup is by hash, so its timing reveals nothing useful about the token.
        """
        name = name_in(token)
        if name is None:
            return None
        row = await self._database.read_first(_TOKEN, _values_of(name, token))
        if row is not None and row["first_used_at"] is None:
            row = await self._database.write(
                lambda connection: _begin_to_use(connection, name, token, at)
            )
        return None if row is None else EnrolledAgent(name, row["enrolled_at"])


def _add(connection: Connection, tokens: Mapping[AgentName, str], at: datetime) -> None:
    if connection.dialect.name == "postgresql":
        # SQLite needs no lock: it has a single writer.
        connection.execute(_ENROLMENT_LOCK)
    latest = _latest(connection, {name.store_id for name in tokens})
    rows = [
        {
            "store_id": name.store_id,
            "till_id": name.till_id,
            "token_hash": hash_of(token),
            "generation": latest.get((name.store_id, name.till_id), 0) + 1,
            "enrolled_at": at,
            "first_used_at": None,
        }
        for name, token in tokens.items()
    ]
    insert_rows(connection, _tokens, rows)


def _latest(connection: Connection, stores: Collection[str]) -> dict[tuple[str, str], int]:
    key = (_tokens.c.store_id, _tokens.c.till_id)
    column = _tokens.c.store_id
    # An equality on one store lets the planner use the index on that store.
    only = column == next(iter(stores)) if len(stores) == 1 else None
    of_stores = Among(column, bindparam(None, stores, type_=JsonTexts)) if only is None else only
    found = select(*key, func.max(_tokens.c.generation)).where(of_stores).group_by(*key)
    return {(store, till): latest for store, till, latest in connection.execute(found)}


def _values_of(name: AgentName, token: str) -> Values:
    return {**params_for(name), "hash": hash_of(token)}


def _begin_to_use(
    connection: Connection, name: AgentName, token: str, at: datetime
) -> RowMapping | None:
    # FOR UPDATE: if a newer token is first used concurrently, this row is gone once the lock is
    # held.
    row = connection.execute(_TOKEN.with_for_update(), _values_of(name, token)).mappings().first()
    if row is None:
        return None
    older = _tokens.c.generation < row["generation"]
    connection.execute(delete(_tokens).where(is_agent(_tokens), older), params_for(name))
    this_one = _tokens.c.token_hash == row["token_hash"]
    unused = _tokens.c.first_used_at.is_(None)
    begin = update(_tokens).where(is_agent(_tokens), this_one, unused).values(first_used_at=at)
    connection.execute(begin, params_for(name))
    return row
