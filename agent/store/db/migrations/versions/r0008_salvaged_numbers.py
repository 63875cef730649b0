"""Revision 0008: numbers of salvaged captures beside the receipts that tills were given."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "salvaged_number",
        sa.Column("epoch", sa.Text, primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True),
        sqlite_strict=True,
    )
