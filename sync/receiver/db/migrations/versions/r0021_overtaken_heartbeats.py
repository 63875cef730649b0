"""Add by which a heartbeat that was overtaken, and two agents on one host, are noticed."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("agents", sa.Column("speaker_before", sa.Text))
    op.add_column("agents", sa.Column("speaker_sent_us", sa.BigInteger))
