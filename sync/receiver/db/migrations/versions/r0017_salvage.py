"""Revision 0017: what a till salvages from database files that it set aside."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the columns."""
    for name in ("salvage_pending", "salvage_salvaged", "salvage_unreadable"):
        op.add_column("agents", sa.Column(name, sa.BigInteger))
