"""Stores the latest program terms, for use while central is unreachable."""

import sqlite3
from dataclasses import dataclass

from sqlalchemy import BindParameter, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from agent.store.db.epochs import without_nulls
from agent.store.db.sql import compiled
from agent.store.db.tables import LearnedTermsRow, table_of

_terms = table_of(LearnedTermsRow)
_NEW: dict[str, BindParameter[object]] = {
    name: bindparam(name) for name in ("etag", "terms", "learned_at_us")
}
KEEP = compiled(
    insert(_terms)
    .values(source=bindparam("source"), **_NEW)
    .on_conflict_do_update(index_elements=["source"], set_=_NEW)
    .inline()
)
ALL = compiled(select(_terms.c.source, _terms.c.terms).order_by(_terms.c.learned_at_us))
ETAG = compiled(select(_terms.c.etag).where(_terms.c.source == bindparam("source")))


@dataclass(frozen=True, slots=True)
class LearnedTerms:
    """Program terms from `source`, in its own JSON, and their ETag if it has one."""

    source: str
    terms: str
    etag: str | None = None


def keep_terms(connection: sqlite3.Connection, learned: LearnedTerms, now_us: int) -> None:
    """Store `learned`, replacing the previous terms of the same source."""
    values = {
        "source": learned.source,
        "etag": learned.etag,
        "terms": learned.terms,
        "learned_at_us": now_us,
    }
    connection.execute(KEEP.sql, KEEP.row(values))


def read_terms(connection: sqlite3.Connection) -> list[LearnedTerms]:
    """Return the stored terms of all sources, the latest last."""
    rows: list[tuple[str, str]] = list(without_nulls(connection.execute(ALL.sql)))
    return [LearnedTerms(source, terms) for source, terms in rows]


def read_etag(connection: sqlite3.Connection, source: str) -> str | None:
    """Return the ETag of the stored terms of `source`."""
    row = connection.execute(ETAG.sql, (source,)).fetchone()
    return None if row is None else row[0]
