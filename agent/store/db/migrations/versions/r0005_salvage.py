"""Revision 0005: captures salvaged from quarantined databases, and their first receipts."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "receipt_alias",
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "salvage",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("fed_through", sa.Integer, nullable=False),
        sa.Column("last_position", sa.Integer, nullable=False),
        sa.Column("salvaged", sa.Integer, nullable=False),
        sa.Column("unreadable", sa.Integer, nullable=False),
        sa.Column("is_read", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
