"""Revision 0010: an index of the open dead letters, so that no read passes the discarded ones."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        "dead_letter_open",
        "dead_letter",
        ["destination", "position"],
        sqlite_where=sa.text("typeof(discarded_at_us) <> 'integer'"),
    )
