"""Add the sessions of signed-in readers."""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "reader_sessions",
        sa.Column("store_id", sa.Text, primary_key=True),
        sa.Column("session_hash", sa.Text, primary_key=True),
        sa.Column("expires_at", UtcTimestamp, nullable=False),
    )
