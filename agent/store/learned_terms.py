"""Stores the latest program terms, for use while central is unreachable."""

from dataclasses import asdict, dataclass

from sqlmodel import Session, col, select

from agent.store.db.rows import checked_rows
from agent.store.db.tables import LearnedTermsRow


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
    """Return the stored terms of all sources, the latest last."""
    rows = session.exec(
        select(LearnedTermsRow.source, LearnedTermsRow.terms).order_by(
            col(LearnedTermsRow.learned_at_us)
        )
    )
    return [LearnedTerms(*row) for row in checked_rows(map(tuple, rows), tuple[str, str])]


def read_etag(session: Session, source: str) -> str | None:
    """Return the ETag of the stored terms of `source`."""
    row = session.get(LearnedTermsRow, source)
    return None if row is None else row.etag
