"""Keep what the messages of a boot tell of its clock, so that the best one counts, not the last."""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("boots", sa.Column("heard_at", UtcTimestamp))
    op.add_column("boots", sa.Column("is_confirmed", sa.Boolean))
    for name in ("later_zero_at", "later_since"):
        op.add_column("boots", sa.Column(name, UtcTimestamp))
