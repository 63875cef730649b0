"""Add by which two machines under one name are noticed."""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("agents", sa.Column("speaker", sa.Text))
    op.add_column("agents", sa.Column("speaker_returns", sa.BigInteger))
    op.add_column("agents", sa.Column("speaker_returned_at", UtcTimestamp))
    op.add_column("boots", sa.Column("spoke_at", UtcTimestamp))
