"""Place a batch in the sequence of its epoch: resent numbers, a gap before it. Pure, no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sync.receiver.ingest.gaps import Gap

NO_LONGER_HELD = "no longer held"


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
    sequences: Sequence[int], base_sequence: int, accepted_through: int
) -> Placement | SequenceGap:
    """Return the batch's position, or `SequenceGap` if it does not continue the epoch.

    Raises `MalformedBatch` if the numbers are not ascending.
    """
    if any(later <= earlier for earlier, later in pairwise(sequences)):
        raise MalformedBatch("The events are not in ascending order of their sequence")
    new = [number for number in sequences if number > accepted_through]
    resent = None
    if len(new) < len(sequences):
        resent = (sequences[0], sequences[-1 - len(new)])
    if not new:
        return Placement(None, resent, accepted_through)
    gap = gap_below(min(base_sequence, new[0]), accepted_through)
    expected = (accepted_through if gap is None else gap.last) + 1
    for number in new:
        if number != expected:
            return SequenceGap(expected)
        expected += 1
    return Placement(gap, resent, new[-1])


def gap_below(base_sequence: int, accepted_through: int) -> Gap | None:
    """Return the gap left by an agent that no longer stores events below `base_sequence`."""
    if base_sequence <= accepted_through + 1:
        return None
    return Gap(accepted_through + 1, base_sequence - 1, NO_LONGER_HELD)
