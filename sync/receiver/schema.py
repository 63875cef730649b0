"""Brings a database to the newest schema, forward only."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

NEWEST_REVISION = "0001"
MIGRATIONS = Path(__file__).parent / "migrations"


def revision_of(connection: Connection) -> str | None:
    """Return the schema revision of the database; None for one without tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def bring_up_to_date(connection: Connection) -> None:
    """Migrate the database in the transaction under way; one from a newer version stays."""
    found = revision_of(connection)
    if found is not None and found >= NEWEST_REVISION:
        return
    # Alembic is needed once in a schema's life: the usual start does not pay for importing it.
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
