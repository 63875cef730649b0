"""Add the digests by which purged events are recognised.

Events that were purged before have none: only those that are not younger count as repeats.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "purged_digests",
        sa.Column("store_id", sa.Text, primary_key=True),
        sa.Column("till_id", sa.Text, primary_key=True),
        sa.Column("epoch", sa.Text, primary_key=True),
        sa.Column("first_sequence", sa.BigInteger, primary_key=True),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
        sa.Column("digests", sa.LargeBinary, nullable=False),
    )
