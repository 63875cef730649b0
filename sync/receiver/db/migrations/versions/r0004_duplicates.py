"""Rename the table `doubles` to `duplicates`.

The one migration that does not only add: receivers of the version before fail to store
duplicates until they are replaced, and agents retry. Renaming is cheap and Citus propagates it.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Rename the table and, on PostgreSQL, the index of its primary key."""
    op.rename_table("doubles", "duplicates")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER INDEX doubles_pkey RENAME TO duplicates_pkey")
