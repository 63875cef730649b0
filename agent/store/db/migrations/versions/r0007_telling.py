"""Revision 0007: captures known to be lost; when program terms were fetched, by which version."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables and add the column."""
    op.create_table(
        "lost_captures",
        sa.Column("epoch", sa.Text, primary_key=True),
        sa.Column("held_through", sa.Integer, nullable=False),
        sa.Column("lost_through", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("noticed_at_us", sa.Integer, nullable=False),
        sa.Column("accepted_through", sa.Integer),
        sa.Column("told_at_us", sa.Integer),
        _count("returned"),
        _count("moved_through"),
        sqlite_strict=True,
    )
    op.create_table(
        "terms_fetch",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("answered_at_us", sa.Integer),
        sa.Column("refused_field", sa.Text),
        sa.Column("refused_reason", sa.Text),
        sqlite_strict=True,
    )
    op.add_column(
        "program_terms",
        sa.Column("agent_version", sa.Text, nullable=False, server_default=sa.text("''")),
    )


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))
