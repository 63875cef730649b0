"""Revision 0003: erased digests, scrubs of the WAL, purges for lack of room."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    for name in ("digests_erased_through", "scrubs"):
        op.add_column("destination", _count(name))
    for name in ("purged_early_at_us", "purged_early_kept_us"):
        op.add_column("destination", sa.Column(name, sa.Integer))
    op.add_column("destination", sa.Column("purged_early_reason", sa.Text))


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))
