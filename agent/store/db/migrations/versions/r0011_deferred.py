"""Revision 0011: deferred events, beside the dead letters."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns and their index."""
    op.add_column("dead_letter", sa.Column("stuck_since_us", sa.Integer))
    op.add_column(
        "dead_letter",
        sa.Column("next_try_at_us", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    op.create_index(
        "dead_letter_deferred",
        "dead_letter",
        ["destination", "position"],
        sqlite_where=sa.text("stuck_since_us IS NOT NULL"),
    )
