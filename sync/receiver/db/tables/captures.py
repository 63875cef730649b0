"""Tables of events and their numbers: stored, rejected, duplicate, lost or purged."""

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Index, LargeBinary, Text, text
from sqlmodel import Field

from sync.receiver.db.columns import UtcTimestamp
from sync.receiver.db.tables.base import EpochTable, NumberedTable


class SessionRecord(NumberedTable, table=True):
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


class EmailAnswerRecord(NumberedTable, table=True):
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


class RejectionRecord(NumberedTable, table=True):
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


class DuplicateRecord(NumberedTable, table=True):
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


class GapRecord(EpochTable, table=True):
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


class UncertainTimeRecord(NumberedTable, table=True):
    """An event of an unconfirmed boot, until its time is corrected.

    See `ingest.times.uncertain_times`. `monotonic_us`: the clock of the boot at its capture.
    """

    __tablename__ = "uncertain_times"
    boot_id: str = Field(sa_type=Text)
    monotonic_us: int = Field(sa_type=BigInteger)


class PurgedDigestsRecord(EpochTable, table=True):
    """Digests of the purged events of a block of numbers (`ingest.deduplication.purged`).

    `last_sequence`: the last number with a digest.
    """

    __tablename__ = "purged_digests"
    first_sequence: int = Field(sa_type=BigInteger, primary_key=True)
    last_sequence: int = Field(sa_type=BigInteger)
    digests: bytes = Field(sa_type=LargeBinary)
