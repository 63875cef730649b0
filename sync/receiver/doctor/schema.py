"""Checks of the content of a database, SQLite or PostgreSQL: schema and enrolled tills."""

from sqlalchemy import Connection, text

from sync.receiver.db.migrate import NEWEST_REVISION
from sync.runtime.checks.check import Check, passed, warning
from sync.runtime.cli.printing import count

_SCHEMA, _TILLS = "schema", "tokens"


def check_schema(revision: str | None) -> Check:
    """Judge the revision of the schema; None: there are no tables yet."""
    if revision is None:
        return passed(_SCHEMA, "there are no tables yet: the first start makes them")
    if revision < NEWEST_REVISION:
        found = f"{revision}, older than this version's {NEWEST_REVISION}"
        return warning(_SCHEMA, found, "restart head office: it migrates the schema at its start")
    if revision > NEWEST_REVISION:
        found = f"{revision}, newer than this version's {NEWEST_REVISION}"
        return warning(_SCHEMA, found, "upgrade this receiver as well: another one is newer")
    return passed(_SCHEMA, revision)


def check_tills(tills: int) -> Check:
    """Report the number of tills with a token."""
    if not tills:
        return passed(_TILLS, "no till is enrolled yet: loyalty-hq enroll STORE_ID TILL_ID")
    return passed(_TILLS, f"{count(tills, 'till')} may send")


def count_tills(connection: Connection) -> int:
    """Return the number of tills with a token."""
    distinct = "SELECT DISTINCT store_id, till_id FROM tokens"
    found: int = connection.execute(text(f"SELECT count(*) FROM ({distinct}) AS t")).scalar_one()  # noqa: S608 - constants
    return found
