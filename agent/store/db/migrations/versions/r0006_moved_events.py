"""Revision 0006: how many events an epoch took over from the one before."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column. It is unknown of epochs from earlier versions."""
    op.add_column("epoch", sa.Column("moved_events", sa.Integer))
