"""Revision 0009: numbers that came back by salvage, what head office has said of the others."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

# Each run of numbers without a hole becomes one range. Receipts of the first ones may be purged. A
# damaged row must not make this endless.
_FILL = """
INSERT INTO returned_numbers (epoch, first_sequence, last_sequence)
WITH first_ones (epoch, sequence, last_sequence) AS (
    SELECT epoch, first, moved_through FROM (
        SELECT epoch, moved_through,
            max(held_through, coalesce(accepted_through, 0)) + 1 AS first
        FROM lost_captures
    )
    WHERE moved_through BETWEEN first AND first + 1000000
    UNION ALL
    SELECT epoch, sequence + 1, last_sequence FROM first_ones WHERE sequence < last_sequence
)
SELECT epoch, min(sequence), max(sequence) FROM (
    SELECT epoch, sequence,
        sequence - row_number() OVER (PARTITION BY epoch ORDER BY sequence) AS run
    FROM (
        SELECT epoch, sequence FROM receipt_alias
        UNION SELECT epoch, sequence FROM salvaged_number
        UNION SELECT epoch, sequence FROM first_ones
    )
)
GROUP BY epoch, run
"""


def upgrade() -> None:
    """Create the table, fill it with what is known, and add the columns."""
    op.create_table(
        "returned_numbers",
        sa.Column("epoch", sa.Text, primary_key=True),
        sa.Column("first_sequence", sa.Integer, primary_key=True),
        sa.Column("last_sequence", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
    op.execute(_FILL)
    op.add_column(
        "lost_captures",
        sa.Column("named_through", sa.Integer, nullable=False, server_default=sa.text("0")),
    )
    op.add_column("lost_captures", sa.Column("acknowledged_at_us", sa.Integer))
    op.add_column(
        "lost_captures",
        sa.Column("found_with", sa.Text, nullable=False, server_default=sa.text("''")),
    )
    op.execute("UPDATE lost_captures SET named_through = lost_through WHERE told_at_us IS NOT NULL")
