"""The gaps of an epoch, beside a model: a dictionary of numbers, each with its reason."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.ingest.gaps import Gap, Gaps

HIGHEST = 40
NUMBERS = st.integers(1, HIGHEST)
REASONS = st.sampled_from(["no longer held", "address erased"])


@st.composite
def gaps_apart(draw: st.DrawFn) -> list[Gap]:
    """Draw gaps that do not overlap, in any order; neighbours may touch."""
    edges = sorted(draw(st.sets(st.integers(1, HIGHEST + 1), max_size=12)))
    spans = pairwise(edges)
    gaps = [Gap(first, after - 1, draw(REASONS)) for first, after in spans if draw(st.booleans())]
    return draw(st.permutations(gaps))


def numbers_of(gaps: Sequence[Gap]) -> dict[int, str]:
    """Return each number that lies in a gap, with the reason."""
    assert all(gap.first <= gap.last for gap in gaps)
    spelled = [(number, gap.reason) for gap in gaps for number in range(gap.first, gap.last + 1)]
    assert len(spelled) == len(dict(spelled)), "gaps overlap"
    return dict(spelled)


def after_changes(known: list[Gap], gaps: Gaps) -> list[Gap]:
    """Return the gaps that the database has when what is gone is dropped and the rest added."""
    return [gap for gap in known if gap not in gaps.gone] + gaps.noted


@given(known=gaps_apart(), steps=st.lists(st.tuples(NUMBERS, st.none() | REASONS), max_size=30))
def test_what_is_dropped_and_added_leaves_exactly_the_numbers_still_missing(
    known: list[Gap], steps: list[tuple[int, str | None]]
) -> None:
    gaps, model = Gaps(known), numbers_of(known)

    for number, reason in steps:
        if reason is None:
            gaps.take(number)
            model.pop(number, None)
        elif number not in model:
            gaps.note(Gap(number, number, reason))
            model[number] = reason

    assert numbers_of(after_changes(known, gaps)) == model


@given(known=gaps_apart(), number=NUMBERS)
def test_gap_holds_its_first_number_its_last_one_and_all_between(
    known: list[Gap], number: int
) -> None:
    assert Gaps(known).hold(number) == (number in numbers_of(known))


@given(known=gaps_apart(), number=NUMBERS)
def test_number_that_arrived_is_held_no_more(known: list[Gap], number: int) -> None:
    gaps = Gaps(known)

    gaps.take(number)

    assert not gaps.hold(number)


@given(known=gaps_apart(), taken=st.sets(NUMBERS))
def test_only_gaps_that_were_known_can_go_and_only_new_ones_are_noted(
    known: list[Gap], taken: set[int]
) -> None:
    gaps = Gaps(known)

    for number in taken:
        gaps.take(number)

    assert set(gaps.gone) <= set(known)
    assert set(gaps.noted).isdisjoint(known)


@given(known=gaps_apart())
def test_without_arrivals_nothing_is_written(known: list[Gap]) -> None:
    gaps = Gaps(known)

    assert (gaps.gone, gaps.noted) == ([], [])


def test_number_out_of_the_middle_leaves_a_gap_on_each_side_with_its_reason() -> None:
    gaps = Gaps([Gap(1, 9, "no longer held")])

    gaps.take(5)

    assert gaps.gone == [Gap(1, 9, "no longer held")]
    assert gaps.noted == [Gap(1, 4, "no longer held"), Gap(6, 9, "no longer held")]
