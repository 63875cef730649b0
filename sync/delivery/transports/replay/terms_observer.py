"""Observes program terms in central's responses to session starts."""

from collections.abc import Callable, Mapping

from sync.delivery.outbox import OutboxEvent
from sync.delivery.transports.replay.loyalty_api import Json, json_object
from sync.protocol.program_terms import SessionKind, SessionTerms, session_kind, session_terms

# Bounds the cache: tills choose the channel, and a faulty till could send endless new ones.
_MAX_KINDS = 64

OnTerms = Callable[[SessionKind, SessionTerms], None]


class TermsObserver:
    """Calls `on_terms` for each kind of session whenever its terms change."""

    def __init__(self, on_terms: OnTerms) -> None:
        self._on_terms = on_terms
        self._last: dict[SessionKind, tuple[Json, ...]] = {}

    def observe(self, session: OutboxEvent, response: Mapping[str, Json]) -> None:
        """Report the terms in central's response to `session`, if they are new."""
        kind = session_kind(json_object(session.body) or {}, session.query_locale)
        # Compared as they come: converting them costs more than the rest of the way.
        members = tuple(map(response.get, SessionTerms.__struct_encode_fields__))
        if self._last.get(kind) == members or (terms := session_terms(response)) is None:
            return
        if len(self._last) >= _MAX_KINDS:
            self._last.clear()
        self._last[kind] = members
        self._on_terms(kind, terms)
