"""Extent and end of an epoch, as a heartbeat of its till reports them. Pure, no I/O.

A machine that ends an epoch reports its last number and the reason (`endedReason`). Of the numbers
above that end, those up to `movedThrough` have new numbers in a later epoch. All others are gone
for good: those up to `lostThrough`, which the machine remembers, and those that it reported earlier
and has forgotten. No number counts as lost while the machine still has events below it to deliver.

A machine that salvaged captures reports the returned ranges in pages. Numbers outside the page stay
undecided until their page arrives.

An epoch is confirmed (`ended_through`) by a report that covers every number known here. A file that
knows less, or that uses numbers for other events than head office has, is one of two copies: it
does not show the end of the other one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import RowMapping

from sync.protocol.wire import AHEAD, RENUMBERED, EpochExtent
from sync.receiver.ingest.epochs.returned import judge, moved_gap
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.placement import believed_last_sequence, gap_below
from sync.runtime.printable import printable

_GONE_FOR_GOOD = "gone for good: {}"
_TWO_COPIES = (RENUMBERED, AHEAD)
_MAX_REASON = 200
# Messages of an epoch may still be on their way when the next one begins.
_LATE_MESSAGES = timedelta(minutes=2)


@dataclass(slots=True)
class Extent:
    """Extent of an epoch after a heartbeat: the new values of its row, and its new gaps.

    `ended_through`: the last number of the epoch as its machine reports it; None if the report
    does not cover every known number. `returned`: ranges that have new numbers, also in stored
    gaps.
    """

    last_sequence: int
    accepted_through: int
    ended_through: int | None
    ended_reason: str | None
    gaps: list[Gap] = field(default_factory=list)
    returned: Sequence[tuple[int, int]] = ()

    def changes(self, row: RowMapping) -> dict[str, object]:
        """Return all of these columns if one of them differs from `row`."""
        values: dict[str, object] = {
            "last_sequence": self.last_sequence,
            "accepted_through": self.accepted_through,
            "ended_through": self.ended_through,
            "ended_reason": self.ended_reason,
        }
        return values if any(row[name] != value for name, value in values.items()) else {}


def current_extent(told: EpochExtent, row: RowMapping, now: datetime) -> Extent:
    """Return the extent of the epoch of new captures: it has not ended, or continues."""
    extent = _extent(told, row, now)
    extent.ended_through = extent.ended_reason = None
    return extent


def older_extent(
    told: EpochExtent,
    row: RowMapping,
    now: datetime,
    *,
    begun_at: datetime | None,
    is_shared: bool,
) -> Extent:
    """Return the extent of an older epoch, as reported in an epoch that began at `begun_at`.

    `is_shared`: two machines have been heard under the name of the till.
    """
    extent = _extent(told, row, now)
    word = _word(told)
    # Another machine uses the numbers, and may hold those that this one has lost.
    has_two = is_shared or _is_later(row["heartbeat_at"], begun_at)
    if not has_two:
        extent.returned = told.returned
    through = max(extent.last_sequence, extent.accepted_through, _believed(word, row, now))
    if told.ended_reason:
        reason = printable(told.ended_reason, _MAX_REASON)
        extent.ended_reason = reason
        if not has_two and told.returned_through:
            _end_of_salvaged(extent, told, through, now, reason)
        elif not has_two:
            _end(extent, told, through, row, now, reason)
    covers_all = extent.last_sequence <= word <= through and not told.end_unknown
    # Another copy of the file has used the numbers.
    has_two |= told.ended_reason in _TWO_COPIES
    extent.ended_through = word if covers_all and not has_two else None
    return extent


def overtaken_extent(told: EpochExtent, row: RowMapping, now: datetime) -> Extent:
    """Return the extent of an epoch by a heartbeat that a later one has overtaken.

    It does not change the end, unless it reports a number that the later one does not know.
    """
    known, ended_through = row["last_sequence"], row["ended_through"]
    extent = Extent(known, row["accepted_through"], ended_through, row["ended_reason"])
    if told.last_sequence > max(known, ended_through or 0):
        since = row["heartbeat_at"]
        extent.last_sequence = believed_last_sequence(told.last_sequence, known, since, now)
        extent.ended_through = None
    return extent


def _extent(told: EpochExtent, row: RowMapping, now: datetime) -> Extent:
    known, accepted_through = row["last_sequence"], row["accepted_through"]
    last_sequence = believed_last_sequence(told.last_sequence, known, row["heartbeat_at"], now)
    extent = Extent(last_sequence, accepted_through, row["ended_through"], row["ended_reason"])
    # Events that no longer exist anywhere will never arrive in a batch: head office was restored
    # from a backup after the agent had purged them.
    base_sequence = min(told.base_sequence, told.last_sequence + 1)
    gap = gap_below(base_sequence, accepted_through, known)
    if gap is not None:
        extent.accepted_through = gap.last
        extent.gaps.append(gap)
    return extent


def _end(
    extent: Extent, told: EpochExtent, through: int, row: RowMapping, now: datetime, reason: str
) -> None:
    """Apply the end of the epoch at `told.last_sequence`."""
    held = max(told.last_sequence, min(told.moved_through, through))
    known = row["last_sequence"]
    lost_through = max(known, _believed(told.lost_through, row, now))
    accepted_through = extent.accepted_through
    if lost_through <= held:
        if told.last_sequence < known:
            extent.last_sequence = max(accepted_through, told.last_sequence)
        return
    if accepted_through < told.last_sequence:
        extent.last_sequence = max(extent.last_sequence, lost_through)
        return
    if accepted_through < held:
        extent.gaps.append(moved_gap(accepted_through + 1, held, now))
        accepted_through = held
    if accepted_through < lost_through:
        lost = _GONE_FOR_GOOD.format(reason)
        extent.gaps.append(Gap(accepted_through + 1, lost_through, lost))
    extent.accepted_through = extent.last_sequence = max(accepted_through, lost_through)


def _end_of_salvaged(
    extent: Extent, told: EpochExtent, through: int, now: datetime, reason: str
) -> None:
    """Apply the end of the epoch at `told.last_sequence`, and the returned numbers above it.

    Only numbers within the page are decided: others may have returned as well.
    """
    accepted_through = extent.accepted_through
    extent.last_sequence = max(extent.last_sequence, through)
    if accepted_through < max(told.last_sequence, told.returned_after):
        return
    end = min(through, told.returned_through)
    parts = list(judge(accepted_through + 1, end, told.returned))
    if end == through and all(is_moved for _, _, is_moved in parts):
        extent.last_sequence = accepted_through
        return
    lost = _GONE_FOR_GOOD.format(reason)
    extent.gaps += [
        moved_gap(first, last, now) if is_moved else Gap(first, last, lost)
        for first, last, is_moved in parts
    ]
    extent.accepted_through = max(accepted_through, end)


def _word(told: EpochExtent) -> int:
    """Return the highest number of the epoch that its machine names."""
    named = [last for _, last in told.returned[-1:]]
    return max(told.last_sequence, told.moved_through, told.lost_through, *named)


def _believed(reported: int, row: RowMapping, now: datetime) -> int:
    """Return the last number of an ended epoch: it has no captures since another followed it."""
    until = row["followed_at"] or now
    since = row["heartbeat_at"] or row["begun_at"] or until
    return believed_last_sequence(reported, row["last_sequence"], since, until)


def _is_later(heard_at: datetime | None, begun_at: datetime | None) -> bool:
    """Return whether the older epoch sent a heartbeat after the epoch that names it began.

    Then another machine still uses it.
    """
    if heard_at is None or begun_at is None:
        return False
    return heard_at > begun_at + _LATE_MESSAGES
