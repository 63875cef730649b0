"""Recognises purged events by short digests of their content. Pure, no I/O.

Retention keeps eight bytes of each event that it purges, in blocks of a thousand numbers. A number
alone proves nothing: a machine put back from an image gives it to another event. Invariant: as for
the digests they are made of, redaction changes none, and no address can be guessed by one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from sync.protocol.wire import EventType
from sync.receiver.ingest.deduplication.digest import digest_of, masked
from sync.receiver.ingest.events import Event, InvalidEvent, ValidEvent, type_of

NUMBERS_PER_BLOCK = 1000
# Of events under the same number of an epoch: by chance, two of 2**64 are equal.
BYTES = 8
_NONE = bytes(BYTES)


def short_digest(event: ValidEvent) -> bytes:
    """Return the digest to keep of a purged event."""
    return _digest(type_of(event), digest_of(event), event.correlation_id)


def duplicate_digest(event_type: EventType, correlation_id: str, digest: str | None) -> bytes:
    """Return the digest to keep of a purged duplicate, of which the ledger has this `digest`."""
    return _digest(event_type, digest or "", correlation_id)


def first_of_block(number: int) -> int:
    """Return the first number of the block that holds `number`."""
    return number - (number - 1) % NUMBERS_PER_BLOCK


def merged(block: bytes, first: int, added: Mapping[int, bytes]) -> bytes:
    """Return the block that begins with number `first`, with these digests in it."""
    size = max(len(block), (max(added) - first + 1) * BYTES)
    digests = bytearray(block.ljust(size, b"\0"))
    for number, digest in added.items():
        at = (number - first) * BYTES
        digests[at : at + BYTES] = digest
    return bytes(digests)


@dataclass(frozen=True, slots=True)
class PurgedNumbers:
    """The numbers of an epoch `through` which all were purged, as far as they concern a batch.

    `blocks` of digests, by their first number. Events that a version before purged have no digest;
    none of the `younger` numbers of the batch can be of such an event: it was captured later than
    all of them, or its time is unknown. A repeat may so be taken twice, but nothing is lost.
    """

    through: int = 0
    blocks: Mapping[int, bytes] = field(default_factory=dict)
    younger: frozenset[int] = frozenset()

    def has_digest(self, number: int) -> bool:
        """Return whether a digest of the event under `number` was kept."""
        return self._digest(number) != _NONE

    def recognises(self, event: Event) -> bool:
        """Return whether `event` is a repeat of the one that was purged under its number."""
        if isinstance(event, InvalidEvent):
            return False
        kept = self._digest(event.sequence)
        if kept == _NONE:
            return event.sequence not in self.younger
        without_content = duplicate_digest(type_of(event), event.correlation_id, None)
        return kept in {short_digest(event), without_content}

    def _digest(self, number: int) -> bytes:
        first = first_of_block(number)
        at = (number - first) * BYTES
        return self.blocks.get(first, b"")[at : at + BYTES] or _NONE


def _digest(event_type: EventType, digest: str, correlation_id: str) -> bytes:
    content = f"{event_type.value} {digest} {masked(correlation_id)}"
    return blake2b(content.encode(), digest_size=BYTES).digest()
