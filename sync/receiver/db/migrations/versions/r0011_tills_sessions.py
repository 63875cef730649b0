"""Keep the sessions of two tills with the same correlation id, and find a till's duplicates.

A receiver of the version before knows one of them until it is replaced (rolling upgrade).
"""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Replace the unique index of sessions, add one for duplicates."""
    op.create_index(
        "sessions_by_id", "sessions", ["store_id", "correlation_id", "till_id"], unique=True
    )
    op.drop_index("sessions_by_correlation_id", "sessions")
    op.create_index(
        "duplicates_by_session", "duplicates", ["store_id", "correlation_id", "till_id", "type"]
    )
