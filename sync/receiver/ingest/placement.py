"""Place a batch in the sequence of its epoch: resent numbers, a gap before it. Pure, no I/O.

An agent reports the first number that it still holds (`baseSequence`) and the last of its epoch
(`lastSequence`). Neither is believed at once: a wrong base would declare events lost that never
existed. A base counts up to the last number that the till was known to have before the message.
After a restore of head office an honest agent is believed from its second message on: until then
its batches get a `SequenceGap`, and a heartbeat makes its last number known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.times.clock_skew import EARLIEST

NO_LONGER_HELD = "no longer held"
# More than any till captures, and room for what was captured before the last heartbeat was sent.
_MOST_PER_SECOND = 100
_ALWAYS_BELIEVED = 10_000


class MalformedBatch(Exception):  # noqa: N818 - names the message
    """The batch as a whole is invalid; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """Events before this batch are missing: the agent must resend from `expected_sequence`."""

    expected_sequence: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Position of a batch in its epoch: a gap before it, and the first and last resent number."""

    gap: Gap | None
    resent: tuple[int, int] | None
    accepted_through: int


def place_batch(
    sequences: Sequence[int], base_sequence: int, accepted_through: int, last_known: int
) -> Placement | SequenceGap:
    """Return the batch's position, or `SequenceGap` if it does not continue the epoch.

    `last_known` is the last number that the till was known to have before. Raises
    `MalformedBatch` if the numbers are not ascending.
    """
    if any(later <= earlier for earlier, later in pairwise(sequences)):
        raise MalformedBatch("The events are not in ascending order of their sequence")
    new = [number for number in sequences if number > accepted_through]
    resent = None
    if len(new) < len(sequences):
        resent = (sequences[0], sequences[-1 - len(new)])
    if not new:
        return Placement(None, resent, accepted_through)
    gap = gap_below(min(base_sequence, new[0]), accepted_through, last_known)
    expected = (accepted_through if gap is None else gap.last) + 1
    for number in new:
        if number != expected:
            return SequenceGap(expected)
        expected += 1
    return Placement(gap, resent, new[-1])


def gap_below(base_sequence: int, accepted_through: int, last_known: int) -> Gap | None:
    """Return the gap left by an agent that no longer stores events below `base_sequence`."""
    base_sequence = min(base_sequence, last_known + 1)
    if base_sequence <= accepted_through + 1:
        return None
    return Gap(accepted_through + 1, base_sequence - 1, NO_LONGER_HELD)


def believed_last_sequence(reported: int, known: int, since: datetime | None, now: datetime) -> int:
    """Return the last number of an epoch, given the reported one and the one known at `since`.

    `since` is the time of the heartbeat before, not of a batch: the first batch of a backlog tells
    nothing of its length. The first heartbeat of an epoch is believed.

    Never less than `known`, and not more than a till can capture meanwhile: a number counts as
    missing until it arrives, so that one wrong message would tell of missing events for ever.
    """
    seconds = max((now - (since or EARLIEST)).total_seconds(), 0)
    most = known + _ALWAYS_BELIEVED + int(seconds * _MOST_PER_SECOND)
    return max(known, min(reported, most))
