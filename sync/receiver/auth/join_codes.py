"""Join codes: issued by head office, used once by one machine; the database holds only digests.

The machine makes its token itself and registers the hash with the code's secret. If the answer is
lost, the machine repeats the join; the hash identifies the repeat, which is accepted for as long as
the token is valid and is useless to another machine. Each change is recorded in the audit log, in
its transaction.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, update

from sync.protocol.join_code import is_authority_mark
from sync.receiver.audit.audit_log import Action, AuditLog
from sync.receiver.auth.retirement import bring_back, void_code
from sync.receiver.auth.token_rows import SELECT_TOKEN, add_tokens, take_turns
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.conditions import in_stores, is_agent, params_for
from sync.receiver.db.database import Database
from sync.receiver.db.tables import authorities, join_codes

VALID_DAYS = 7
_CODE = select(join_codes).where(is_agent(join_codes))
_AUTHORITY = select(authorities.c.certificate).where(
    authorities.c.store_id == "", authorities.c.mark == bindparam("mark")
)
# Compared where there is no code, so that an unknown till is answered as slowly as a known one.
_NO_DIGEST = "0" * 64
_FINGERPRINT_DIGITS = 8


class JoinOutcome(StrEnum):
    """Outcome of a join. `UNKNOWN`: no such till, another secret, or the code is void."""

    JOINED = "joined"
    UNKNOWN = "unknown"
    USED = "used"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class NewCode:
    """A code to issue."""

    name: AgentName
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRegistration:
    """A machine's request: the secret of its code, and the hash of its own token."""

    name: AgentName
    secret: str = field(repr=False)
    token_hash: str


class JoinCodes:
    """Issues, redeems and voids join codes, one at a time for each till."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def issue(self, new: Sequence[NewCode], at: datetime, audit: AuditLog) -> None:
        """Store codes, valid for `VALID_DAYS`; the tills' earlier codes are void.

        A retired till is in service again.
        """
        names = [code.name for code in new]
        common = {
            "issued_at": at,
            "expires_at": at + timedelta(days=VALID_DAYS),
            "token_hash": None,
            "used_at": None,
        }
        rows = [
            {
                "store_id": code.name.store_id,
                "till_id": code.name.till_id,
                "secret_hash": _digest(code.secret),
            }
            for code in new
        ]

        def add(connection: Connection) -> None:
            take_turns(connection)
            for name in _with_codes(connection, names):
                void_code(connection, name)
            insert_rows(connection, join_codes, rows, common)
            bring_back(connection, names)
            audit.record_each(connection, Action.ENROLL, names, codes=1)

        await self._database.write(add)

    async def redeem(
        self, registration: TokenRegistration, at: datetime, audit: AuditLog
    ) -> JoinOutcome:
        """Register the machine's token; return the outcome. Idempotent for one machine.

        A wrong secret costs one read: it never waits for the lock of enrolments.
        """
        values = params_for(registration.name)
        found = await self._database.read_first(_CODE, values)
        if not _is_secret_of(found, registration.secret):
            return JoinOutcome.UNKNOWN
        return await self._database.write(
            lambda connection: _redeem(connection, registration, at, audit)
        )

    async def void(self, name: AgentName, audit: AuditLog) -> int:
        """Void the code of a till; return 1, or 0 if it has none. Its tokens stay valid."""

        def void(connection: Connection) -> int:
            take_turns(connection)
            voided = void_code(connection, name)
            if voided:
                audit.record(connection, Action.REVOKE, name, codes=voided)
            return voided

        return await self._database.write(void)

    async def add_authority(self, mark: str, certificate: str, at: datetime) -> None:
        """Store the certificate (PEM) of an authority that codes name. Idempotent."""
        row = {"store_id": "", "mark": mark, "certificate": certificate, "added_at": at}
        is_it = (authorities.c.store_id == "", authorities.c.mark == mark)

        def add(connection: Connection) -> None:
            take_turns(connection)
            connection.execute(delete(authorities).where(*is_it))
            connection.execute(insert(authorities), row)

        if await self.authority(mark) != certificate:
            await self._database.write(add)

    async def authority(self, mark: str) -> str | None:
        """Return the certificate (PEM) of an authority, None if no code names it."""
        if not is_authority_mark(mark):
            return None  # the caller is not authenticated: PostgreSQL rejects some texts
        row = await self._database.read_first(_AUTHORITY, {"mark": mark})
        return None if row is None else str(row["certificate"])


def _redeem(
    connection: Connection, registration: TokenRegistration, at: datetime, audit: AuditLog
) -> JoinOutcome:
    take_turns(connection)
    name, token_hash = registration.name, registration.token_hash
    # Again, under the lock: the code may have been used or voided since.
    code = connection.execute(_CODE.with_for_update(), params_for(name)).mappings().first()
    if code is None or not _is_secret_of(code, registration.secret):
        return JoinOutcome.UNKNOWN
    if code["token_hash"] is not None:
        if not hmac.compare_digest(code["token_hash"], token_hash):
            return JoinOutcome.USED
        return JoinOutcome.JOINED if _has_token(connection, registration) else JoinOutcome.UNKNOWN
    if at >= code["expires_at"]:
        return JoinOutcome.EXPIRED
    used = update(join_codes).where(is_agent(join_codes))
    connection.execute(used.values(token_hash=token_hash, used_at=at), params_for(name))
    if not _has_token(connection, registration):
        add_tokens(connection, {name: token_hash}, at)
    audit.record(connection, Action.JOIN, name, token=token_hash[:_FINGERPRINT_DIGITS])
    return JoinOutcome.JOINED


def _has_token(connection: Connection, registration: TokenRegistration) -> bool:
    values = {**params_for(registration.name), "hash": registration.token_hash}
    return connection.execute(SELECT_TOKEN, values).first() is not None


def _is_secret_of(code: RowMapping | None, secret: str) -> bool:
    stored: Any = _NO_DIGEST if code is None else code["secret_hash"]
    return hmac.compare_digest(str(stored), _digest(secret))


def _with_codes(connection: Connection, names: Sequence[AgentName]) -> list[AgentName]:
    """Return the tills that have a code, in the order of `names`."""
    key = (join_codes.c.store_id, join_codes.c.till_id)
    stores = in_stores(join_codes.c.store_id, {name.store_id for name in names})
    found = {AgentName(*row) for row in connection.execute(select(*key).where(stores))}
    return [name for name in names if name in found]


def _digest(secret: str) -> str:
    """Return the stored digest. A plain SHA-256 is safe: the secret is 125 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
