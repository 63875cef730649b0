"""Digest of an event's content: events that can be equal have the same one. Pure, no I/O.

The ledger finds the answers that can equal a new one by it, instead of comparing with all answers
of the session. Invariant: redaction of an address changes no digest, and no address can be guessed
by it. So it covers neither the address nor the correlation id, and every text that may hold an
address counts as the same one. Events with equal digests are compared in full (`accept`).
"""

from hashlib import blake2b

from sync.protocol.json_equality import canonical_json
from sync.protocol.rfc3339 import to_rfc3339
from sync.receiver.ingest.events import AnswerEvent, SessionEvent
from sync.receiver.privacy.redaction import may_hold_address

# Digests are stored: another form would not find the answers of the version before.
_BYTES = 16
_MASK = "@"
_SEPARATOR = b"\0"


def digest_of(event: SessionEvent | AnswerEvent) -> str:
    """Return the digest of an event's content, in hexadecimal digits."""
    own = event.query_locale if isinstance(event, SessionEvent) else event.status
    head = f"{to_rfc3339(event.occurred_at)} {masked(own or '')}".encode()
    digest = blake2b(head, digest_size=_BYTES)
    digest.update(_SEPARATOR)
    digest.update(canonical_json(event.body, may_hold_address) or _as_text(event.body))
    return digest.hexdigest()


def _as_text(body: str) -> bytes:
    """Return the bytes to digest for a body that is no JSON: it equals only itself."""
    # In JSON any character can be written as a \u escape.
    return masked(_MASK if "\\u" in body else body).encode()


def digest_in(event: SessionEvent | AnswerEvent) -> str:
    """Return the digest that the event carries, or compute it."""
    carried = event.digest if isinstance(event, AnswerEvent) else None
    return carried or digest_of(event)


def masked(text: str) -> str:
    """Return `text`, or the same one for all texts that may hold an address."""
    return _MASK if may_hold_address(text) else text
