"""Stores the latest program terms, for use while central is unreachable."""

import logging
import sqlite3
from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from agent.store.db.rows import checked, int_or_none, readable
from agent.store.db.tables import LearnedTermsRow
from agent.store.files.storage_errors import CorruptRow
from sync.protocol.rfc3339 import us_to_rfc3339
from sync.protocol.terms_check import TermsFault
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)
KEEP_FETCH = """
INSERT OR REPLACE INTO terms_fetch (source, answered_at_us, refused_field, refused_reason)
VALUES ('program', ?, ?, ?)
"""
LEARNED_AT = "SELECT learned_at_us FROM program_terms WHERE source = 'program'"
READ_FETCH = """
SELECT answered_at_us, refused_field, refused_reason FROM terms_fetch WHERE source = 'program'
"""


@dataclass(frozen=True, slots=True)
class LearnedTerms:
    """Program terms from `source`, in its own JSON, and their ETag if it has one.

    `agent_version` decoded them, without members unknown to it.
    """

    source: str
    terms: str
    etag: str | None = None
    agent_version: str = ""


@dataclass(frozen=True, slots=True)
class TermsFetch:
    """Time of central's last answer to a request for terms, and the fault of these, if any."""

    answered_at_us: int | None = None
    fault: TermsFault | None = None


@dataclass(frozen=True, slots=True)
class NotFetched:
    """Program terms that are not fetched, since when (None: never), and the cause."""

    since_us: int | None
    reason: str

    def __str__(self) -> str:
        """Return both as one phrase."""
        since = "never fetched"
        if self.since_us is not None:
            since = f"not fetched since {us_to_rfc3339(self.since_us)}"
        return f"{since}: {self.reason}"


def keep_terms(session: Session, learned: LearnedTerms, now_us: int) -> None:
    """Store `learned`, replacing the previous terms of the same source."""
    session.merge(LearnedTermsRow(**asdict(learned), learned_at_us=now_us))


def read_terms(session: Session) -> list[LearnedTerms]:
    """Return the stored terms of all sources, the latest last; log those that are damaged."""
    row = LearnedTermsRow
    columns = (col(row.source), col(row.terms), col(row.etag), col(row.agent_version))
    rows = session.exec(select(*columns).order_by(col(row.learned_at_us)))
    learned = []
    for source, terms, etag, version in rows:
        try:
            known = checked((source, terms, version), tuple[str, str, str])
        except CorruptRow:
            # The configured terms apply until central sends these again.
            log_event(_log, logging.ERROR, "terms.damaged")
        else:
            learned.append(LearnedTerms(known[0], known[1], _usable_etag(etag), known[2]))
    return learned


def _usable_etag(found: object) -> str | None:
    etag = readable(found)
    return etag if etag and etag.isascii() and etag.isprintable() else None


def keep_fetch(connection: sqlite3.Connection, fetch: TermsFetch) -> None:
    """Store `fetch`, replacing the one before."""
    fault = (None, None) if fetch.fault is None else (fetch.fault.field, fetch.fault.reason)
    connection.execute(KEEP_FETCH, (fetch.answered_at_us, *fault))


def read_fetch(connection: sqlite3.Connection) -> TermsFetch:
    """Return the last fetch; an empty one if there was none, or if the row is damaged.

    Versions before recorded none: then it is when the stored terms were learned.
    """
    row = connection.execute(READ_FETCH).fetchone()
    if row is None:
        learned = connection.execute(LEARNED_AT).fetchone()
        return TermsFetch(int_or_none(learned[0]) if learned else None)
    try:
        at_us, field, reason = checked(row, tuple[int | None, str | None, str | None])
    except CorruptRow:
        return TermsFetch()
    return TermsFetch(at_us, None if field is None else TermsFault(field, reason or ""))
