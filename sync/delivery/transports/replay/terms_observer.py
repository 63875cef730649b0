"""Observes program terms in central's responses to session starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sync.delivery.outbox import OutboxEvent
from sync.delivery.transports.replay.loyalty_api import Json, json_object

# Bounds the cache: tills choose the channel, and a faulty till could send endless new ones.
_MOST_KINDS = 64
# All other members belong to the single session (`reference/start-anonymous-session.txt`).
_TERMS = ("prompt", "promptMessage", "receiptMessage", "redemptionRules")


@dataclass(frozen=True, slots=True)
class SessionKind:
    """Key that terms depend on. `is_anonymous`: the session has an `anonymousSessionId`."""

    channel: str | None
    locale: str | None
    is_anonymous: bool


Learned = Callable[[SessionKind, Mapping[str, Json]], None]


class Lessons:
    """Reports the terms of each kind of session whenever they change."""

    def __init__(self, learned: Learned) -> None:
        self._learned = learned
        self._last: dict[SessionKind, Mapping[str, Json]] = {}

    def heed(self, session: OutboxEvent, document: Mapping[str, Json]) -> None:
        """Report the terms in `document`, central's response to `session`, if they are new."""
        kind = _kind(session)
        terms = {name: document[name] for name in _TERMS if name in document}
        if self._last.get(kind) == terms:
            return
        if len(self._last) >= _MOST_KINDS:
            self._last.clear()
        self._last[kind] = terms
        self._learned(kind, terms)


def _kind(session: OutboxEvent) -> SessionKind:
    asked = json_object(session.body) or {}
    return SessionKind(
        channel=_text(asked.get("channel")),
        locale=session.query_locale or _text(asked.get("locale")),
        is_anonymous=bool(asked.get("anonymousSessionId")),
    )


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None
