"""Add the digest of an answer's content, and indexes by which few rows of a session are found.

Answers of before have no digest; they are found by their time instead.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_HAS_DIGEST = sa.text("digest IS NOT NULL")


def upgrade() -> None:
    """Add the column and the indexes; drop those that the new ones replace."""
    op.add_column("email_answers", sa.Column("digest", sa.Text))
    op.create_index(
        "email_answers_by_session",
        "email_answers",
        ["store_id", "correlation_id", "digest", "occurred_at"],
    )
    op.create_index(
        "email_answers_by_digest",
        "email_answers",
        ["store_id", "correlation_id", "digest", "email_address"],
        sqlite_where=_HAS_DIGEST,
        postgresql_where=_HAS_DIGEST,
    )
    op.drop_index("email_answers_by_correlation_id", "email_answers")
    op.create_index(
        "rejections_by_session",
        "rejections",
        ["store_id", "correlation_id", "till_id", "type", "epoch"],
    )
    op.drop_index("rejections_by_correlation_id", "rejections")
