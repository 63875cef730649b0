"""Mark each till's current epoch, so that pages read one row per till; index what they list.

Until its first heartbeat at a new receiver, a till whose epoch changed at a receiver of the version
before (rolling upgrade) is shown by its epoch before.
"""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0007"
down_revision = "0006"

_MARK_LATEST = """
UPDATE agents SET is_current = true
FROM (
    SELECT store_id, till_id, epoch, row_number() OVER (
        PARTITION BY store_id, till_id
        ORDER BY heartbeat_at DESC NULLS LAST, last_seen_at DESC NULLS LAST, epoch
    ) AS rank
    FROM agents
) AS ranked
WHERE ranked.rank = 1 AND agents.store_id = ranked.store_id
    AND agents.till_id = ranked.till_id AND agents.epoch = ranked.epoch
"""


def upgrade() -> None:
    """Add the columns, mark each till's epoch with the latest heartbeat, add the indexes."""
    op.add_column("agents", sa.Column("is_current", sa.Boolean))
    op.add_column("agents", sa.Column("begun_at", UtcTimestamp))
    op.add_column("agents", sa.Column("older_missing", sa.BigInteger))
    op.add_column("agents", sa.Column("epochs_refused_at", UtcTimestamp))
    op.execute(_MARK_LATEST)
    is_current = sa.text("is_current IS NOT NULL")
    op.create_index(
        "agents_current",
        "agents",
        ["store_id", "is_current", "till_id"],
        unique=True,
        postgresql_where=is_current,
        sqlite_where=is_current,
    )
    has_begun = sa.text("begun_at IS NOT NULL")
    op.create_index(
        "agents_by_begin",
        "agents",
        ["store_id", "begun_at"],
        postgresql_where=has_begun,
        sqlite_where=has_begun,
    )
    op.create_index("rejections_by_time", "rejections", ["store_id", "received_at"])
    op.create_index("gaps_by_time", "gaps", ["store_id", "noted_at"])
