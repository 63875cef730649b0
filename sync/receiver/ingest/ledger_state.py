"""Values of the ledger: the stored state that concerns a batch, and the changes that it makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from sync.protocol.wire import Rejection
from sync.receiver.ingest.deduplication.purged import PurgedNumbers
from sync.receiver.ingest.events import AnswerEvent, InvalidEvent, SessionEvent, ValidEvent
from sync.receiver.ingest.gaps import Gap

ADDRESS_ERASED = "address erased before it could be sent again"


class EventKey(NamedTuple):
    """The stored part of a rejected or duplicate event; a duplicate has a digest as well."""

    type: str
    correlation_id: str
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The stored state that concerns one batch.

    By sequence number: `stored`, `rejected`, `duplicates`, `gaps`. By correlation id within the
    store: `sessions`, at most one a till, and `answers`: an entry for each session with answers, of
    these at least those that can equal an event of the batch. `digests` are those of the batch's
    answers to these sessions, by number. `stored_here`: those of the `sessions` that are this
    till's own. Ids of sessions: `duplicated_here`, of which this till sent a duplicate of another
    till's; `rejected_here`, of which the last one in this epoch was rejected; `rejected_elsewhere`,
    of which one was rejected in another epoch of this till. `purged`: the numbers past retention.
    """

    stored: Mapping[int, ValidEvent] = field(default_factory=dict)
    rejected: Mapping[int, EventKey] = field(default_factory=dict)
    duplicates: Mapping[int, EventKey] = field(default_factory=dict)
    gaps: Sequence[Gap] = ()
    sessions: Mapping[str, Sequence[SessionEvent]] = field(default_factory=dict)
    answers: Mapping[str, Sequence[AnswerEvent]] = field(default_factory=dict)
    digests: Mapping[int, str] = field(default_factory=dict)
    stored_here: Mapping[str, SessionEvent] = field(default_factory=dict)
    duplicated_here: frozenset[str] = frozenset()
    rejected_here: frozenset[str] = frozenset()
    rejected_elsewhere: frozenset[str] = frozenset()
    purged: PurgedNumbers = field(default_factory=PurgedNumbers)


@dataclass(slots=True)
class AcceptedBatch:
    """The changes to write. `rejections`, for the response, cover `rejected` and `altered`.

    Numbers up to `resent_through` are resends. `readmitted` are numbers no longer rejected,
    `restored` answers that bring a missing address.
    """

    accepted_through: int
    resent_through: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    sessions: list[SessionEvent] = field(default_factory=list)
    answers: list[AnswerEvent] = field(default_factory=list)
    rejected: list[InvalidEvent] = field(default_factory=list)
    altered: list[int] = field(default_factory=list)
    readmitted: list[int] = field(default_factory=list)
    duplicates: list[ValidEvent] = field(default_factory=list)
    restored: list[AnswerEvent] = field(default_factory=list)
    gaps_deleted: list[Gap] = field(default_factory=list)
    gaps_added: list[Gap] = field(default_factory=list)

    def extend(self, later: "AcceptedBatch") -> None:
        """Add the changes of a later part of the batch."""
        for name in _CHANGES:
            getattr(self, name).extend(getattr(later, name))


_CHANGES = [one.name for one in fields(AcceptedBatch) if one.default_factory is list]
