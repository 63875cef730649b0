"""The ledger's rules for a batch: accepted, rejected, duplicate, permanently missing."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.protocol.wire import ErrorCode
from sync.receiver.ingest.deduplication.equality import is_same_event
from sync.receiver.ingest.events import Event, ValidEvent
from sync.receiver.ingest.gaps import Gap
from sync.receiver.ingest.ledger_state import ADDRESS_ERASED, AcceptedBatch
from sync.receiver.ingest.placement import (
    NO_LONGER_HELD,
    MalformedBatch,
    Placement,
    SequenceGap,
    believed_last_sequence,
)
from sync.receiver.ingest.placement import place_batch as place_batch_of_known
from tests.support.models.ledger import ReferenceLedger
from tests.sync.receiver.ingest.event_builders import (
    OTHER_TILL,
    TILL,
    answer,
    bad_session,
    codes,
    session,
    unknown,
)

NEXT_EPOCH = (TILL[0], "epoch-2")
RUNS = st.tuples(st.integers(1, 60), st.integers(0, 20)).map(lambda run: range(run[0], sum(run)))


def place_batch(
    sequences: Sequence[int], base_sequence: int, accepted_through: int
) -> Placement | SequenceGap:
    """Place a batch of a till of which any number is known."""
    return place_batch_of_known(sequences, base_sequence, accepted_through, 2**63 - 1)


@pytest.fixture
def ledger() -> ReferenceLedger:
    return ReferenceLedger()


# Placing a batch.


@given(numbers=RUNS, base=st.integers(0, 80), through=st.integers(0, 60))
def test_placed_batch_leaves_no_hole_or_names_first_missing_number(
    numbers: range, base: int, through: int
) -> None:
    placed = place_batch(numbers, base, through)

    held = set(range(1, through + 1)) | set(numbers)
    if isinstance(placed, SequenceGap):
        first_missing = min(set(range(1, max(numbers))) - held)
        assert placed.expected_sequence == max(first_missing, base)
        assert placed.expected_sequence < numbers[0]
    else:
        gap = placed.gap
        held |= set() if gap is None else set(range(gap.first, gap.last + 1))
        assert held == set(range(1, placed.accepted_through + 1))


@given(numbers=RUNS, base=st.integers(0, 80), through=st.integers(0, 60))
def test_only_numbers_below_the_agents_base_become_a_gap(
    numbers: range, base: int, through: int
) -> None:
    placed = place_batch(numbers, base, through)

    if isinstance(placed, Placement) and placed.gap is not None:
        assert through < placed.gap.first <= placed.gap.last < base
        assert placed.gap.last < numbers[0]


@given(numbers=RUNS, base=st.integers(0, 80), through=st.integers(0, 60))
def test_accepted_through_never_decreases(numbers: range, base: int, through: int) -> None:
    placed = place_batch(numbers, base, through)

    assert isinstance(placed, SequenceGap) or placed.accepted_through >= through


@given(numbers=RUNS, base=st.integers(0, 80), through=st.integers(0, 60))
def test_repeats_span_the_numbers_already_accounted_for(
    numbers: range, base: int, through: int
) -> None:
    placed = place_batch(numbers, base, through)

    before = [number for number in numbers if number <= through]
    if isinstance(placed, Placement):
        assert placed.resent == ((before[0], before[-1]) if before else None)


@given(numbers=st.lists(st.integers(1, 20), max_size=6), through=st.integers(0, 20))
def test_batch_with_unordered_numbers_is_malformed(numbers: list[int], through: int) -> None:
    if all(one < next_one for one, next_one in pairwise(numbers)):
        place_batch(numbers, 1, through)
    else:
        with pytest.raises(MalformedBatch):
            place_batch(numbers, 1, through)


def test_hole_within_a_batch_is_a_sequence_gap() -> None:
    assert place_batch([1, 2, 4], 1, 0) == SequenceGap(3)


def test_resent_numbers_may_have_holes() -> None:
    """Old dead letters are retried together."""
    assert place_batch([2, 5, 9], 1, 10) == Placement(None, (2, 9), 10)


def test_batch_after_a_fillable_hole_is_a_sequence_gap() -> None:
    assert place_batch([17, 18], 1, 3) == SequenceGap(4)


def test_batch_above_its_base_is_a_sequence_gap_at_the_base() -> None:
    assert place_batch([17, 18], 10, 3) == SequenceGap(10)


def test_numbers_below_the_base_become_a_permanent_gap() -> None:
    assert place_batch([10, 11], 10, 3) == Placement(Gap(4, 9, NO_LONGER_HELD), None, 11)


@pytest.mark.parametrize(
    ("last_known", "expected"),
    [(0, SequenceGap(4)), (3, SequenceGap(4)), (8, SequenceGap(9)), (9, None), (20, None)],
)
def test_base_is_believed_up_to_the_last_number_that_the_till_was_known_to_have(
    last_known: int, expected: SequenceGap | None
) -> None:
    """Otherwise one message could declare events lost that never existed."""
    placed = place_batch_of_known([10, 11], 10, 3, last_known)

    assert placed == expected or placed == Placement(Gap(4, 9, NO_LONGER_HELD), None, 11)
    assert (expected is None) == isinstance(placed, Placement)


@given(
    reported=st.integers(0, 2**63 - 1),
    known=st.integers(0, 2**40),
    days=st.floats(0, 3650),
    is_new=st.booleans(),
)
def test_last_sequence_is_believed_as_far_as_a_till_can_have_come(
    reported: int,
    known: int,
    days: float,
    is_new: bool,  # noqa: FBT001 - drawn
) -> None:
    now = datetime(2036, 1, 1, tzinfo=UTC)
    since = None if is_new else now - timedelta(days=days)

    believed = believed_last_sequence(reported, known, since, now)

    assert known <= believed <= max(reported, known)
    honest = known + int(50 * days * 86_400)
    assert believed_last_sequence(honest, known, since, now) == honest or is_new
    assert believed <= known + 200 * 86_400 * 3660 * 2


def test_one_wrong_heartbeat_cannot_announce_events_for_ever() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)

    assert believed_last_sequence(2**63 - 1, 500, now - timedelta(minutes=1), now) < 20_000
    assert believed_last_sequence(2**63 - 1, 0, None, now) < 10**11


def test_empty_batch_changes_nothing() -> None:
    assert place_batch([], 50, 7) == Placement(None, None, 7)


# Invalid events among valid ones.


@given(bad=st.sets(st.integers(1, 30)))
def test_invalid_events_are_rejected_and_their_neighbours_stored(bad: set[int]) -> None:
    ledger = ReferenceLedger()
    numbers = range(1, 31)

    taken = ledger.take(
        TILL, [unknown(n, f"s{n}") if n in bad else session(n, f"s{n}") for n in numbers]
    )

    assert codes(taken) == dict.fromkeys(sorted(bad), ErrorCode.UNKNOWN_TYPE)
    assert ledger.epochs[TILL].stored.keys() == set(numbers) - bad
    assert ledger.epochs[TILL].accepted_through == 30


def test_resend_of_a_rejected_event_that_is_now_valid_deletes_the_rejection(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [bad_session(1, "a"), session(2, "b")])

    assert codes(ledger.take(TILL, [session(1, "a")])) == {}
    assert ledger.epochs[TILL].rejected == {}
    assert ledger.epochs[TILL].stored.keys() == {1, 2}


# Resends with equal and with different content.


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
def test_different_content_under_a_stored_number_is_rejected_and_keeps_the_original(
    ledger: ReferenceLedger, other: Event
) -> None:
    ledger.take(TILL, [session(1, "a")])
    before = ledger.copy()

    assert codes(ledger.take(TILL, [other, session(2, "c")])) == {1: ErrorCode.ALTERED}
    assert ledger.epochs[TILL].stored[1] == before.epochs[TILL].stored[1]
    assert ledger.epochs[TILL].accepted_through == 2


@pytest.mark.parametrize(
    "other", [answer(2, "a", "other@example.com"), answer(2, "a", note="another")]
)
def test_different_answer_under_a_stored_number_is_rejected_as_altered(
    ledger: ReferenceLedger, other: Event
) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])

    assert codes(ledger.take(TILL, [other])) == {2: ErrorCode.ALTERED}


def test_body_with_other_json_formatting_is_equal(ledger: ReferenceLedger) -> None:
    one = session(1, "a")
    ledger.take(TILL, [one])
    spelled = msgspec.json.encode(msgspec.json.decode(one.body)).decode()

    assert spelled != one.body
    assert codes(ledger.take(TILL, [msgspec.structs.replace(one, body=spelled)])) == {}


# Captures resent in a new epoch.


def test_capture_resent_in_a_new_epoch_is_a_duplicate(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])

    assert codes(ledger.take(NEXT_EPOCH, [session(1, "a"), answer(2, "a")])) == {}
    assert ledger.epochs[NEXT_EPOCH].duplicates.keys() == {1, 2}
    assert ledger.epochs[NEXT_EPOCH].stored == {}


def test_answers_that_differ_only_in_the_body_are_both_stored(ledger: ReferenceLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a", note="one"), answer(3, "a", note="two")])

    assert ledger.epochs[TILL].stored.keys() == {1, 2, 3}


def test_same_capture_twice_in_one_batch_is_stored_once(ledger: ReferenceLedger) -> None:
    ledger.take(TILL, [session(1, "a"), session(2, "a"), answer(3, "a"), answer(4, "a")])

    assert ledger.epochs[TILL].stored.keys() == {1, 3}
    assert ledger.epochs[TILL].duplicates.keys() == {2, 4}


def test_second_different_session_under_one_id_in_a_batch_is_rejected(
    ledger: ReferenceLedger,
) -> None:
    taken = ledger.take(TILL, [session(1, "a"), session(2, "a", channel="web")])

    assert codes(taken) == {2: ErrorCode.INVALID_REQUEST}


def test_duplicate_resent_with_different_content_is_rejected_as_altered(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [session(1, "a")])
    ledger.take(NEXT_EPOCH, [session(1, "a")])

    assert codes(ledger.take(NEXT_EPOCH, [session(1, "b")])) == {1: ErrorCode.ALTERED}


def test_erased_answer_in_a_new_epoch_is_a_duplicate_of_the_full_one(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])

    ledger.take(NEXT_EPOCH, [answer(1, "a", None)])

    assert ledger.epochs[NEXT_EPOCH].duplicates.keys() == {1}
    assert ledger.epochs[NEXT_EPOCH].gaps == []


# Rejected sessions and their answers.


def test_id_used_by_another_tills_different_session_is_no_obstacle(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(OTHER_TILL, [session(1, "a", channel="web"), answer(2, "a", note="theirs")])

    taken = ledger.take(TILL, [session(1, "a"), answer(2, "a"), session(3, "b")])

    assert codes(taken) == {}


def test_answer_to_another_tills_session_is_rejected(ledger: ReferenceLedger) -> None:
    ledger.take(OTHER_TILL, [session(1, "a")])

    assert codes(ledger.take(TILL, [answer(1, "a")])) == {1: ErrorCode.FOREIGN_SESSION}


def test_rejected_session_of_one_till_does_not_block_answers_to_the_others_session(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [session(1, "a", channel="web")])
    ledger.take(OTHER_TILL, [bad_session(1, "a")])

    assert codes(ledger.take(TILL, [answer(2, "a")])) == {}


def test_answer_to_a_session_rejected_in_an_earlier_batch_is_rejected(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [bad_session(1, "a")])

    assert codes(ledger.take(TILL, [answer(2, "a")])) == {2: ErrorCode.SESSION_REFUSED}


def test_answer_in_a_new_epoch_is_rejected_if_its_session_was_rejected_before(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [bad_session(1, "a")])

    assert codes(ledger.take(NEXT_EPOCH, [answer(1, "a")])) == {1: ErrorCode.SESSION_REFUSED}


def test_session_accepted_in_the_new_epoch_lets_its_answers_pass(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [bad_session(1, "a")])

    assert codes(ledger.take(NEXT_EPOCH, [session(1, "a"), answer(2, "a")])) == {}


def test_retry_of_rejected_session_with_its_answers_is_accepted(ledger: ReferenceLedger) -> None:
    ledger.take(TILL, [bad_session(1, "a"), answer(2, "a")])

    assert codes(ledger.take(TILL, [session(1, "a"), answer(2, "a")])) == {}
    assert ledger.epochs[TILL].rejected == {}


def test_retry_of_answer_without_its_rejected_session_stays_rejected(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [bad_session(1, "a"), answer(2, "a")])

    assert codes(ledger.take(TILL, [answer(2, "a")])) == {2: ErrorCode.SESSION_REFUSED}


# Erased addresses.


def test_address_erased_before_delivery_is_recorded_as_a_gap(ledger: ReferenceLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a", None)])

    assert ledger.epochs[TILL].gaps == [Gap(2, 2, ADDRESS_ERASED)]
    assert ledger.epochs[TILL].stored.keys() == {1, 2}


def test_erased_resend_keeps_the_stored_address(ledger: ReferenceLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])
    before = ledger.copy()

    assert codes(ledger.take(TILL, [session(1, "a"), answer(2, "a", None)])) == {}
    assert ledger == before


def test_address_that_arrives_later_is_restored_and_its_gap_deleted(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a", None)])

    ledger.take(TILL, [answer(2, "a")])

    assert ledger.epochs[TILL].stored[2] == answer(2, "a")
    assert ledger.epochs[TILL].gaps == []


def test_resend_does_not_restore_a_forgotten_address(ledger: ReferenceLedger) -> None:
    ledger.take(TILL, [session(1, "a"), answer(2, "a")])
    ledger.forget("guest@example.com")

    assert codes(ledger.take(TILL, [answer(2, "a")])) == {}
    assert ledger.epochs[TILL].stored[2] == answer(2, "a", None)


def test_number_from_a_gap_that_arrives_later_is_stored_and_splits_the_gap(
    ledger: ReferenceLedger,
) -> None:
    ledger.take(TILL, [session(9, "i")], base=9)

    ledger.take(TILL, [session(5, "e")])

    assert ledger.epochs[TILL].stored.keys() == {5, 9}
    assert sorted(ledger.epochs[TILL].gaps) == [
        Gap(1, 4, NO_LONGER_HELD),
        Gap(6, 8, NO_LONGER_HELD),
    ]


def test_repeated_through_separates_resends_from_new_events(ledger: ReferenceLedger) -> None:
    ledger.take(TILL, [bad_session(1, "a"), session(2, "b")])

    taken = ledger.take(TILL, [session(1, "a"), session(2, "b"), session(3, "c")])

    assert isinstance(taken, AcceptedBatch)
    assert taken.resent_through == 2


def test_is_same_is_symmetric() -> None:
    events: list[ValidEvent] = [
        session(1, "a"),
        session(1, "b"),
        answer(1, "a"),
        answer(1, "a", None),
    ]

    assert all(
        is_same_event(one, other) == is_same_event(other, one) for one in events for other in events
    )
