"""The tables of the agent's database, as the newest migration leaves them.

A capture is one row of `event` and one of `session` or `email_answer`, all three under the
same `position`: a number that only this file knows and that is never given twice. What
head office sees is the epoch and the sequence, and `epoch.base_position` ties the two:
sequence = position - base_position, for the latest epoch whose base is below the position.
"""

from sqlalchemy import Index, Integer, LargeBinary, Table, Text
from sqlmodel import Field, SQLModel

STRICT = {"sqlite_strict": True}


class Epoch(SQLModel, table=True):
    """An unbroken run of sequence numbers; the one with the highest `number` is current."""

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
    """The outbox: append only, one row a capture. `body` holds no e-mail address."""

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
    """Where events go. Everything up to `watermark`, a position, is settled there."""

    __tablename__ = "destination"
    __table_args__ = STRICT
    name: str = Field(sa_type=Text, primary_key=True)
    watermark: int


class Delivery(SQLModel, table=True):
    """When the watermark came to where: one row an acknowledgement, not one an event."""

    __tablename__ = "delivery"
    __table_args__ = STRICT
    destination: str = Field(sa_type=Text, primary_key=True)
    through_position: int = Field(primary_key=True)
    delivered_at_us: int


class Settled(SQLModel, table=True):
    """The few events settled ahead of the watermark."""

    __tablename__ = "settled"
    __table_args__ = STRICT
    destination: str = Field(sa_type=Text, primary_key=True)
    position: int = Field(primary_key=True)
    delivered_at_us: int


class DeadLetter(SQLModel, table=True):
    """An event that a destination refused for good, kept until somebody decides."""

    __tablename__ = "dead_letter"
    __table_args__ = STRICT
    destination: str = Field(sa_type=Text, primary_key=True)
    position: int = Field(primary_key=True)
    error_code: str = Field(sa_type=Text)
    error_message: str = Field(sa_type=Text)
    http_status: int | None
    refused_at_us: int
    attempts: int


def table_of(model: type[SQLModel]) -> Table:
    """Return the Core table behind `model`, for statements that need no ORM."""
    return SQLModel.metadata.tables[str(model.__tablename__)]
