"""The tables of the ledger, as the newest migration leaves them.

Every primary key begins with `store_id`; nothing is numbered by the database and nothing ties
one store to another, so that the tables can be spread over machines by `store_id`.

Each number of an epoch up to `agents.accepted_through` is accounted for in exactly one of
`sessions`, `email_answers`, `rejections`, `doubles` and `gaps`, until retention takes it away
(`agents.purged_through`; never a rejection or a gap); an answer whose address was lost for good
stands in `email_answers` and in `gaps`.
"""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Index, Table, Text, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from sync.receiver.db.columns import Moment


class Ledger(SQLModel, registry=registry()):
    """What all tables are registered in."""


class Token(Ledger, table=True):
    """Proof that a caller is an agent of this store and till. `generation` counts enrolments."""

    __tablename__ = "tokens"
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    token_hash: str = Field(sa_type=Text, primary_key=True)
    generation: int = Field(sa_type=BigInteger)
    enrolled_at: datetime = Field(sa_type=Moment)
    first_used_at: datetime | None = Field(sa_type=Moment)


class Agent(Ledger, table=True):
    """An epoch of an agent: how far it is accounted for, and what its last heartbeat said.

    `agent_sent_at` is the agent's own clock at `last_seen_at`; `newest_trusted_at` the latest
    time that an event of the epoch is known to have happened at; `…_before` what the heartbeat
    before the last one said; up to `purged_through` all have had their days (`retention.py`).
    """

    __tablename__ = "agents"
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    epoch: str = Field(sa_type=Text, primary_key=True)
    accepted_through: int = Field(sa_type=BigInteger)
    last_sequence: int = Field(sa_type=BigInteger)
    last_seen_at: datetime | None = Field(sa_type=Moment)
    agent_version: str | None = Field(sa_type=Text)
    enrolled_at: datetime | None = Field(sa_type=Moment)
    newest_trusted_at: datetime | None = Field(sa_type=Moment)
    heartbeat_at: datetime | None = Field(sa_type=Moment)
    agent_sent_at: datetime | None = Field(sa_type=Moment)
    watermark: int | None = Field(sa_type=BigInteger)
    outstanding: int | None = Field(sa_type=BigInteger)
    dead_letters: int | None = Field(sa_type=BigInteger)
    oldest_undelivered_at: datetime | None = Field(sa_type=Moment)
    last_activity_at: datetime | None = Field(sa_type=Moment)
    database_bytes: int | None = Field(sa_type=BigInteger)
    free_bytes: int | None = Field(sa_type=BigInteger)
    heartbeat_before_at: datetime | None = Field(sa_type=Moment)
    outstanding_before: int | None = Field(sa_type=BigInteger)
    purged_through: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")}
    )


class Boot(Ledger, table=True):
    """A start of a POS machine: our time of the moment at which its steady clock read zero."""

    __tablename__ = "boots"
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    boot_id: str = Field(sa_type=Text, primary_key=True)
    zero_at: datetime = Field(sa_type=Moment)


class Session(Ledger, table=True):
    """A session that a till started. `body` is the till's own, letter for letter."""

    __tablename__ = "sessions"
    __table_args__ = (
        Index("sessions_by_correlation_id", "store_id", "correlation_id", unique=True),
    )
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    epoch: str = Field(sa_type=Text, primary_key=True)
    sequence: int = Field(sa_type=BigInteger, primary_key=True)
    correlation_id: str = Field(sa_type=Text)
    external_identifier: str | None = Field(sa_type=Text)
    channel: str | None = Field(sa_type=Text)
    locale: str | None = Field(sa_type=Text)
    anonymous_session_id: str | None = Field(sa_type=Text)
    user_status: str | None = Field(sa_type=Text)
    query_locale: str | None = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    occurred_at: datetime = Field(sa_type=Moment)
    received_at: datetime = Field(sa_type=Moment)
    corrected_at: datetime | None = Field(sa_type=Moment)
    clock_trusted: bool = Field(sa_type=Boolean)


class EmailAnswer(Ledger, table=True):
    """A customer's answer to the e-mail prompt; the last one of a session counts.

    `body` is the till's own without the address. `address_erased`: there was an address,
    and it is gone.
    """

    __tablename__ = "email_answers"
    __table_args__ = (Index("email_answers_by_correlation_id", "store_id", "correlation_id"),)
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    epoch: str = Field(sa_type=Text, primary_key=True)
    sequence: int = Field(sa_type=BigInteger, primary_key=True)
    correlation_id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    email_address: str | None = Field(sa_type=Text)
    address_erased: bool = Field(sa_type=Boolean)
    body: str = Field(sa_type=Text)
    occurred_at: datetime = Field(sa_type=Moment)
    received_at: datetime = Field(sa_type=Moment)
    corrected_at: datetime | None = Field(sa_type=Moment)
    clock_trusted: bool = Field(sa_type=Boolean)


class Rejected(Ledger, table=True):
    """An event that is refused for good, until it comes again and is fine."""

    __tablename__ = "rejections"
    __table_args__ = (Index("rejections_by_correlation_id", "store_id", "correlation_id"),)
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    epoch: str = Field(sa_type=Text, primary_key=True)
    sequence: int = Field(sa_type=BigInteger, primary_key=True)
    type: str = Field(sa_type=Text)
    correlation_id: str = Field(sa_type=Text)
    error_code: str = Field(sa_type=Text)
    error_message: str = Field(sa_type=Text)
    received_at: datetime = Field(sa_type=Moment)


class Double(Ledger, table=True):
    """A number whose event stands under another number already; its effect is that one's."""

    __tablename__ = "doubles"
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    epoch: str = Field(sa_type=Text, primary_key=True)
    sequence: int = Field(sa_type=BigInteger, primary_key=True)
    type: str = Field(sa_type=Text)
    correlation_id: str = Field(sa_type=Text)
    received_at: datetime = Field(sa_type=Moment)


class NotedGap(Ledger, table=True):
    """Numbers that hold less than they should, for good: see `reason`."""

    __tablename__ = "gaps"
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    epoch: str = Field(sa_type=Text, primary_key=True)
    first_sequence: int = Field(sa_type=BigInteger, primary_key=True)
    last_sequence: int = Field(sa_type=BigInteger)
    reason: str = Field(sa_type=Text)
    noted_at: datetime = Field(sa_type=Moment)


class Hour(Ledger, table=True):
    """Sums of a till's hour, for plots (`hours.py`), until `old_hours.py`; `forget` leaves them."""

    __tablename__ = "hours"
    __table_args__ = (Index("hours_by_hour", "hour"),)
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)
    hour: datetime = Field(sa_type=Moment, primary_key=True)
    sessions: int = Field(sa_type=BigInteger)
    accepted: int = Field(sa_type=BigInteger)
    deferred: int = Field(sa_type=BigInteger)
    declined: int = Field(sa_type=BigInteger)
    other_answers: int = Field(sa_type=BigInteger)
    arrived: int = Field(sa_type=BigInteger)
    lag_seconds: int = Field(sa_type=BigInteger)
    longest_lag_seconds: int = Field(sa_type=BigInteger)


def table_of(model: type[Ledger]) -> Table:
    """Return the Core table behind `model`, for statements that need no ORM."""
    return Ledger.metadata.tables[str(model.__tablename__)]
