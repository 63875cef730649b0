"""Revision 0001: the first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    _create_numbering()
    _create_captures()
    _create_delivery()


def _create_numbering() -> None:
    op.create_table(
        "epoch",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.Text, nullable=False, unique=True),
        sa.Column("base_position", sa.Integer, nullable=False),
        sa.Column("began_at_us", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "boot",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("boot_id", sa.Text, nullable=False, unique=True),
        sa.Column("first_seen_us", sa.Integer, nullable=False),
        sqlite_strict=True,
    )


def _create_captures() -> None:
    op.create_table(
        "event",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("session_position", sa.Integer, nullable=False),
        sa.Column("occurred_at_us", sa.Integer, nullable=False),
        sa.Column("monotonic_us", sa.Integer, nullable=False),
        sa.Column("boot_number", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "session",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("correlation_id", sa.Text, nullable=False, unique=True),
        sa.Column("query_locale", sa.Text),
        sa.Column("closed", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "email_answer",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("session_position", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("address", sa.LargeBinary),
        sa.Column("address_mark", sa.LargeBinary),
        sqlite_strict=True,
    )
    op.create_index("email_answer_by_session", "email_answer", ["session_position"])


def _create_delivery() -> None:
    op.create_table(
        "destination",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("watermark", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "delivery",
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("through_position", sa.Integer, primary_key=True),
        sa.Column("delivered_at_us", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "settled",
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("delivered_at_us", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "dead_letter",
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("error_code", sa.Text, nullable=False),
        sa.Column("error_message", sa.Text, nullable=False),
        sa.Column("http_status", sa.Integer),
        sa.Column("refused_at_us", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
