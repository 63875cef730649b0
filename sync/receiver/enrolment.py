"""Who may write: agents by their tokens, of which the database holds only hashes."""

from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from sync.receiver.arrivals import Caller
from sync.receiver.database import Database
from sync.receiver.tables import Token, table_of
from sync.receiver.tokens import AgentName, hash_of, make_token, name_in

_tokens = table_of(Token)


class Enrolment:
    """The tokens of all agents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enroll(self, name: AgentName, secret: bytes, at: datetime) -> str:
        """Return a new token of an agent; the ones before end when it is first used."""
        token = make_token(name, secret)
        await self._database.write(lambda connection: _add(connection, name, token, at))
        return token

    async def find(self, token: str, at: datetime) -> Caller | None:
        """Return whose token it is; None if nobody's. Its first use ends those before it.

        It is looked up by its hash: what can be learned from the time that takes helps nobody.
        """
        name = name_in(token)
        if name is None:
            return None
        row = await self._database.read(lambda connection: _find(connection, name, token))
        if row is not None and row["first_used_at"] is None:
            row = await self._database.write(
                lambda connection: _begin_to_use(connection, name, token, at)
            )
        return None if row is None else Caller(name, row["enrolled_at"])


def _add(connection: Connection, name: AgentName, token: str, at: datetime) -> None:
    latest = select(func.max(_tokens.c.generation)).where(_of(name))
    row = {
        "store_id": name.store_id,
        "till_id": name.till_id,
        "token_hash": hash_of(token),
        "generation": (connection.execute(latest).scalar() or 0) + 1,
        "enrolled_at": at,
    }
    connection.execute(insert(_tokens), row)


def _find(connection: Connection, name: AgentName, token: str) -> RowMapping | None:
    statement = select(_tokens).where(_of(name), _tokens.c.token_hash == hash_of(token))
    return connection.execute(statement).mappings().first()


def _begin_to_use(
    connection: Connection, name: AgentName, token: str, at: datetime
) -> RowMapping | None:
    row = _find(connection, name, token)
    if row is None:
        return None
    this_one = _tokens.c.token_hash == row["token_hash"]
    older = _tokens.c.generation < row["generation"]
    connection.execute(delete(_tokens).where(_of(name), older))
    connection.execute(update(_tokens).where(_of(name), this_one).values(first_used_at=at))
    return row


def _of(name: AgentName) -> ColumnElement[bool]:
    return and_(_tokens.c.store_id == name.store_id, _tokens.c.till_id == name.till_id)
