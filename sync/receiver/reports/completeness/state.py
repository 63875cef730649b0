"""State of the sequence numbers of an epoch: here, missing, lost or not confirmed."""

import msgspec

from sync.receiver.ingest.epochs.end import EpochEnd
from sync.receiver.ingest.epochs.returned import AGENT, MOVED


class Range(msgspec.Struct, frozen=True, order=True):
    """Sequence numbers from `first` to `last`, both inclusive."""

    first: int
    last: int


class AcknowledgedGap(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Numbers that will never arrive: accepted as lost by a person, or given up for new ones."""

    first: int
    last: int
    acknowledged_at: str
    acknowledged_by: str
    reason: str

    @property
    def has_moved(self) -> bool:
        """Return whether the events have new numbers, by the word of their agent."""
        return (self.acknowledged_by, self.reason) == (AGENT, MOVED)


class Unconfirmed(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """An ended epoch without the last word of its machine: more captures may exist.

    Known are `captures` of it, when it was heard last, and whether it was switched off in order
    (`closed_at`) and not heard since; its machine may hold more.
    """

    captures: int
    followed_at: str
    last_word_at: str | None
    closed_at: str | None = None


class AcknowledgedEnd(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A person accepted that the machine of an ended epoch may have held more."""

    acknowledged_at: str
    acknowledged_by: str
    reason: str


class EpochCompleteness(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True
):
    """State of the sequence numbers of one epoch.

    Numbers up to `complete_through` are accounted for; those up to `purged_through` were purged.
    `outstanding` are known to exist and have not arrived yet; `missing` were accepted and have no
    row; `gaps` will never arrive; `acknowledged_gaps` are gaps accepted by a person. If the
    epoch has no row in `agents` (not `listed`), `accepted_through` is the highest number found;
    higher ones may have been lost. If `truncated`, there are more ranges than are listed.

    `ended` of an epoch that another one has followed: "confirmed" by its machine, "unconfirmed",
    "acknowledged" by a person, or "unrecorded" (it ended before head office recorded how).

    Of a report on a period: `captured` in it and here, of these `untrusted_times` by their time of
    receipt; the lists hold numbers that may have been captured in it.
    """

    store_id: str
    till_id: str
    epoch: str
    listed: bool
    accepted_through: int
    complete_through: int
    purged_through: int
    outstanding: list[Range]
    rejected: list[Range]
    gaps: list[Range]
    acknowledged_gaps: list[AcknowledgedGap]
    missing: list[Range]
    truncated: bool = False
    ended: EpochEnd | None = None
    unconfirmed: Unconfirmed | None = None
    acknowledged_end: AcknowledgedEnd | None = None
    captured: int | None = None
    untrusted_times: int = 0

    @property
    def is_complete(self) -> bool:
        """Return whether every number known to exist is here, or is acknowledged as lost.

        Of an ended epoch it must be known that no more exist.
        """
        lacks_some = self.outstanding or self.gaps or self.missing or self.truncated
        return self.listed and not lacks_some and self.unconfirmed is None
