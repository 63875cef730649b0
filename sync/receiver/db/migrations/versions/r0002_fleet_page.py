"""Add the fleet page's data: hourly rollups per till, and values of the previous heartbeat.

Hours before the migration are not backfilled.
"""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0002"
down_revision = "0001"

_SUMS = ("sessions", "accepted", "deferred", "declined", "other_answers")
_LAGS = ("arrived", "lag_seconds", "longest_lag_seconds")


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("agents", sa.Column("heartbeat_before_at", UtcTimestamp))
    op.add_column("agents", sa.Column("outstanding_before", sa.BigInteger))
    op.create_table(
        "hours",
        sa.Column("store_id", sa.Text, primary_key=True),
        sa.Column("till_id", sa.Text, primary_key=True),
        sa.Column("hour", UtcTimestamp, primary_key=True),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in (*_SUMS, *_LAGS)),
    )
    op.create_index("hours_by_hour", "hours", ["hour"])
