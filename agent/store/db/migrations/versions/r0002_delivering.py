"""Revision 0002: events in flight, erased and purged positions, program terms."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and tables."""
    for name in ("attempting_from", "attempting_through", "erased_through", "purged_through"):
        op.add_column("destination", _number(name))
    _create_doubt()
    _extend_dead_letters()
    _create_program_terms()


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))


def _create_doubt() -> None:
    op.create_table(
        "doubt",
        sa.Column("destination", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sqlite_strict=True,
    )


def _extend_dead_letters() -> None:
    op.add_column("dead_letter", sa.Column("discarded_at_us", sa.Integer))
    op.add_column("dead_letter", _number("retry_wanted"))
    op.add_column(
        "dead_letter",
        sa.Column("agent_version", sa.Text, nullable=False, server_default=sa.text("''")),
    )
    op.create_index(
        "dead_letter_to_retry",
        "dead_letter",
        ["destination", "position"],
        sqlite_where=sa.text("retry_wanted = 1"),
    )


def _create_program_terms() -> None:
    op.create_table(
        "program_terms",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("etag", sa.Text),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("learned_at_us", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
