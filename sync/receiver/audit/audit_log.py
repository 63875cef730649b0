"""Append-only audit log: each entry is written in the transaction of its action.

Nothing in the program updates or deletes an entry, neither retention nor `forget`; the database
refuses both (see the migration). So an entry must hold no customer's address and no secret.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec
from sqlalchemy import Connection

from sync.receiver.audit.author import Author
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.bulk_insert import insert_rows
from sync.receiver.db.tables import audit_log
from sync.runtime.masking import mask_secrets
from sync.runtime.printable import printable

_MAX_TEXT = 1_000
HEAD_OFFICE = AgentName("", "")
"""Subject of an entry that concerns no till."""


class Action(StrEnum):
    """Recorded action."""

    ENROLL = "enroll"
    JOIN = "join"
    REVOKE = "revoke"
    RETIRE = "retire"
    FORGET = "forget"
    FIND = "find"
    EXPORT = "export"
    IMPORT = "import"
    MAKE_KEY = "make-key"
    ACKNOWLEDGE = "acknowledge"
    ACKNOWLEDGE_EPOCH = "acknowledge-epoch"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Records the actions of one author. `new_hex` returns 32 unique hexadecimal digits."""

    author: Author
    now: Callable[[], datetime]
    new_hex: Callable[[], str]

    def record(
        self,
        connection: Connection,
        action: Action,
        subject: AgentName = HEAD_OFFICE,
        /,
        **detail: str | int | None,
    ) -> None:
        """Record one action. `till_id` of the subject may be empty: the whole store."""
        self.record_each(connection, action, [subject], **detail)

    def record_each(
        self,
        connection: Connection,
        action: Action,
        subjects: Iterable[AgentName],
        /,
        **detail: str | int | None,
    ) -> None:
        """Record one action on several tills, an entry each."""
        encoded = msgspec.json.encode(_safe(detail))
        common = {
            "at": self.now(),
            "action": action.value,
            "actor": self.author.user,
            "origin": self.author.origin,
            "detail": encoded.decode(),
        }
        rows = [
            {"store_id": one.store_id, "till_id": one.till_id, "entry_id": self.new_hex()}
            for one in subjects
        ]
        insert_rows(connection, audit_log, rows, common)


def _safe(detail: Mapping[str, str | int | None]) -> dict[str, str | int | None]:
    return {
        name: safe_text(value) if isinstance(value, str) else value
        for name, value in detail.items()
    }


def safe_text(text: str) -> str:
    """Return text that is safe to keep for ever and to print.

    Addresses and tokens are masked, control characters escaped, and it is cut after that.
    """
    return printable(mask_secrets(text[: 2 * _MAX_TEXT]), _MAX_TEXT)
