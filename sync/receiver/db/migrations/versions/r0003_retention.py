"""Add the retention cursor: the number up to which an epoch's events were purged."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    purged = sa.Column("purged_through", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    op.add_column("agents", purged)
