"""Agent enrolment: issues, verifies and revokes tokens; the database holds only their hashes.

Each change is recorded in the audit log, in its transaction.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection
from sqlmodel import Session, col, delete, select

from sync.protocol.agent_token import hash_token, make_token
from sync.receiver.audit.audit_log import Action, AuditLog
from sync.receiver.auth.retirement import (
    RetiredTill,
    bring_back,
    retire_tills,
    revoke_tokens,
    void_code,
)
from sync.receiver.auth.token_rows import SELECT_TOKEN, add_tokens, take_turns
from sync.receiver.auth.tokens import AgentName, EnrolledAgent, parse_name
from sync.receiver.db.conditions import params_for
from sync.receiver.db.database import Database
from sync.receiver.db.tables import TokenRecord


@dataclass(frozen=True, slots=True)
class Revoked:
    """Numbers of revoked tokens and of voided join codes."""

    tokens: int
    codes: int


class Enrolment:
    """Issues, verifies and revokes agent tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enroll(
        self, new: Sequence[tuple[AgentName, bytes]], at: datetime, audit: AuditLog
    ) -> list[str]:
        """Return a new token for each agent. Its first use revokes the agent's older ones.

        A retired till is in service again.
        """
        tokens = {name: make_token(name.store_id, name.till_id, secret) for name, secret in new}

        def add(connection: Connection) -> None:
            take_turns(connection)
            add_tokens(connection, {name: hash_token(one) for name, one in tokens.items()}, at)
            bring_back(connection, tokens.keys())
            audit.record_each(connection, Action.ENROLL, tokens)

        await self._database.write(add)
        return list(tokens.values())

    async def revoke(self, name: AgentName, audit: AuditLog) -> Revoked:
        """Revoke all tokens of a till and its join code, at every receiver; return their numbers.

        `authenticate` reads the database for each request, so the next request is rejected.
        """

        def revoke(connection: Connection) -> Revoked:
            take_turns(connection)
            revoked = Revoked(revoke_tokens(connection, name), void_code(connection, name))
            detail = {kind: number for kind, number in asdict(revoked).items() if number}
            if detail:
                audit.record(connection, Action.REVOKE, name, **detail)
            return revoked

        return await self._database.write(revoke)

    async def retire(
        self, store_id: str, till_id: str | None, at: datetime, audit: AuditLog
    ) -> list[RetiredTill] | None:
        """Retire a till, or all tills of a store; see `retire_tills`."""

        def retire(connection: Connection) -> list[RetiredTill] | None:
            take_turns(connection)
            retired = retire_tills(connection, store_id, till_id, at)
            for one in retired or ():
                numbers = {"tokens": one.tokens, "outstanding": one.outstanding}
                numbers |= {"codes": one.codes} if one.codes else {}
                audit.record(connection, Action.RETIRE, one.name, **numbers)
            return retired

        return await self._database.write(retire)

    async def authenticate(self, token: str, at: datetime) -> EnrolledAgent | None:
        """Return the owner of the token, or None. The first use of a token revokes older ones.

        The lookup is by hash, so its timing reveals nothing useful about the token.
        """
        name = parse_name(token)
        if name is None:
            return None
        values = {**params_for(name), "hash": hash_token(token)}
        row = await self._database.read_first(SELECT_TOKEN, values)
        if row is None or row["first_used_at"] is not None:
            return None if row is None else EnrolledAgent(name, row["enrolled_at"])
        return await self._database.write(
            lambda connection: _use_first(connection, name, hash_token(token), at)
        )


def _use_first(
    connection: Connection, name: AgentName, token_hash: str, at: datetime
) -> EnrolledAgent | None:
    """Record the first use of a token and revoke the older ones; None if it was just revoked."""
    of_till = (col(TokenRecord.store_id) == name.store_id, col(TokenRecord.till_id) == name.till_id)
    this_one = select(TokenRecord).where(*of_till, TokenRecord.token_hash == token_hash)
    with Session(connection) as session:
        # FOR UPDATE: if a newer token is first used concurrently, this row is gone once the lock
        # is held.
        token = session.exec(this_one.with_for_update()).first()
        if token is None:
            return None
        agent = EnrolledAgent(name, token.enrolled_at)
        session.exec(
            delete(TokenRecord).where(*of_till, col(TokenRecord.generation) < token.generation)
        )
        token.first_used_at = token.first_used_at or at
        session.commit()
    return agent
