"""Tables of tills: tokens, epochs with the last heartbeat, boots."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Index, Text, text
from sqlmodel import Field

from sync.receiver.db.columns import UtcTimestamp
from sync.receiver.db.tables.base import EpochTable, TillTable


class TokenRecord(TillTable, table=True):
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


class AgentRecord(EpochTable, table=True):
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
    if that was before this was stored); `ended_through` the last number of the epoch as its
    machine reports it, `ended_reason` the reason; see `ingest.epochs`. `acknowledged_…`: a person
    accepted that the machine of an ended epoch may hold more than has arrived.

    `speaker…`: see `ingest.epochs.shared_name`; `closed_at` and `heard_…`: `ingest.epochs.closing`.
    Only those of the current row count.
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
    closed_at: datetime | None = Field(sa_type=UtcTimestamp)
    heard_boot_id: str | None = Field(sa_type=Text)
    heard_monotonic_us: int | None = Field(sa_type=BigInteger)
    speaker_before: str | None = Field(default=None, sa_type=Text)
    speaker_sent_us: int | None = Field(default=None, sa_type=BigInteger)
    speaker_run_id: str | None = Field(default=None, sa_type=Text)


class BootRecord(TillTable, table=True):
    """A boot of a POS machine; `zero_at` is our time when its monotonic clock read zero.

    `spoke_at`: when it last became the speaker of its till, see `ingest.epochs.shared_name`.
    `has_uncertain`: events of this boot are in `uncertain_times`. The other columns are those of
    `ingest.times.clock_skew.BootClock`.
    """

    __tablename__ = "boots"
    boot_id: str = Field(sa_type=Text, primary_key=True)
    zero_at: datetime = Field(sa_type=UtcTimestamp)
    heard_at: datetime | None = Field(default=None, sa_type=UtcTimestamp)
    is_confirmed: bool | None = Field(default=None, sa_type=Boolean)
    later_zero_at: datetime | None = Field(default=None, sa_type=UtcTimestamp)
    later_since: datetime | None = Field(default=None, sa_type=UtcTimestamp)
    spoke_at: datetime | None = Field(default=None, sa_type=UtcTimestamp)
    has_uncertain: bool | None = Field(default=None, sa_type=Boolean)


class JoinCodeRecord(TillTable, table=True):
    """The newest join code of a till; only its digest. See `auth/join_codes.py`.

    `token_hash`: of the machine that used it. The row stays, so that its repeats are recognised.
    """

    __tablename__ = "join_codes"
    secret_hash: str = Field(sa_type=Text)
    issued_at: datetime = Field(sa_type=UtcTimestamp)
    expires_at: datetime = Field(sa_type=UtcTimestamp)
    token_hash: str | None = Field(sa_type=Text)
    used_at: datetime | None = Field(sa_type=UtcTimestamp)
