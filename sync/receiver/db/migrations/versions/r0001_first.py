"""Initial schema."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _create_agents()
    _create_captures()
    _create_accounts()


def _create_agents() -> None:
    op.create_table(
        "tokens",
        *_key("store_id", "till_id", "token_hash"),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("enrolled_at", UtcTimestamp, nullable=False),
        sa.Column("first_used_at", UtcTimestamp),
    )
    op.create_table(
        "agents",
        *_key("store_id", "till_id", "epoch"),
        sa.Column("accepted_through", sa.BigInteger, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("last_seen_at", UtcTimestamp),
        sa.Column("agent_version", sa.Text),
        sa.Column("enrolled_at", UtcTimestamp),
        sa.Column("newest_trusted_at", UtcTimestamp),
        sa.Column("heartbeat_at", UtcTimestamp),
        sa.Column("agent_sent_at", UtcTimestamp),
        sa.Column("watermark", sa.BigInteger),
        sa.Column("outstanding", sa.BigInteger),
        sa.Column("dead_letters", sa.BigInteger),
        sa.Column("oldest_undelivered_at", UtcTimestamp),
        sa.Column("last_activity_at", UtcTimestamp),
        sa.Column("database_bytes", sa.BigInteger),
        sa.Column("free_bytes", sa.BigInteger),
    )
    op.create_table(
        "boots",
        *_key("store_id", "till_id", "boot_id"),
        sa.Column("zero_at", UtcTimestamp, nullable=False),
    )


def _create_captures() -> None:
    op.create_table(
        "sessions",
        *_event_key(),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("external_identifier", sa.Text),
        sa.Column("channel", sa.Text),
        sa.Column("locale", sa.Text),
        sa.Column("anonymous_session_id", sa.Text),
        sa.Column("user_status", sa.Text),
        sa.Column("query_locale", sa.Text),
        sa.Column("body", sa.Text, nullable=False),
        *_times(),
    )
    op.create_index(
        "sessions_by_correlation_id", "sessions", ["store_id", "correlation_id"], unique=True
    )
    op.create_table(
        "email_answers",
        *_event_key(),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("email_address", sa.Text),
        sa.Column("address_erased", sa.Boolean, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        *_times(),
    )
    op.create_index(
        "email_answers_by_correlation_id", "email_answers", ["store_id", "correlation_id"]
    )


def _create_accounts() -> None:
    op.create_table(
        "rejections",
        *_event_key(),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("error_code", sa.Text, nullable=False),
        sa.Column("error_message", sa.Text, nullable=False),
        sa.Column("received_at", UtcTimestamp, nullable=False),
    )
    op.create_index("rejections_by_correlation_id", "rejections", ["store_id", "correlation_id"])
    op.create_table(
        "doubles",
        *_event_key(),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("received_at", UtcTimestamp, nullable=False),
    )
    op.create_table(
        "gaps",
        *_key("store_id", "till_id", "epoch"),
        sa.Column("first_sequence", sa.BigInteger, primary_key=True),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("noted_at", UtcTimestamp, nullable=False),
    )


def _key(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def _event_key() -> list[sa.Column[str] | sa.Column[int]]:
    number = sa.Column("sequence", sa.BigInteger, primary_key=True)
    return [*_key("store_id", "till_id", "epoch"), number]


def _times() -> list[sa.Column[datetime] | sa.Column[bool]]:
    return [
        sa.Column("occurred_at", UtcTimestamp, nullable=False),
        sa.Column("received_at", UtcTimestamp, nullable=False),
        sa.Column("corrected_at", UtcTimestamp),
        sa.Column("clock_trusted", sa.Boolean, nullable=False),
    ]
