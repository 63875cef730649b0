"""Batches are ingested once, in order and completely; duplicates change nothing."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import update

from sync.protocol.wire import ErrorCode
from sync.receiver.db.tables import (
    AgentRecord,
    DuplicateRecord,
    EmailAnswerRecord,
    GapRecord,
    RejectionRecord,
    SessionRecord,
    answers,
    table_of,
)
from sync.receiver.ingest.ledger import Ledger
from sync.receiver.ingest.placement import MalformedBatch, SequenceGap
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, EPOCH, SimulatedAgent, answer, session, sessions

TILL = SimulatedAgent()
OTHER_TILL = SimulatedAgent(till_id="till-2")
OTHER_STORE = SimulatedAgent(store_id="0043")
LATER = timedelta(hours=1)
_FACTS = (SessionRecord, EmailAnswerRecord, RejectionRecord, DuplicateRecord, GapRecord)


async def whole(office: LedgerDriver) -> dict[str, object]:
    """Return all tables of captures, without the time of last contact."""
    return {table_of(model).name: await office.all_rows(model) for model in _FACTS}


async def accounted(office: LedgerDriver) -> list[tuple[object, ...]]:
    return await office.rows(AgentRecord, "store_id", "till_id", "epoch", "accepted_through")


async def test_batch_fills_every_column(office: LedgerDriver) -> None:
    body = (
        '{"correlationId": "one", "externalIdentifier": "x-1", "channel": "pos",'
        ' "locale": "fr-CA", "anonymousSessionId": "a-1", "userStatus": "ACTIVE", "more": 1e2}'
    )
    raw = TILL.batch(session(1, "one")).replace(
        b'{"correlationId": "one", "channel": "pos"}', body.encode()
    )

    await office.offer_raw(TILL, raw)

    assert await office.all_rows(SessionRecord) == [
        {
            "store_id": "0042",
            "till_id": "till-1",
            "epoch": EPOCH,
            "sequence": 1,
            "correlation_id": "one",
            "external_identifier": "x-1",
            "channel": "pos",
            "locale": "fr-CA",
            "anonymous_session_id": "a-1",
            "user_status": "ACTIVE",
            "query_locale": None,
            "body": body,
            "occurred_at": AT - timedelta(seconds=999),
            "received_at": AT,
            "corrected_at": AT - timedelta(seconds=999),
            "clock_trusted": True,
        }
    ]


async def test_answer_has_its_address_in_a_column_and_in_the_body(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), answer(2, "one", "guest@example.com"))

    assert await office.rows(
        EmailAnswerRecord, "sequence", "correlation_id", "status", "email_address", "body"
    ) == [(2, "one", "accepted", "guest@example.com", '{"status":"accepted"}')]


async def test_answers_of_a_session_keep_their_order(
    office: LedgerDriver,
) -> None:
    await office.take(
        TILL,
        session(1, "one"),
        answer(2, "one", None, "deferred"),
        answer(3, "one", "first@example.com"),
        answer(4, "one", "second@example.com"),
    )

    assert await office.rows(EmailAnswerRecord, "sequence", "status", "email_address") == [
        (2, "deferred", None),
        (3, "accepted", "first@example.com"),
        (4, "accepted", "second@example.com"),
    ]


@pytest.mark.parametrize("first", [1, 2, 3])
async def test_duplicate_batch_is_accepted_and_changes_nothing(
    office: LedgerDriver, first: int
) -> None:
    """The response was lost; a resend may begin at any number."""
    events = [session(1, "one"), answer(2, "one"), session(3, "three")]
    await office.take(TILL, *events)
    before = await whole(office)
    office.at += LATER

    taken = await office.take(TILL, *events[first - 1 :])

    assert (taken.accepted_through, taken.rejections) == (3, [])
    assert await whole(office) == before


async def test_only_new_events_of_a_partly_duplicate_batch_are_stored(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 3))
    office.at += LATER

    taken = await office.take(TILL, *sessions(2, 5))

    assert taken.accepted_through == 5
    assert await office.rows(SessionRecord, "sequence", "received_at") == [
        (number, AT if number < 4 else AT + LATER) for number in range(1, 6)
    ]


async def test_altered_event_is_rejected_and_the_original_kept(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), session(2, "two"))
    before = await whole(office)

    taken = await office.take(TILL, session(1, "another"), session(2, "two"))

    assert taken.accepted_through == 2
    assert [(one.sequence, one.error_code) for one in taken.rejections] == [(1, ErrorCode.ALTERED)]
    assert await whole(office) == before


async def test_unknown_type_is_rejected_on_record_and_the_rest_stored(office: LedgerDriver) -> None:
    taken = await office.take(TILL, session(1), session(2, type="points.burned"), session(3))

    assert taken.accepted_through == 3
    assert await office.rows(SessionRecord, "sequence") == [(1,), (3,)]
    assert await office.rows(RejectionRecord, "sequence", "type", "error_code", "received_at") == [
        (2, "points.burned", "UNKNOWN_TYPE", AT)
    ]


async def test_resent_rejected_event_is_recorded_once(office: LedgerDriver) -> None:
    events = [session(1), session(2, type="points.burned")]
    await office.take(TILL, *events)

    taken = await office.take(TILL, *events)

    assert [one.sequence for one in taken.rejections] == [2]
    assert await office.rows(RejectionRecord, "sequence") == [(2,)]


async def test_corrected_event_is_accepted_after_a_rejection(office: LedgerDriver) -> None:
    await office.take(TILL, session(1), session(2, occurredAt="yesterday"), session(3))

    taken = await office.take(TILL, session(2))

    assert (taken.accepted_through, taken.rejections) == (3, [])
    assert await office.rows(SessionRecord, "sequence") == [(1,), (2,), (3,)]
    assert await office.rows(RejectionRecord, "sequence") == []


async def test_answers_of_a_rejected_session_are_rejected_until_it_is_accepted(
    office: LedgerDriver,
) -> None:
    await office.take(TILL, session(1, "one", occurredAt="yesterday"), answer(2, "one"))
    refused = await office.rows(RejectionRecord, "sequence", "error_code")

    taken = await office.take(TILL, session(1, "one"), answer(2, "one"))

    assert refused == [(1, "INVALID_REQUEST"), (2, "SESSION_REFUSED")]
    assert taken.rejections == []
    assert await office.rows(EmailAnswerRecord, "sequence") == [(2,)]


async def test_answer_is_not_assigned_to_the_session_of_another_till(office: LedgerDriver) -> None:
    """Its own session was rejected in the previous epoch; another till uses the same id."""
    await office.take(OTHER_TILL, session(1, "one"))
    await office.take(TILL, session(1, "one", occurredAt="yesterday"))

    taken = await office.take(SimulatedAgent(epoch="epoch-2"), answer(1, "one"))

    assert [one.error_code for one in taken.rejections] == [ErrorCode.SESSION_REFUSED]
    assert await office.rows(EmailAnswerRecord, "sequence") == []


async def test_same_correlation_id_in_two_stores_is_two_sessions(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"))

    taken = await office.take(OTHER_STORE, session(1, "one", body={"channel": "kiosk"}))

    assert taken.rejections == []
    assert await office.rows(SessionRecord, "store_id", "correlation_id", "channel") == [
        ("0042", "one", "pos"),
        ("0043", "one", "kiosk"),
    ]


async def test_two_tills_with_one_correlation_id_keep_a_session_each(office: LedgerDriver) -> None:
    """Else a stolen token takes the ids of the store's other tills."""
    await office.take(TILL, session(1, "one"))

    taken = await office.take(OTHER_TILL, session(1, "one", body={"channel": "kiosk"}))

    assert taken.rejections == []
    assert await office.rows(SessionRecord, "till_id", "correlation_id", "channel") == [
        ("till-1", "one", "pos"),
        ("till-2", "one", "kiosk"),
    ]


async def test_till_cannot_give_an_id_to_two_of_its_sessions(office: LedgerDriver) -> None:
    await office.take(OTHER_TILL, session(1, "one", body={"channel": "kiosk"}))
    await office.take(TILL, session(1, "one"))

    taken = await office.take(TILL, session(2, "one", body={"channel": "web"}))

    assert [one.error_message for one in taken.rejections] == ["Invalid Correlation ID"]


async def test_answer_to_a_session_of_another_till_is_rejected_by_name(
    office: LedgerDriver,
) -> None:
    """The token of one till opted out the customers of all tills of its store."""
    await office.take(OTHER_TILL, session(1, "theirs"))

    taken = await office.take(
        TILL, session(1, "own"), answer(2, "theirs", None, "declined"), answer(3, "own")
    )

    assert [(one.sequence, one.error_code) for one in taken.rejections] == [(2, "FOREIGN_SESSION")]
    assert await office.rows(EmailAnswerRecord, "sequence") == [(3,)]


async def test_store_may_let_its_tills_answer_for_each_other(office: LedgerDriver) -> None:
    for shared in (["0042"], ["*"], ["0001", "0042"]):
        office.ledger = Ledger(office.database, shared)
        till = SimulatedAgent(till_id=f"till-of-{len(shared)}-{shared[0]}")
        await office.take(OTHER_TILL, session(1, "theirs"))

        assert (await office.take(till, answer(1, "theirs"))).rejections == []


async def test_decision_of_one_store_is_none_of_another(office: LedgerDriver) -> None:
    office.ledger = Ledger(office.database, ["0043"])
    await office.take(OTHER_TILL, session(1, "theirs"))

    taken = await office.take(TILL, answer(1, "theirs"))

    assert [one.error_code for one in taken.rejections] == [ErrorCode.FOREIGN_SESSION]


async def test_answer_to_a_session_that_no_till_has_is_accepted(office: LedgerDriver) -> None:
    """The session may be purged."""
    assert (await office.take(TILL, answer(1, "purged"))).rejections == []


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_renamed_till_owns_the_sessions_that_it_sends_again(
    office: LedgerDriver,
    in_one_batch: bool,  # noqa: FBT001 - a parameter
) -> None:
    await office.take(OTHER_TILL, session(1, "one"))
    renamed = SimulatedAgent(till_id="till-3")

    if in_one_batch:
        taken = await office.take(renamed, session(1, "one"), answer(2, "one"))
    else:
        await office.take(renamed, session(1, "one"))
        taken = await office.take(renamed, answer(2, "one"))

    assert taken.rejections == []
    assert await office.rows(DuplicateRecord, "till_id", "sequence") == [("till-3", 1)]


async def test_rejected_answer_is_accepted_once_the_till_has_the_session(
    office: LedgerDriver,
) -> None:
    await office.take(OTHER_TILL, session(1, "one"))
    await office.take(TILL, answer(1, "one"))

    taken = await office.take(TILL, session(2, "one", body={"channel": "kiosk"}))
    again = await office.take(TILL, answer(1, "one"))

    assert (taken.rejections, again.rejections, again.readmitted) == ([], [], [1])


async def test_event_resent_under_another_number_takes_effect_once(office: LedgerDriver) -> None:
    """Events in doubt are resent in a new epoch; their event ids make them idempotent."""
    await office.take(TILL, session(1, "one"), answer(2, "one"))
    renumbered = SimulatedAgent(epoch="epoch-2")
    again = (session(1, "one"), answer(2, "one"))
    for event, old in zip(again, (session(1), answer(2, "")), strict=True):
        event["occurredAt"] = old["occurredAt"]

    taken = await office.take(renumbered, *again)

    assert (taken.accepted_through, taken.rejections) == (2, [])
    assert await office.rows(SessionRecord, "epoch", "sequence") == [(EPOCH, 1)]
    assert await office.rows(EmailAnswerRecord, "epoch", "sequence") == [(EPOCH, 2)]
    assert await office.rows(DuplicateRecord, "epoch", "sequence", "type", "correlation_id") == [
        ("epoch-2", 1, "session.started", "one"),
        ("epoch-2", 2, "email.answered", "one"),
    ]


async def test_tills_of_a_store_are_numbered_independently(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 2))
    await office.take(OTHER_TILL, session(1, "other"))
    await office.take(OTHER_STORE, *sessions(1, 3))

    assert await accounted(office) == [
        ("0042", "till-1", EPOCH, 2),
        ("0042", "till-2", EPOCH, 1),
        ("0043", "till-1", EPOCH, 3),
    ]


async def test_invalid_batch_leaves_nothing_behind(office: LedgerDriver) -> None:
    with pytest.raises(MalformedBatch):
        await office.offer(TILL, session(2), session(1))

    assert await accounted(office) == []
    assert await office.rows(SessionRecord, "sequence") == []


async def test_batch_after_a_gap_stores_nothing(office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 2))
    before = await whole(office)

    offered = await office.offer(TILL, *sessions(5, 6))

    assert offered == SequenceGap(3)
    assert await whole(office) == before


@pytest.mark.slow
async def test_largest_batch_is_accepted_twice(office: LedgerDriver) -> None:
    """Ten thousand ids and numbers in a single lookup."""
    events = sessions(1, 10_000)
    await office.take(TILL, *events)

    taken = await office.take(TILL, *events)

    assert (taken.accepted_through, taken.rejections) == (10_000, [])
    assert len(await office.rows(SessionRecord, "sequence")) == 10_000


async def test_concurrent_duplicates_of_a_batch_are_stored_once(office: LedgerDriver) -> None:
    events = [session(1, "one"), answer(2, "one"), session(3)]

    taken = await asyncio.gather(*(office.take(TILL, *events) for _ in range(8)))

    assert {one.accepted_through for one in taken} == {3}
    assert await office.rows(SessionRecord, "sequence") == [(1,), (3,)]
    assert await office.rows(EmailAnswerRecord, "sequence") == [(2,)]


@pytest.mark.parametrize("text", ["\x00", "'); DROP TABLE sessions; --", "\u202eé😀"])
async def test_unusual_text_in_a_body_is_stored_unchanged(office: LedgerDriver, text: str) -> None:
    await office.take(TILL, session(1, "one", body={"more": text}))

    ((body,),) = await office.rows(SessionRecord, "body")
    assert isinstance(body, str)
    assert "more" in body


async def test_answer_stored_by_an_older_version_is_recognised(office: LedgerDriver) -> None:
    """It has no digest; it is found by its time."""
    await office.take(TILL, session(1, "a"), answer(2, "a"), answer(3, "a"))
    forget_digests = update(answers).values(digest=None)
    await office.database.write(lambda connection: connection.execute(forget_digests).close())

    again = SimulatedAgent(epoch=EPOCH[::-1])
    events = [answer(number, "a") for number in range(2, 5)]
    accepted = await office.take(again, session(1, "a"), *events)

    assert [one.sequence for one in accepted.duplicates] == [1, 2, 3]
    assert [one.sequence for one in accepted.answers] == [4]
