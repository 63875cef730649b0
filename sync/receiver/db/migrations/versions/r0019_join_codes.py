"""Add the join codes of tills, and the authorities that they name."""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "join_codes",
        sa.Column("store_id", sa.Text, primary_key=True),
        sa.Column("till_id", sa.Text, primary_key=True),
        sa.Column("secret_hash", sa.Text, nullable=False),
        sa.Column("issued_at", UtcTimestamp, nullable=False),
        sa.Column("expires_at", UtcTimestamp, nullable=False),
        sa.Column("token_hash", sa.Text),
        sa.Column("used_at", UtcTimestamp),
    )
    op.create_table(
        "authorities",
        sa.Column("store_id", sa.Text, primary_key=True),
        sa.Column("mark", sa.Text, primary_key=True),
        sa.Column("certificate", sa.Text, nullable=False),
        sa.Column("added_at", UtcTimestamp, nullable=False),
    )
