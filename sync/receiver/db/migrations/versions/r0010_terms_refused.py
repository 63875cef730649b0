"""Add the program terms that a till does not use, by its heartbeat."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column."""
    op.add_column("agents", sa.Column("terms_refused", sa.Text))
