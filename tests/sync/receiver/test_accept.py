"""What becomes of a batch: taken, refused, known already, missing for good."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.protocol.wire import ErrorCode
from sync.receiver.ingest.accept import (
    ADDRESS_ERASED,
    NO_LONGER_HELD,
    Fact,
    MalformedBatch,
    Placed,
    SequenceGap,
    Taken,
    is_same,
    place,
)
from sync.receiver.ingest.events import Event
from sync.receiver.ingest.gaps import Gap
from tests.sync.receiver.parts import (
    OTHER_TILL,
    TILL,
    answer,
    bad_session,
    codes,
    session,
    unknown,
)
from tests.sync.receiver.plain_ledger import PlainLedger

NEXT_EPOCH = (TILL[0], "epoch-2")
RUNS = st.tuples(st.integers(1, 60), st.integers(0, 20)).map(lambda run: range(run[0], sum(run)))


@pytest.fixture
def ledger() -> PlainLedger:
    return PlainLedger()


# Where the numbers of a batch lie.


@given(numbers=RUNS, base=st.integers(0, 80), through=st.integers(0, 60))
def test_after_a_batch_nothing_is_missing_or_the_first_missing_number_is_named(
    numbers: range, base: int, through: int
) -> None:
    placed = place(numbers, base, through)

    held = set(range(1, through + 1)) | set(numbers)
    if isinstance(placed, SequenceGap):
        first_missing = min(set(range(1, max(numbers))) - held)
        assert placed.expected_sequence == max(first_missing, base)
        assert placed.expected_sequence < numbers[0]
    else:
        gap = placed.missing
        held |= set() if gap is None else set(range(gap.first, gap.last + 1))
        assert held == set(range(1, placed.accepted_through + 1))


@given(numbers=RUNS, base=st.integers(0, 80), through=st.integers(0, 60))
def test_only_what_the_agent_no_longer_holds_is_given_up(
    numbers: range, base: int, through: int
) -> None:
    placed = place(numbers, base, through)

    if isinstance(placed, Placed) and placed.missing is not None:
        assert through < placed.missing.first <= placed.missing.last < base
        assert placed.missing.last < numbers[0]


@given(numbers=RUNS, base=st.integers(0, 80), through=st.integers(0, 60))
def test_accepted_through_never_falls(numbers: range, base: int, through: int) -> None:
    placed = place(numbers, base, through)

    assert isinstance(placed, SequenceGap) or placed.accepted_through >= through


@given(numbers=RUNS, base=st.integers(0, 80), through=st.integers(0, 60))
def test_repeats_are_the_numbers_that_were_there_before(
    numbers: range, base: int, through: int
) -> None:
    placed = place(numbers, base, through)

    before = [number for number in numbers if number <= through]
    if isinstance(placed, Placed):
        assert placed.repeats == ((before[0], before[-1]) if before else None)


@given(numbers=st.lists(st.integers(1, 20), max_size=6), through=st.integers(0, 20))
def test_numbers_that_do_not_ascend_are_no_batch(numbers: list[int], through: int) -> None:
    if all(one < next_one for one, next_one in pairwise(numbers)):
        place(numbers, 1, through)
    else:
        with pytest.raises(MalformedBatch):
            place(numbers, 1, through)


def test_hole_within_a_batch_is_a_gap() -> None:
    assert place([1, 2, 4], 1, 0) == SequenceGap(3)


def test_old_repeats_may_have_holes() -> None:
    """Dead letters of long ago are tried again together."""
    assert place([2, 5, 9], 1, 10) == Placed(None, (2, 9), 10)


def test_batch_that_begins_after_a_hole_that_can_be_filled_is_sent_back_for_it() -> None:
    assert place([17, 18], 1, 3) == SequenceGap(4)


def test_batch_that_begins_above_its_base_is_sent_back_to_the_base() -> None:
    assert place([17, 18], 10, 3) == SequenceGap(10)


def test_what_no_longer_exists_is_noted_for_good() -> None:
    assert place([10, 11], 10, 3) == Placed(Gap(4, 9, NO_LONGER_HELD), None, 11)


def test_empty_batch_changes_nothing() -> None:
    assert place([], 50, 7) == Placed(None, None, 7)


# One bad event among good ones.


@given(bad=st.sets(st.integers(1, 30)))
def test_bad_events_are_named_and_their_neighbours_stand(bad: set[int]) -> None:
    ledger = PlainLedger()
    numbers = range(1, 31)

    taken = ledger.take(
        TILL, [unknown(n, f"s{n}") if n in bad else session(n, f"s{n}") for n in numbers]
    )

    assert codes(taken) == dict.fromkeys(sorted(bad), ErrorCode.UNKNOWN_TYPE)
    assert ledger.epochs[TILL].standing.keys() == set(numbers) - bad
    assert ledger.epochs[TILL].accepted_through == 30


def test_bad_event_that_is_fine_later_is_taken_and_its_rejection_is_over(
    ledger: PlainLedger,
) -> None:
    ledger.take(TILL, [bad_session(1, "a"), session(2, "b")])

    assert codes(ledger.take(TILL, [session(1, "a")])) == {}
    assert ledger.epochs[TILL].rejected == {}
    assert ledger.epochs[TILL].standing.keys() == {1, 2}


# The same again, and other content.


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(session(1, "b"), id="another id"),
        pytest.param(session(1, "a", channel="web"), id="another body"),
        pytest.param(msgspec.structs.replace(session(1, "a"), query_locale="fr-CA"), id="locale"),
        pytest.param(answer(1, "a"), id="another type"),
        pytest.param(unknown(1, "a"), id="an unknown type"),
    ],
)
def test_other_content_under_a_known_number_is_altered_and_what_stands_stays(
    ledger: PlainLedger, other: Event
) -> None:
    ledger.take(TILL, [session(1, "a")])
    before = ledger.copy()

    assert codes(ledger.take(TILL, [other, session(2, "c")])) == {1: ErrorCode.ALTERED}
    assert ledger.epochs[TILL].standing[1] == before.epochs[TILL].standing[1]
    assert ledger.epochs[TILL].accepted_through == 2


@pytest.mark.parametrize(
    "other", [answer(2, "a", "other@example.com"), answer(2, "a", note="another")]
)
def test_other_answer_under_a_known_number_is_altered(ledger: PlainLedger, other: Event) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])

    assert codes(ledger.take(TILL, [other])) == {2: ErrorCode.ALTERED}


def test_body_spelled_otherwise_is_the_same(ledger: PlainLedger) -> None:
    one = session(1, "a")
    ledger.take(TILL, [one])
    spelled = msgspec.json.encode(msgspec.json.decode(one.body)).decode()

    assert spelled != one.body
    assert codes(ledger.take(TILL, [msgspec.structs.replace(one, body=spelled)])) == {}


# Captures that move to a new epoch.


def test_capture_that_comes_again_in_a_new_epoch_is_a_double_of_what_stands(
    ledger: PlainLedger,
) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])

    assert codes(ledger.take(NEXT_EPOCH, [session(1, "a"), answer(2, "a")])) == {}
    assert ledger.epochs[NEXT_EPOCH].doubles.keys() == {1, 2}
    assert ledger.epochs[NEXT_EPOCH].standing == {}


def test_two_answers_that_differ_in_their_bodies_alone_are_two(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a", note="one"), answer(3, "a", note="two")])

    assert ledger.epochs[TILL].standing.keys() == {1, 2, 3}


def test_same_capture_twice_in_one_batch_takes_effect_once(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(1, "a"), session(2, "a"), answer(3, "a"), answer(4, "a")])

    assert ledger.epochs[TILL].standing.keys() == {1, 3}
    assert ledger.epochs[TILL].doubles.keys() == {2, 4}


def test_two_sessions_under_one_id_in_one_batch_are_not_both_taken(ledger: PlainLedger) -> None:
    taken = ledger.take(TILL, [session(1, "a"), session(2, "a", channel="web")])

    assert codes(taken) == {2: ErrorCode.INVALID_REQUEST}


def test_double_that_comes_with_other_content_is_altered(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(1, "a")])
    ledger.take(NEXT_EPOCH, [session(1, "a")])

    assert codes(ledger.take(NEXT_EPOCH, [session(1, "b")])) == {1: ErrorCode.ALTERED}


def test_erased_answer_in_a_new_epoch_is_a_double_of_the_whole_one(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])

    ledger.take(NEXT_EPOCH, [answer(1, "a", None)])

    assert ledger.epochs[NEXT_EPOCH].doubles.keys() == {1}
    assert ledger.epochs[NEXT_EPOCH].gaps == []


# Sessions that are refused, and their answers.


def test_id_that_another_till_used_for_something_else_is_refused_with_its_answers(
    ledger: PlainLedger,
) -> None:
    ledger.take(OTHER_TILL, [session(1, "a", channel="web"), answer(2, "a", note="theirs")])

    taken = ledger.take(TILL, [session(1, "a"), answer(2, "a"), session(3, "b")])

    assert codes(taken) == {1: ErrorCode.INVALID_REQUEST, 2: ErrorCode.SESSION_REFUSED}


def test_till_whose_session_was_refused_does_not_touch_the_answers_of_the_other(
    ledger: PlainLedger,
) -> None:
    ledger.take(TILL, [session(1, "a", channel="web")])
    ledger.take(OTHER_TILL, [session(1, "a")])

    assert codes(ledger.take(TILL, [answer(2, "a")])) == {}


def test_answer_of_a_session_refused_in_an_earlier_batch_is_refused(ledger: PlainLedger) -> None:
    ledger.take(TILL, [bad_session(1, "a")])

    assert codes(ledger.take(TILL, [answer(2, "a")])) == {2: ErrorCode.SESSION_REFUSED}


def test_answer_that_moved_to_a_new_epoch_remembers_that_its_session_was_refused(
    ledger: PlainLedger,
) -> None:
    ledger.take(TILL, [bad_session(1, "a")])

    assert codes(ledger.take(NEXT_EPOCH, [answer(1, "a")])) == {1: ErrorCode.SESSION_REFUSED}


def test_session_that_was_fine_in_the_new_epoch_takes_its_answers_along(
    ledger: PlainLedger,
) -> None:
    ledger.take(TILL, [bad_session(1, "a")])

    assert codes(ledger.take(NEXT_EPOCH, [session(1, "a"), answer(2, "a")])) == {}


def test_session_tried_again_with_its_answers_is_taken_with_them(ledger: PlainLedger) -> None:
    ledger.take(TILL, [bad_session(1, "a"), answer(2, "a")])

    assert codes(ledger.take(TILL, [session(1, "a"), answer(2, "a")])) == {}
    assert ledger.epochs[TILL].rejected == {}


def test_answer_tried_again_without_its_session_stays_refused(ledger: PlainLedger) -> None:
    ledger.take(TILL, [bad_session(1, "a"), answer(2, "a")])

    assert codes(ledger.take(TILL, [answer(2, "a")])) == {2: ErrorCode.SESSION_REFUSED}


# Addresses that are gone.


def test_address_that_was_erased_before_it_came_is_noted(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a", None)])

    assert ledger.epochs[TILL].gaps == [Gap(2, 2, ADDRESS_ERASED)]
    assert ledger.epochs[TILL].standing.keys() == {1, 2}


def test_erased_repeat_leaves_the_address_that_head_office_has(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])
    before = ledger.copy()

    assert codes(ledger.take(TILL, [session(1, "a"), answer(2, "a", None)])) == {}
    assert ledger == before


def test_address_that_comes_after_all_is_put_in_and_missed_no_more(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a", None)])

    ledger.take(TILL, [answer(2, "a")])

    assert ledger.epochs[TILL].standing[2] == answer(2, "a")
    assert ledger.epochs[TILL].gaps == []


def test_address_that_was_forgotten_on_purpose_does_not_come_back(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])
    ledger.forget("guest@example.com")

    assert codes(ledger.take(TILL, [answer(2, "a")])) == {}
    assert ledger.epochs[TILL].standing[2] == answer(2, "a", None)


def test_number_that_was_given_up_and_comes_after_all_is_taken(ledger: PlainLedger) -> None:
    ledger.take(TILL, [session(9, "i")], base=9)

    ledger.take(TILL, [session(5, "e")])

    assert ledger.epochs[TILL].standing.keys() == {5, 9}
    assert sorted(ledger.epochs[TILL].gaps) == [
        Gap(1, 4, NO_LONGER_HELD),
        Gap(6, 8, NO_LONGER_HELD),
    ]


def test_what_came_before_is_told_from_what_is_new(ledger: PlainLedger) -> None:
    ledger.take(TILL, [bad_session(1, "a"), session(2, "b")])

    taken = ledger.take(TILL, [session(1, "a"), session(2, "b"), session(3, "c")])

    assert isinstance(taken, Taken)
    assert taken.repeated_through == 2


def test_sameness_does_not_depend_on_which_of_two_came_first() -> None:
    events: list[Fact] = [session(1, "a"), session(1, "b"), answer(1, "a"), answer(1, "a", None)]

    assert all(is_same(one, other) == is_same(other, one) for one in events for other in events)
