"""The tables of the agent's database, as the newest migration leaves them.

A capture is one row of `event` and one of `session` or `email_answer`, all three under the
same `position`: a number that only this file knows and that is never given twice. What
head office sees is the epoch and the sequence, and `epoch.base_position` ties the two:
sequence = position - base_position, for the epoch with the highest base below the position
(of two with the same base, the one that began later).
"""

from sqlalchemy import Index, Integer, LargeBinary, Table, Text, text
from sqlmodel import Field, SQLModel

STRICT = {"sqlite_strict": True}
# Columns that came later: the version before writes rows without them.
ZERO = {"server_default": text("0")}
NOTHING = {"server_default": text("''")}


class Epoch(SQLModel, table=True):
    """An unbroken run of sequence numbers; `number` says in which order they began."""

    __tablename__ = "epoch"
    __table_args__ = STRICT
    number: int = Field(primary_key=True)
    epoch: str = Field(sa_type=Text, unique=True)
    base_position: int
    began_at_us: int
    reason: str = Field(sa_type=Text)


class Boot(SQLModel, table=True):
    """A start of the machine under which events were captured (its monotonic clock's zero)."""

    __tablename__ = "boot"
    __table_args__ = STRICT
    number: int = Field(primary_key=True)
    boot_id: str = Field(sa_type=Text, unique=True)
    first_seen_us: int


class Event(SQLModel, table=True):
    """The outbox: append only, one row a capture. `body`: see `kept_bodies.py`."""

    __tablename__ = "event"
    __table_args__ = STRICT
    position: int = Field(primary_key=True)
    type: str = Field(sa_type=Text)
    session_position: int
    occurred_at_us: int
    monotonic_us: int
    boot_number: int
    body: bytes = Field(sa_type=LargeBinary)


class Session(SQLModel, table=True):
    """A session that a till started."""

    __tablename__ = "session"
    __table_args__ = STRICT
    position: int = Field(primary_key=True)
    correlation_id: str = Field(sa_type=Text, unique=True)
    query_locale: str | None = Field(sa_type=Text)
    closed: int = Field(sa_type=Integer)


class EmailAnswer(SQLModel, table=True):
    """A customer's answer to the e-mail prompt; the last one of a session counts.

    `address` is sealed by the vault and erased once delivered; `address_mark`, keyed with
    the vault's key, stays to recognise a repeat.
    """

    __tablename__ = "email_answer"
    __table_args__ = (Index("email_answer_by_session", "session_position"), STRICT)
    position: int = Field(primary_key=True)
    session_position: int
    status: str = Field(sa_type=Text)
    address: bytes | None = Field(sa_type=LargeBinary)
    address_mark: bytes | None = Field(sa_type=LargeBinary)


class Destination(SQLModel, table=True):
    """Where events go. Everything up to `watermark`, a position, is settled there.

    What waits between `attempting_from` and `attempting_through` is being tried, or was when
    the process ended. Addresses up to `erased_through` are erased but for dead letters', and
    up to `purged_through` events may be held no more; neither is ever above the watermark's
    highest place.
    """

    __tablename__ = "destination"
    __table_args__ = STRICT
    name: str = Field(sa_type=Text, primary_key=True)
    watermark: int
    attempting_from: int = Field(default=0, sa_column_kwargs=ZERO)
    attempting_through: int = Field(default=0, sa_column_kwargs=ZERO)
    erased_through: int = Field(default=0, sa_column_kwargs=ZERO)
    purged_through: int = Field(default=0, sa_column_kwargs=ZERO)


class Delivery(SQLModel, table=True):
    """When the watermark came to where: one row an acknowledgement, not one an event."""

    __tablename__ = "delivery"
    __table_args__ = STRICT
    destination: str = Field(sa_type=Text, primary_key=True)
    through_position: int = Field(primary_key=True)
    delivered_at_us: int


class Settled(SQLModel, table=True):
    """The few events settled by themselves: ahead of the watermark, or a dead letter below it."""

    __tablename__ = "settled"
    __table_args__ = STRICT
    destination: str = Field(sa_type=Text, primary_key=True)
    position: int = Field(primary_key=True)
    delivered_at_us: int


class Doubt(SQLModel, table=True):
    """An event that was tried and whose outcome is unknown: it may have arrived."""

    __tablename__ = "doubt"
    __table_args__ = STRICT
    destination: str = Field(sa_type=Text, primary_key=True)
    position: int = Field(primary_key=True)


class DeadLetter(SQLModel, table=True):
    """An event that a destination refused for good, kept until somebody decides.

    `agent_version` is the one that was refused: another one may know better.
    """

    __tablename__ = "dead_letter"
    __table_args__ = (
        Index(
            "dead_letter_to_retry",
            "destination",
            "position",
            sqlite_where=text("retry_wanted = 1"),
        ),
        STRICT,
    )
    destination: str = Field(sa_type=Text, primary_key=True)
    position: int = Field(primary_key=True)
    error_code: str = Field(sa_type=Text)
    error_message: str = Field(sa_type=Text)
    http_status: int | None
    refused_at_us: int
    attempts: int
    discarded_at_us: int | None
    retry_wanted: int = Field(default=0, sa_column_kwargs=ZERO)
    agent_version: str = Field(default="", sa_type=Text, sa_column_kwargs=NOTHING)


class ProgramTerms(SQLModel, table=True):
    """The program terms last learned from `source`, which serve while central is away."""

    __tablename__ = "program_terms"
    __table_args__ = STRICT
    source: str = Field(sa_type=Text, primary_key=True)
    etag: str | None = Field(sa_type=Text)
    terms: str = Field(sa_type=Text)
    learned_at_us: int


def table_of(model: type[SQLModel]) -> Table:
    """Return the Core table behind `model`, for statements that need no ORM."""
    return SQLModel.metadata.tables[str(model.__tablename__)]
