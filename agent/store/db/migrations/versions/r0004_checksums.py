"""Revision 0004: a checksum over each event, and the list of damaged rows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column and the table. Rows of earlier versions have no checksum."""
    op.add_column("event", sa.Column("checksum", sa.Integer))
    op.create_table(
        "damaged_row",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("row_key", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("found_at_us", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
