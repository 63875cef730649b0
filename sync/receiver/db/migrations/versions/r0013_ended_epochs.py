"""Add how an epoch ended, and that a person accepts that its machine may hold more.

An epoch that had ended before has no `followed_at`: nothing was stored by which it could be told
from one whose machine died with captures aboard. It does not count as unconfirmed, is listed as
"unrecorded", and is confirmed as soon as a heartbeat names it. A receiver of the version before
records no end either (rolling upgrade).
"""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0013"
down_revision = "0012"

_UNCONFIRMED = sa.text(
    "followed_at IS NOT NULL AND is_current IS NULL"
    " AND ended_through IS NULL AND acknowledged_at IS NULL"
)


def upgrade() -> None:
    """Add the columns, and an index of the few epochs without a last word of their machine."""
    for name, kind in (
        ("followed_at", UtcTimestamp),
        ("ended_through", sa.BigInteger),
        ("ended_reason", sa.Text),
        ("acknowledged_at", UtcTimestamp),
        ("acknowledged_by", sa.Text),
        ("acknowledged_reason", sa.Text),
    ):
        op.add_column("agents", sa.Column(name, kind))
    op.create_index(
        "agents_unconfirmed",
        "agents",
        ["store_id", "till_id", "epoch"],
        sqlite_where=_UNCONFIRMED,
        postgresql_where=_UNCONFIRMED,
    )
