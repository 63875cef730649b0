"""Tables of head office itself: hourly rollup, sessions of readers, audit log, authorities."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field

from sync.receiver.db.columns import UtcTimestamp
from sync.receiver.db.tables.base import StoreTable, TillTable


class HourRecord(TillTable, table=True):
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


class ReaderSessionRecord(StoreTable, table=True):
    """Session of a signed-in reader; `store_id` is empty. See `auth/reader_sessions.py`."""

    __tablename__ = "reader_sessions"
    session_hash: str = Field(sa_type=Text, primary_key=True)
    expires_at: datetime = Field(sa_type=UtcTimestamp)


class AuditRecord(StoreTable, table=True):
    """An action of a person at head office; append-only, never purged and not touched by `forget`.

    `store_id` and `till_id` are empty where the action concerns all stores, or a whole store.
    `detail` is a JSON object without addresses and secrets.
    """

    __tablename__ = "audit_log"
    __table_args__ = (Index("audit_log_by_time", "at"),)
    at: datetime = Field(sa_type=UtcTimestamp, primary_key=True)
    entry_id: str = Field(sa_type=Text, primary_key=True)
    till_id: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    origin: str = Field(sa_type=Text)
    detail: str = Field(sa_type=Text)


class AuthorityRecord(StoreTable, table=True):
    """Certificate authority that join codes name; `store_id` is empty. See `auth/join_codes.py`."""

    __tablename__ = "authorities"
    mark: str = Field(sa_type=Text, primary_key=True)
    certificate: str = Field(sa_type=Text)
    added_at: datetime = Field(sa_type=UtcTimestamp)
