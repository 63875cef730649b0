"""Stores the latest program terms, for use while central is unreachable."""

import logging
from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from agent.store.db.rows import checked
from agent.store.db.tables import LearnedTermsRow
from agent.store.files.storage_errors import CorruptRow
from sync.runtime.logging import log_event

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LearnedTerms:
    """Program terms from `source`, in its own JSON, and their ETag if it has one."""

    source: str
    terms: str
    etag: str | None = None


def keep_terms(session: Session, learned: LearnedTerms, now_us: int) -> None:
    """Store `learned`, replacing the previous terms of the same source."""
    session.merge(LearnedTermsRow(**asdict(learned), learned_at_us=now_us))


def read_terms(session: Session) -> list[LearnedTerms]:
    """Return the stored terms of all sources, the latest last; log those that are damaged."""
    rows = session.exec(
        select(LearnedTermsRow.source, LearnedTermsRow.terms).order_by(
            col(LearnedTermsRow.learned_at_us)
        )
    )
    learned = []
    for row in rows:
        try:
            learned.append(LearnedTerms(*checked(tuple(row), tuple[str, str])))
        except CorruptRow:
            # The configured terms apply until central sends these again.
            log_event(_log, logging.ERROR, "terms.damaged")
    return learned


def read_etag(session: Session, source: str) -> str | None:
    """Return the ETag of the stored terms of `source`."""
    found: object = session.exec(
        select(LearnedTermsRow.etag).where(LearnedTermsRow.source == source)
    ).first()
    return found if isinstance(found, str) and found.isascii() and found.isprintable() else None
