"""Gaps of an epoch, compared with a model: a dictionary from number to reason."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.ingest.gaps import Acknowledgement, Gap, Gaps

HIGHEST = 40
NUMBERS = st.integers(1, HIGHEST)
REASONS = st.sampled_from(["no longer held", "address erased"])


@st.composite
def gaps_apart(draw: st.DrawFn) -> list[Gap]:
    """Draw gaps in any order that do not overlap; they may be adjacent."""
    edges = sorted(draw(st.sets(st.integers(1, HIGHEST + 1), max_size=12)))
    spans = pairwise(edges)
    gaps = [Gap(first, after - 1, draw(REASONS)) for first, after in spans if draw(st.booleans())]
    return draw(st.permutations(gaps))


def numbers_of(gaps: Sequence[Gap]) -> dict[int, str]:
    """Return the reason of each number that lies in a gap."""
    assert all(gap.first <= gap.last for gap in gaps)
    spelled = [(number, gap.reason) for gap in gaps for number in range(gap.first, gap.last + 1)]
    assert len(spelled) == len(dict(spelled)), "gaps overlap"
    return dict(spelled)


def after_changes(known: list[Gap], gaps: Gaps) -> list[Gap]:
    """Return the database's gaps after deleting `gaps.deleted` and inserting `gaps.added`."""
    return [gap for gap in known if gap not in gaps.deleted] + gaps.added


@given(known=gaps_apart(), steps=st.lists(st.tuples(NUMBERS, st.none() | REASONS), max_size=30))
def test_gone_and_noted_gaps_leave_exactly_the_missing_numbers(
    known: list[Gap], steps: list[tuple[int, str | None]]
) -> None:
    gaps, model = Gaps(known), numbers_of(known)

    for number, reason in steps:
        if reason is None:
            gaps.remove(number)
            model.pop(number, None)
        elif number not in model:
            gaps.add(Gap(number, number, reason))
            model[number] = reason

    assert numbers_of(after_changes(known, gaps)) == model


@given(known=gaps_apart(), number=NUMBERS)
def test_gap_includes_both_ends(known: list[Gap], number: int) -> None:
    assert (number in Gaps(known)) == (number in numbers_of(known))


@given(known=gaps_apart(), number=NUMBERS)
def test_taken_number_is_no_longer_in_a_gap(known: list[Gap], number: int) -> None:
    gaps = Gaps(known)

    gaps.remove(number)

    assert number not in gaps


@given(known=gaps_apart(), taken=st.sets(NUMBERS))
def test_only_known_gaps_are_deleted_and_only_new_ones_inserted(
    known: list[Gap], taken: set[int]
) -> None:
    gaps = Gaps(known)

    for number in taken:
        gaps.remove(number)

    assert set(gaps.deleted) <= set(known)
    assert set(gaps.added).isdisjoint(known)


@given(known=gaps_apart())
def test_no_arrivals_change_nothing(known: list[Gap]) -> None:
    gaps = Gaps(known)

    assert (gaps.deleted, gaps.added) == ([], [])


def test_number_taken_from_the_middle_splits_the_gap() -> None:
    gaps = Gaps([Gap(1, 9, "no longer held")])

    gaps.remove(5)

    assert gaps.deleted == [Gap(1, 9, "no longer held")]
    assert gaps.added == [Gap(1, 4, "no longer held"), Gap(6, 9, "no longer held")]


def test_parts_of_a_split_gap_keep_its_acknowledgement() -> None:
    accepted = Acknowledgement(datetime(2026, 3, 4, tzinfo=UTC), "alice", "burnt down")
    gaps = Gaps([Gap(1, 9, "no longer held", accepted)])

    gaps.remove(5)

    assert [gap.acknowledgement for gap in gaps.added] == [accepted, accepted]
