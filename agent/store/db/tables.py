"""The tables of the agent's database at the newest schema revision.

A capture is one row of `event` and one of `session` or `email_answer`, all under the same
`position`: a number local to this file that is never reused. Head office knows an event by epoch
and sequence number; `epoch.base_position` maps between the two: sequence = position -
base_position, for the epoch with the highest base below the position (of two epochs with the same
base, the later one).
"""

from typing import ClassVar

from sqlalchemy import Index, Integer, LargeBinary, Table, Text, text
from sqlmodel import Field, SQLModel

STRICT = {"sqlite_strict": True}
# Defaults for columns added by a migration: the previous agent version inserts without them.
ZERO = {"server_default": text("0")}
NOTHING = {"server_default": text("''")}


class _Strict(SQLModel):
    __table_args__: ClassVar[dict[str, bool] | tuple[Index | dict[str, bool], ...]] = STRICT


class _PerEvent(_Strict):
    destination: str = Field(sa_type=Text, primary_key=True)
    position: int = Field(primary_key=True)


class EpochRow(_Strict, table=True):
    """An unbroken run of sequence numbers; `number` is the order in which epochs began.

    `moved_events`: see `epochs.py`; None in rows of earlier versions.
    """

    __tablename__ = "epoch"
    number: int = Field(primary_key=True)
    epoch: str = Field(sa_type=Text, unique=True)
    base_position: int
    began_at_us: int
    reason: str = Field(sa_type=Text)
    moved_events: int | None = None


class BootRow(_Strict, table=True):
    """A boot of the machine, the zero of the monotonic clock of the events captured in it."""

    __tablename__ = "boot"
    number: int = Field(primary_key=True)
    boot_id: str = Field(sa_type=Text, unique=True)
    first_seen_us: int


class LostCapturesRow(_Strict, table=True):
    """Captures of an epoch that only the high-water mark knew: see `lost_captures.py`."""

    __tablename__ = "lost_captures"
    epoch: str = Field(sa_type=Text, primary_key=True)
    held_through: int
    lost_through: int
    reason: str = Field(sa_type=Text)
    noticed_at_us: int
    accepted_through: int | None
    told_at_us: int | None
    returned: int = Field(default=0, sa_column_kwargs=ZERO)
    moved_through: int = Field(default=0, sa_column_kwargs=ZERO)
    named_through: int = Field(default=0, sa_column_kwargs=ZERO)
    acknowledged_at_us: int | None = None
    found_with: str = Field(default="", sa_type=Text, sa_column_kwargs=NOTHING)


class ReturnedNumbersRow(_Strict, table=True):
    """Numbers of an older epoch whose captures have new ones: see `returned_numbers.py`."""

    __tablename__ = "returned_numbers"
    epoch: str = Field(sa_type=Text, primary_key=True)
    first_sequence: int = Field(primary_key=True)
    last_sequence: int


class EventRow(_Strict, table=True):
    """The outbox: append-only, one row for each capture. `body`: see `crypto/bodies.py`.

    `checksum`: see `event_rows.py`; None in rows of earlier versions.
    """

    __tablename__ = "event"
    position: int = Field(primary_key=True)
    type: str = Field(sa_type=Text)
    session_position: int
    occurred_at_us: int
    monotonic_us: int
    boot_number: int
    body: bytes = Field(sa_type=LargeBinary)
    checksum: int | None = None


class SessionRow(_Strict, table=True):
    """A session started by a till."""

    __tablename__ = "session"
    position: int = Field(primary_key=True)
    correlation_id: str = Field(sa_type=Text, unique=True)
    query_locale: str | None = Field(sa_type=Text)
    closed: int = Field(sa_type=Integer)


class EmailAnswerRow(SQLModel, table=True):
    """A customer's answer to the e-mail prompt; the last one of a session counts.

    `address` is encrypted and erased after delivery. `address_mark`, a keyed digest, stays for
    another day, so that a repeated answer is still recognised.
    """

    __tablename__ = "email_answer"
    __table_args__ = (Index("email_answer_by_session", "session_position"), STRICT)
    position: int = Field(primary_key=True)
    session_position: int
    status: str = Field(sa_type=Text)
    address: bytes | None = Field(sa_type=LargeBinary)
    address_mark: bytes | None = Field(sa_type=LargeBinary)


class DestinationRow(_Strict, table=True):
    """Delivery cursor of a destination. Every event up to the position `watermark` is settled.

    Unsettled events between `attempting_from` and `attempting_through` are in flight, or were when
    the process ended. Addresses up to `erased_through` are erased, except those of dead letters.
    Events up to `purged_through` may be deleted, and keyed digests of erased addresses up to
    `digests_erased_through` are. None is above the highest position that the watermark has reached.

    `purged_early_…`: the last purge for lack of room: when, how long the events had been kept since
    their delivery, and why. `scrubs` counts how often the WAL was scrubbed.
    """

    __tablename__ = "destination"
    name: str = Field(sa_type=Text, primary_key=True)
    watermark: int
    attempting_from: int = Field(default=0, sa_column_kwargs=ZERO)
    attempting_through: int = Field(default=0, sa_column_kwargs=ZERO)
    erased_through: int = Field(default=0, sa_column_kwargs=ZERO)
    purged_through: int = Field(default=0, sa_column_kwargs=ZERO)
    digests_erased_through: int = Field(default=0, sa_column_kwargs=ZERO)
    scrubs: int = Field(default=0, sa_column_kwargs=ZERO)
    purged_early_at_us: int | None = None
    purged_early_kept_us: int | None = None
    purged_early_reason: str | None = Field(default=None, sa_type=Text)


class DeliveryRow(_Strict, table=True):
    """When the watermark reached a position: one row for each acknowledgement, not each event."""

    __tablename__ = "delivery"
    destination: str = Field(sa_type=Text, primary_key=True)
    through_position: int = Field(primary_key=True)
    delivered_at_us: int


class SettledRow(_PerEvent, table=True):
    """Events settled individually: ahead of the watermark, or a dead letter below it."""

    __tablename__ = "settled"
    delivered_at_us: int


class DoubtRow(_PerEvent, table=True):
    """An event that was sent with unknown outcome: it may have arrived."""

    __tablename__ = "doubt"


# A dead letter is discarded if it has a time of that; any other value is damage, and it stays open.
# Queries must use this very text for SQLite to use the partial index.
IS_OPEN = "typeof(discarded_at_us) <> 'integer'"
# A deferred event is stuck after so many attempts, about four minutes: a person should know.
STUCK_ATTEMPTS = 8


class DeadLetterRow(_PerEvent, table=True):
    """An event that is set apart from the others: rejected for good, or deferred.

    A rejected one is kept until an operator decides. A deferred one has a `stuck_since_us`: it
    waits for a verdict and is tried again from `next_try_at_us` on, or, with `retry_wanted` 0,
    after an earlier event of its session. Its reason is that of the last attempt; `refused_at_us`
    is the time of the last one while others passed. `agent_version` is the version that sent it; a
    newer one may succeed.
    """

    __tablename__ = "dead_letter"
    __table_args__ = (
        Index(
            "dead_letter_to_retry", "destination", "position", sqlite_where=text("retry_wanted = 1")
        ),
        Index("dead_letter_open", "destination", "position", sqlite_where=text(IS_OPEN)),
        Index(
            "dead_letter_deferred",
            "destination",
            "position",
            sqlite_where=text("stuck_since_us IS NOT NULL"),
        ),
        STRICT,
    )
    error_code: str = Field(sa_type=Text)
    error_message: str = Field(sa_type=Text)
    http_status: int | None
    refused_at_us: int
    attempts: int
    discarded_at_us: int | None
    retry_wanted: int = Field(default=0, sa_column_kwargs=ZERO)
    agent_version: str = Field(default="", sa_type=Text, sa_column_kwargs=NOTHING)
    stuck_since_us: int | None = None
    next_try_at_us: int = Field(default=0, sa_column_kwargs=ZERO)


class LearnedTermsRow(_Strict, table=True):
    """The latest program terms from `source`, used while central is unreachable."""

    __tablename__ = "program_terms"
    source: str = Field(sa_type=Text, primary_key=True)
    etag: str | None = Field(sa_type=Text)
    terms: str = Field(sa_type=Text)
    learned_at_us: int
    agent_version: str = Field(default="", sa_type=Text, sa_column_kwargs=NOTHING)


class TermsFetchRow(_Strict, table=True):
    """The last time that central answered with its terms, and the fault of those it sends now."""

    __tablename__ = "terms_fetch"
    source: str = Field(sa_type=Text, primary_key=True)
    answered_at_us: int | None
    refused_field: str | None = Field(sa_type=Text)
    refused_reason: str | None = Field(sa_type=Text)


class DamagedRow(_Strict, table=True):
    """A row that was found damaged and repaired or removed, other than an event."""

    __tablename__ = "damaged_row"
    table_name: str = Field(sa_type=Text, primary_key=True)
    row_key: str = Field(sa_type=Text, primary_key=True)
    reason: str = Field(sa_type=Text)
    found_at_us: int


class ReceiptAliasRow(_Strict, table=True):
    """The receipt that a till was given for a capture before its database was quarantined.

    Head office knows the salvaged event by a number of the current epoch.
    """

    __tablename__ = "receipt_alias"
    position: int = Field(primary_key=True)
    sequence: int
    epoch: str = Field(sa_type=Text)


class SalvagedNumberRow(_Strict, table=True):
    """Not written any more, see `ReturnedNumbersRow`: only the version before reads it."""

    __tablename__ = "salvaged_number"
    epoch: str = Field(sa_type=Text, primary_key=True)
    sequence: int = Field(primary_key=True)


class SalvageRow(_Strict, table=True):
    """Progress of feeding in a quarantined database; `source` is its name in `set-aside/`.

    `fed_through` is a position there, `last_position` the highest one of its captures here.
    `is_read`: fed in to its end.
    """

    __tablename__ = "salvage"
    source: str = Field(sa_type=Text, primary_key=True)
    fed_through: int
    last_position: int
    salvaged: int
    unreadable: int
    is_read: int


def table_of(model: type[SQLModel]) -> Table:
    """Return the Core table of `model`, for statements without the ORM."""
    return SQLModel.metadata.tables[str(model.__tablename__)]
