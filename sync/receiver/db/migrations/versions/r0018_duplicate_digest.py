"""Add the digest of a duplicate's content, by which its repeat is told once the original is purged.

Duplicates of before have none; there type and correlation id decide.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the column."""
    op.add_column("duplicates", sa.Column("digest", sa.Text))
