"""Keep which events have times that are corrected once the clock of their boot is known."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add the table and the column."""
    op.create_table(
        "uncertain_times",
        sa.Column("store_id", sa.Text, primary_key=True),
        sa.Column("till_id", sa.Text, primary_key=True),
        sa.Column("epoch", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True),
        sa.Column("boot_id", sa.Text, nullable=False),
        sa.Column("monotonic_us", sa.BigInteger, nullable=False),
    )
    op.add_column("boots", sa.Column("has_uncertain", sa.Boolean))
