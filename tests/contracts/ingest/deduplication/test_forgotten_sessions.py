"""A till repeats a session to an agent that has forgotten it: purged, put back, set aside."""

import pytest

from sync.receiver.db.tables import (
    DuplicateRecord,
    EmailAnswerRecord,
    RejectionRecord,
    SessionRecord,
)
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import EPOCH, SimulatedAgent, answer, session, wire_time

TILL = SimulatedAgent()
FORGETFUL = SimulatedAgent(epoch="0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
OTHER_TILL = SimulatedAgent(till_id="till-2")
LATER = wire_time(60)


@pytest.mark.parametrize("sender", [TILL, FORGETFUL], ids=["same epoch", "another epoch"])
@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_repeated_session_is_a_duplicate_and_its_answers_arrive(
    office: LedgerDriver,
    sender: SimulatedAgent,
    in_one_batch: bool,  # noqa: FBT001 - a parameter
) -> None:
    await office.take(TILL, session(1, "one"))
    first = 2 if sender is TILL else 1
    again = session(first, "one", occurredAt=LATER)

    batches = [again, answer(first + 1, "one")]
    if in_one_batch:
        rejections = (await office.take(sender, *batches)).rejections
    else:
        rejections = [r for event in batches for r in (await office.take(sender, event)).rejections]

    assert rejections == []
    assert await office.rows(SessionRecord, "epoch", "sequence") == [(EPOCH, 1)]
    assert await office.rows(EmailAnswerRecord, "sequence", "email_address") == [
        (first + 1, "guest@example.com")
    ]
    assert await office.rows(DuplicateRecord, "epoch", "sequence") == [(sender.epoch, first)]


async def test_repeat_of_a_repeated_session_has_no_effect(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"))
    again = [session(1, "one", occurredAt=LATER), answer(2, "one")]
    await office.take(FORGETFUL, *again)

    taken = await office.take(FORGETFUL, *again)

    assert (taken.rejections, taken.sessions, taken.answers) == ([], [], [])


async def test_dead_letters_of_a_version_before_arrive_when_they_are_retried(
    office: LedgerDriver,
) -> None:
    """It refused the repeated session, and every answer after it."""
    await office.take(TILL, session(1, "one"))
    wrong = session(1, "one", occurredAt="yesterday")
    await office.take(FORGETFUL, wrong, answer(2, "one"))
    assert await office.rows(RejectionRecord, "sequence") == [(1,), (2,)]

    taken = await office.take(FORGETFUL, session(1, "one", occurredAt=LATER), answer(2, "one"))

    assert taken.rejections == []
    assert await office.rows(RejectionRecord, "sequence") == []
    assert await office.rows(EmailAnswerRecord, "email_address") == [("guest@example.com",)]


async def test_answers_arrive_although_an_earlier_start_of_the_session_is_still_rejected(
    office: LedgerDriver,
) -> None:
    """The dead letter is lost with the agent's database and never retried."""
    await office.take(TILL, session(1, "one", occurredAt="yesterday"))

    taken = await office.take(TILL, session(2, "one"))
    answered = await office.take(TILL, session(3, "one", occurredAt=LATER), answer(4, "one"))
    later = await office.take(TILL, answer(5, "one", None, "declined"))

    assert [one.rejections for one in (taken, answered, later)] == [[], [], []]


async def test_two_starts_of_one_session_in_a_batch_are_one(office: LedgerDriver) -> None:
    taken = await office.take(TILL, session(1, "one"), session(2, "one", occurredAt=LATER))

    assert [one.sequence for one in taken.duplicates] == [2]


async def test_other_content_under_a_used_id_is_still_rejected(office: LedgerDriver) -> None:
    """The answers after it are another customer's, not of the session that stands."""
    await office.take(TILL, session(1, "one"))

    taken = await office.take(
        FORGETFUL, session(1, "one", body={"channel": "web"}), answer(2, "one")
    )

    assert [(one.sequence, one.error_code) for one in taken.rejections] == [
        (1, "INVALID_REQUEST"),
        (2, "SESSION_REFUSED"),
    ]


async def test_session_of_another_till_at_another_time_is_its_own(office: LedgerDriver) -> None:
    """Else any till of the store could answer for its customers by guessing its message."""
    await office.take(OTHER_TILL, session(1, "one"))

    taken = await office.take(TILL, session(1, "one", occurredAt=LATER))

    assert (len(taken.sessions), taken.duplicates) == (1, [])


async def test_content_of_another_tills_session_is_no_repeat_of_a_tills_own(
    office: LedgerDriver,
) -> None:
    await office.take(OTHER_TILL, session(1, "one", body={"channel": "kiosk"}))
    await office.take(TILL, session(1, "one"))

    again = session(2, "one", body={"channel": "kiosk"}, occurredAt=LATER)
    taken = await office.take(TILL, again)

    assert [one.error_message for one in taken.rejections] == ["Invalid Correlation ID"]


async def test_renamed_till_that_forgot_a_session_owns_it_still(office: LedgerDriver) -> None:
    await office.take(OTHER_TILL, session(1, "one"))
    await office.take(TILL, session(1, "one"))

    taken = await office.take(FORGETFUL, session(1, "one", occurredAt=LATER), answer(2, "one"))

    assert (taken.rejections, taken.sessions) == ([], [])


async def test_same_session_under_its_own_number_at_another_time_is_another_event(
    office: LedgerDriver,
) -> None:
    """The agent went on under old numbers: later events need new ones."""
    await office.take(TILL, session(1, "one"))

    taken = await office.take(TILL, session(1, "one", occurredAt=LATER))

    assert [one.error_code for one in taken.rejections] == ["ALTERED"]
