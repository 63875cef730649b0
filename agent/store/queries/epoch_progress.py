"""Extent of each epoch: its last number, its settled ones and its lost captures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.store.db.cursor import DeliveryCursor
from agent.store.db.epochs import EpochRange
from agent.store.db.lost_captures import END_UNKNOWN, LostCaptures


@dataclass(frozen=True, slots=True)
class EpochProgress:
    """The last sequence number of an epoch, and the last one that central settled without a gap.

    All events from `base_sequence` on are held. `ended_reason` and `moved_through`: see
    `EpochRange`; without a reason also while it is not known which captures of it are lost, those
    up to `lost_through`. `salvaged_through`: the first of them came back by salvage, up to there.
    """

    epoch: str
    last_sequence: int
    settled_through: int
    base_sequence: int = 1
    ended_reason: str = ""
    moved_through: int = 0
    lost_through: int = 0
    salvaged_through: int = 0

    @property
    def is_end_unknown(self) -> bool:
        """Return whether the epoch may have gone on, as far as this machine knows."""
        return self.ended_reason in ("", END_UNKNOWN)

    @property
    def last_named(self) -> int:
        """The highest number that is known of the epoch."""
        return max(self.last_sequence, self.moved_through, self.lost_through, self.salvaged_through)


def progress_of(
    ranges: Sequence[EpochRange], cursor: DeliveryCursor, lost: Sequence[LostCaptures]
) -> list[EpochProgress]:
    """Return the progress of these epochs, and before them of those that only `lost` names.

    Until the lost captures are certain, such an epoch is not reported as ended.
    """
    held = {one.epoch for one in ranges}
    absent = [
        EpochProgress(one.epoch, 0, 0, ended_reason=one.reason)
        for one in lost
        if one.epoch not in held
    ]
    of_epoch = {one.epoch: one for one in lost}
    known = [*absent, *(_progress(one, cursor) for one in ranges)]
    return [_with_loss(one, of_epoch.get(one.epoch)) for one in known]


def _progress(known: EpochRange, cursor: DeliveryCursor) -> EpochProgress:
    return EpochProgress(
        known.epoch,
        known.last_sequence,
        settled_through=min(max(0, cursor.watermark - known.base_position), known.last_sequence),
        base_sequence=known.base_sequence(cursor.purged_through),
        ended_reason=known.ended_reason,
        moved_through=known.moved_through,
    )


def _with_loss(progress: EpochProgress, lost: LostCaptures | None) -> EpochProgress:
    if lost is None:
        return progress
    # A loss that was named is not withdrawn in silence, when a file is found that may hold some.
    if lost.is_open and not lost.named_through:
        return replace(progress, ended_reason="")
    return replace(
        progress,
        salvaged_through=lost.moved_through,
        # Head office has all of them: said as well, because it has to know where the epoch ended.
        lost_through=lost.lost_through if lost.count or lost.first > lost.lost_through else 0,
    )
