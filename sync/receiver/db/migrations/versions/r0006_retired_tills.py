"""Add retired tills and acknowledged gaps."""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("agents", sa.Column("retired_at", UtcTimestamp))
    op.add_column("gaps", sa.Column("acknowledged_at", UtcTimestamp))
    op.add_column("gaps", sa.Column("acknowledged_by", sa.Text))
    op.add_column("gaps", sa.Column("acknowledged_reason", sa.Text))
