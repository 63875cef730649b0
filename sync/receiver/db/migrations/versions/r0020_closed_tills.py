"""Add that a till was switched off in order, and the message by which a late one is told.

A receiver of the version before leaves the columns as they are (rolling upgrade): a till that it
hears stays closed until a newer one hears it.
"""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the columns."""
    for name, kind in (
        ("closed_at", UtcTimestamp),
        ("heard_boot_id", sa.Text),
        ("heard_monotonic_us", sa.BigInteger),
    ):
        op.add_column("agents", sa.Column(name, kind))
