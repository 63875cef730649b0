"""The ledger's tables, as of the newest migration.

Every primary key starts with `store_id`; there are no database-generated numbers and no
references between stores, so that the tables can be sharded by `store_id`.

Invariant: each number of an epoch up to `agents.accepted_through` is in exactly one of
`sessions`, `email_answers`, `rejections`, `duplicates` and `gaps`, until it is purged
(`agents.purged_through`; rejections and gaps are never purged) and its digest is kept. One
exception: an answer whose address is permanently lost is in `email_answers` and in `gaps`.
"""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Index, LargeBinary, Table, Text, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from sync.receiver.db.columns import UtcTimestamp


class LedgerTable(SQLModel, registry=registry()):
    """Base class with the registry of all tables."""


class _TillTable(LedgerTable):
    store_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text, primary_key=True)


class _EpochTable(_TillTable):
    epoch: str = Field(sa_type=Text, primary_key=True)


class _NumberedTable(_EpochTable):
    sequence: int = Field(sa_type=BigInteger, primary_key=True)


class TokenRecord(_TillTable, table=True):
    """Hashed bearer token of the agent on one till. `generation` counts enrolments."""

    __tablename__ = "tokens"
    token_hash: str = Field(sa_type=Text, primary_key=True)
    generation: int = Field(sa_type=BigInteger)
    enrolled_at: datetime = Field(sa_type=UtcTimestamp)
    first_used_at: datetime | None = Field(sa_type=UtcTimestamp)


_UNCONFIRMED = (
    "followed_at IS NOT NULL AND is_current IS NULL"
    " AND ended_through IS NULL AND acknowledged_at IS NULL"
)


class AgentRecord(_EpochTable, table=True):
    """An epoch of an agent: ingest progress and the last heartbeat.

    `agent_sent_at` is the agent's wall clock at `last_seen_at`; `newest_trusted_at` the latest
    trusted event time of the epoch; `…_before` values of the previous heartbeat; events up to
    `purged_through` are past retention. `retired_at` is set in all epochs of a retired till:
    reports skip them.

    `is_current`: true in the one epoch that the till reports as its current one, NULL in all
    others; pages read only that row. `begun_at` is our time when the epoch was first named;
    `older_missing` the most events that one of the till's other epochs still lacked at the
    heartbeat; `epochs_refused_at` the last time the till named more epochs than it may;
    `terms_refused` the field of our program terms that the till does not use, and why; `salvage_…`
    the damaged database files that it still reads, the captures that it salvaged, and those lost.

    `followed_at` is our time when another epoch of the till became the current one (NULL as well
    if that was before this was stored); `ended_through` the last number of the epoch by the word
    of its machine, `ended_reason` why it ended; see `ingest.epochs`. `acknowledged_…`: a person
    accepted that the machine of an ended epoch may hold more than has arrived.

    `speaker…`: see `ingest.epochs.shared_name`; only those of the current row count.
    """

    __tablename__ = "agents"
    __table_args__ = (
        Index(
            "agents_current",
            "store_id",
            "is_current",
            "till_id",
            unique=True,
            postgresql_where=text("is_current IS NOT NULL"),
            sqlite_where=text("is_current IS NOT NULL"),
        ),
        # Partial, so that no planner takes it for reading a store's epochs by their key.
        Index(
            "agents_by_begin",
            "store_id",
            "begun_at",
            postgresql_where=text("begun_at IS NOT NULL"),
            sqlite_where=text("begun_at IS NOT NULL"),
        ),
        # The epochs that ended without a last word of their machine: few, if any.
        Index(
            "agents_unconfirmed",
            "store_id",
            "till_id",
            "epoch",
            postgresql_where=text(_UNCONFIRMED),
            sqlite_where=text(_UNCONFIRMED),
        ),
    )
    accepted_through: int = Field(sa_type=BigInteger)
    last_sequence: int = Field(sa_type=BigInteger)
    last_seen_at: datetime | None = Field(sa_type=UtcTimestamp)
    agent_version: str | None = Field(sa_type=Text)
    enrolled_at: datetime | None = Field(sa_type=UtcTimestamp)
    newest_trusted_at: datetime | None = Field(sa_type=UtcTimestamp)
    heartbeat_at: datetime | None = Field(sa_type=UtcTimestamp)
    agent_sent_at: datetime | None = Field(sa_type=UtcTimestamp)
    watermark: int | None = Field(sa_type=BigInteger)
    outstanding: int | None = Field(sa_type=BigInteger)
    dead_letters: int | None = Field(sa_type=BigInteger)
    oldest_undelivered_at: datetime | None = Field(sa_type=UtcTimestamp)
    last_activity_at: datetime | None = Field(sa_type=UtcTimestamp)
    database_bytes: int | None = Field(sa_type=BigInteger)
    free_bytes: int | None = Field(sa_type=BigInteger)
    heartbeat_before_at: datetime | None = Field(sa_type=UtcTimestamp)
    outstanding_before: int | None = Field(sa_type=BigInteger)
    purged_through: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")}
    )
    retired_at: datetime | None = Field(sa_type=UtcTimestamp)
    is_current: bool | None = Field(sa_type=Boolean)
    begun_at: datetime | None = Field(sa_type=UtcTimestamp)
    older_missing: int | None = Field(sa_type=BigInteger)
    epochs_refused_at: datetime | None = Field(sa_type=UtcTimestamp)
    terms_refused: str | None = Field(sa_type=Text)
    followed_at: datetime | None = Field(sa_type=UtcTimestamp)
    ended_through: int | None = Field(sa_type=BigInteger)
    ended_reason: str | None = Field(sa_type=Text)
    acknowledged_at: datetime | None = Field(sa_type=UtcTimestamp)
    acknowledged_by: str | None = Field(sa_type=Text)
    acknowledged_reason: str | None = Field(sa_type=Text)
    speaker: str | None = Field(sa_type=Text)
    speaker_returns: int | None = Field(sa_type=BigInteger)
    speaker_returned_at: datetime | None = Field(sa_type=UtcTimestamp)
    salvage_pending: int | None = Field(sa_type=BigInteger)
    salvage_salvaged: int | None = Field(sa_type=BigInteger)
    salvage_unreadable: int | None = Field(sa_type=BigInteger)


class BootRecord(_TillTable, table=True):
    """A boot of a POS machine; `zero_at` is our time when its monotonic clock read zero.

    `spoke_at`: when it last became the speaker of its till, see `ingest.epochs.shared_name`. The
    other columns are those of `ingest.clock_skew.BootClock`.
    """

    __tablename__ = "boots"
    boot_id: str = Field(sa_type=Text, primary_key=True)
    zero_at: datetime = Field(sa_type=UtcTimestamp)
    heard_at: datetime | None = Field(default=None, sa_type=UtcTimestamp)
    is_confirmed: bool | None = Field(default=None, sa_type=Boolean)
    later_zero_at: datetime | None = Field(default=None, sa_type=UtcTimestamp)
    later_since: datetime | None = Field(default=None, sa_type=UtcTimestamp)
    spoke_at: datetime | None = Field(default=None, sa_type=UtcTimestamp)


class SessionRecord(_NumberedTable, table=True):
    """A session started on a till. `body` is the till's request body, byte for byte."""

    __tablename__ = "sessions"
    __table_args__ = (
        # Two tills may have the same id for different sessions: both are kept.
        Index("sessions_by_id", "store_id", "correlation_id", "till_id", unique=True),
    )
    correlation_id: str = Field(sa_type=Text)
    external_identifier: str | None = Field(sa_type=Text)
    channel: str | None = Field(sa_type=Text)
    locale: str | None = Field(sa_type=Text)
    anonymous_session_id: str | None = Field(sa_type=Text)
    user_status: str | None = Field(sa_type=Text)
    query_locale: str | None = Field(sa_type=Text)
    body: str = Field(sa_type=Text)
    occurred_at: datetime = Field(sa_type=UtcTimestamp)
    received_at: datetime = Field(sa_type=UtcTimestamp)
    corrected_at: datetime | None = Field(sa_type=UtcTimestamp)
    clock_trusted: bool = Field(sa_type=Boolean)


class EmailAnswerRecord(_NumberedTable, table=True):
    """A customer's answer to the e-mail prompt; the last one of a session counts.

    `body` is the till's request body without the address. `address_erased`: there was an
    address and it was deleted. `digest` is that of `ingest.deduplication.digest`, NULL if it was
    not computed: most sessions have one answer.
    """

    __tablename__ = "email_answers"
    __table_args__ = (
        Index("email_answers_by_session", "store_id", "correlation_id", "digest", "occurred_at"),
        # With the address: thousands of answers may differ by it alone. Only the second and
        # further answers of a session have an entry.
        Index(
            "email_answers_by_digest",
            "store_id",
            "correlation_id",
            "digest",
            "email_address",
            sqlite_where=text("digest IS NOT NULL"),
            postgresql_where=text("digest IS NOT NULL"),
        ),
    )
    correlation_id: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    email_address: str | None = Field(sa_type=Text)
    address_erased: bool = Field(sa_type=Boolean)
    body: str = Field(sa_type=Text)
    occurred_at: datetime = Field(sa_type=UtcTimestamp)
    received_at: datetime = Field(sa_type=UtcTimestamp)
    corrected_at: datetime | None = Field(sa_type=UtcTimestamp)
    clock_trusted: bool = Field(sa_type=Boolean)
    digest: str | None = Field(default=None, sa_type=Text)


class RejectionRecord(_NumberedTable, table=True):
    """A rejected event; deleted if a resend is accepted."""

    __tablename__ = "rejections"
    __table_args__ = (
        Index(
            "rejections_by_id",
            "store_id",
            "correlation_id",
            "till_id",
            "type",
            "epoch",
            "sequence",
        ),
        Index("rejections_by_time", "store_id", "received_at"),
    )
    type: str = Field(sa_type=Text)
    correlation_id: str = Field(sa_type=Text)
    error_code: str = Field(sa_type=Text)
    error_message: str = Field(sa_type=Text)
    received_at: datetime = Field(sa_type=UtcTimestamp)


class DuplicateRecord(_NumberedTable, table=True):
    """A number of an event that is already stored under another number.

    `digest` is that of its content; NULL if a version before stored it.
    """

    __tablename__ = "duplicates"
    __table_args__ = (
        Index(
            "duplicates_by_id",
            "store_id",
            "correlation_id",
            "till_id",
            "type",
            "epoch",
            "sequence",
        ),
    )
    type: str = Field(sa_type=Text)
    correlation_id: str = Field(sa_type=Text)
    received_at: datetime = Field(sa_type=UtcTimestamp)
    digest: str | None = Field(default=None, sa_type=Text)


class GapRecord(_EpochTable, table=True):
    """Numbers whose data is permanently lost; see `reason`.

    An acknowledged gap does not count as incomplete: a person accepted the loss.
    """

    __tablename__ = "gaps"
    __table_args__ = (Index("gaps_by_time", "store_id", "noted_at"),)
    first_sequence: int = Field(sa_type=BigInteger, primary_key=True)
    last_sequence: int = Field(sa_type=BigInteger)
    reason: str = Field(sa_type=Text)
    noted_at: datetime = Field(sa_type=UtcTimestamp)
    acknowledged_at: datetime | None = Field(sa_type=UtcTimestamp)
    acknowledged_by: str | None = Field(sa_type=Text)
    acknowledged_reason: str | None = Field(sa_type=Text)


class PurgedDigestsRecord(_EpochTable, table=True):
    """Digests of the purged events of a block of numbers (`ingest.deduplication.purged`).

    `last_sequence`: the last number with a digest.
    """

    __tablename__ = "purged_digests"
    first_sequence: int = Field(sa_type=BigInteger, primary_key=True)
    last_sequence: int = Field(sa_type=BigInteger)
    digests: bytes = Field(sa_type=LargeBinary)


class HourRecord(_TillTable, table=True):
    """Hourly rollup of a till, for plots; purged by age, not touched by `forget`."""

    __tablename__ = "hours"
    __table_args__ = (Index("hours_by_hour", "hour"),)
    hour: datetime = Field(sa_type=UtcTimestamp, primary_key=True)
    sessions: int = Field(sa_type=BigInteger)
    accepted: int = Field(sa_type=BigInteger)
    deferred: int = Field(sa_type=BigInteger)
    declined: int = Field(sa_type=BigInteger)
    other_answers: int = Field(sa_type=BigInteger)
    arrived: int = Field(sa_type=BigInteger)
    lag_seconds: int = Field(sa_type=BigInteger)
    longest_lag_seconds: int = Field(sa_type=BigInteger)


class ReaderSessionRecord(LedgerTable, table=True):
    """Session of a signed-in reader; `store_id` is empty. See `auth/reader_sessions.py`."""

    __tablename__ = "reader_sessions"
    store_id: str = Field(sa_type=Text, primary_key=True)
    session_hash: str = Field(sa_type=Text, primary_key=True)
    expires_at: datetime = Field(sa_type=UtcTimestamp)


class AuditRecord(LedgerTable, table=True):
    """An action of a person at head office; append-only, never purged and not touched by `forget`.

    `store_id` and `till_id` are empty where the action concerns all stores, or a whole store.
    `detail` is a JSON object without addresses and secrets.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index("audit_log_by_time", "at"),)
    store_id: str = Field(sa_type=Text, primary_key=True)
    at: datetime = Field(sa_type=UtcTimestamp, primary_key=True)
    entry_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    origin: str = Field(sa_type=Text)
    detail: str = Field(sa_type=Text)


def table_of(model: type[LedgerTable]) -> Table:
    """Return the Core table of `model`, for statements without the ORM."""
    return LedgerTable.metadata.tables[str(model.__tablename__)]


tokens, agents, boots = table_of(TokenRecord), table_of(AgentRecord), table_of(BootRecord)
sessions, answers = table_of(SessionRecord), table_of(EmailAnswerRecord)
rejections, duplicates = table_of(RejectionRecord), table_of(DuplicateRecord)
gaps, hours = table_of(GapRecord), table_of(HourRecord)
purged_digests = table_of(PurgedDigestsRecord)
audit_log = table_of(AuditRecord)
reader_sessions = table_of(ReaderSessionRecord)
