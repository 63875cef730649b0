"""Add the audit log, which the database keeps append-only.

SQLite: triggers refuse UPDATE and DELETE. PostgreSQL: the owner loses the privileges (a superuser
keeps them); a trigger would stop Citus from distributing the table.
"""

import sqlalchemy as sa
from alembic import op

from sync.receiver.db.columns import UtcTimestamp

revision = "0005"
down_revision = "0004"

_KEY = {"store_id": sa.Text, "at": UtcTimestamp, "entry_id": sa.Text}
_TEXTS = ("till_id", "action", "actor", "origin", "detail")


def upgrade() -> None:
    """Add the table and protect its rows."""
    op.create_table(
        "audit_log",
        *(sa.Column(name, kind, primary_key=True) for name, kind in _KEY.items()),
        *(sa.Column(name, sa.Text, nullable=False) for name in _TEXTS),
    )
    op.create_index("audit_log_by_time", "audit_log", ["at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON audit_log FROM PUBLIC, CURRENT_USER")
        return
    for deed in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_log_refuses_{deed.lower()} BEFORE {deed} ON audit_log"
            " BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
