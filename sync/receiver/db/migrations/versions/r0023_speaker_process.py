"""Add the process of the last speaker, apart from its boot and epoch (rolling upgrade)."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add the column."""
    op.add_column("agents", sa.Column("speaker_run_id", sa.Text))
