"""Find the last rejection and the last repeat of a session in an epoch by an index."""

from alembic import op

revision = "0014"
down_revision = "0013"

_COLUMNS = ["store_id", "correlation_id", "till_id", "type", "epoch", "sequence"]


def upgrade() -> None:
    """Replace the indexes of both tables by longer ones."""
    op.create_index("rejections_by_id", "rejections", _COLUMNS)
    op.drop_index("rejections_by_session", "rejections")
    op.create_index("duplicates_by_id", "duplicates", _COLUMNS)
    op.drop_index("duplicates_by_session", "duplicates")
