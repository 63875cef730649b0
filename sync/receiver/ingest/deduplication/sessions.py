"""Known sessions under the correlation ids of a batch: finds duplicates. Pure, no I/O."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from sync.receiver.ingest.deduplication.digest import digest_of
from sync.receiver.ingest.deduplication.equality import is_same_event
from sync.receiver.ingest.events import SessionEvent


class KnownSessions:
    """Sessions by correlation id; `stored_here` are this till's own.

    A till owns a session that is stored for it, or that it repeated (`duplicated_here`).
    """

    def __init__(
        self,
        sessions: Mapping[str, Sequence[SessionEvent]],
        stored_here: Mapping[str, SessionEvent],
        duplicated_here: Iterable[str],
    ) -> None:
        self._sessions = {name: list(known) for name, known in sessions.items()}
        self._stored_here = dict(stored_here)
        self._owned = {*stored_here, *duplicated_here}
        # Cache by `id()`: the sessions live as long as this object.
        self._digests: dict[int, str] = {}

    def __contains__(self, correlation_id: str) -> bool:
        """Return whether any till has a session of this id."""
        return correlation_id in self._sessions

    def is_stored_here(self, correlation_id: str) -> bool:
        """Return whether a session of this id is stored for this till."""
        return correlation_id in self._stored_here

    def is_owned(self, correlation_id: str) -> bool:
        """Return whether this till owns a session of this id."""
        return correlation_id in self._owned

    def add(self, session: SessionEvent) -> None:
        """Add a session that is stored for this till."""
        self._sessions.setdefault(session.correlation_id, []).append(session)
        self._stored_here[session.correlation_id] = session
        self._owned.add(session.correlation_id)

    def own(self, correlation_id: str) -> None:
        """Note that this till sent a duplicate of the session, and so owns it."""
        self._owned.add(correlation_id)

    def has_same(self, session: SessionEvent) -> bool:
        """Return whether the session is a duplicate of a known one.

        Times must be equal, except for the till's own sessions: an agent that has lost a session
        captures the till's retry as a new one, later.
        """
        others = self._sessions.get(session.correlation_id, ())
        return any(self._is_same(session, other) for other in others)

    def _is_same(self, session: SessionEvent, other: SessionEvent) -> bool:
        """Compare digests first: a batch may compare thousands of sessions with one large body."""
        if session.occurred_at != other.occurred_at:
            if not self._is_own(other):
                return False
            session = msgspec.structs.replace(session, occurred_at=other.occurred_at)
        if id(other) not in self._digests:
            self._digests[id(other)] = digest_of(other)
        has_same_digest = digest_of(session) == self._digests[id(other)]
        return has_same_digest and is_same_event(session, other)

    def _is_own(self, session: SessionEvent) -> bool:
        """Return whether it is the session that this till stored, or else sent a duplicate of."""
        own = self._stored_here.get(session.correlation_id)
        return own is session if own is not None else session.correlation_id in self._owned
