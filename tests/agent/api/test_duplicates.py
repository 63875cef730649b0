"""Idempotency: a repeated request gets the same receipt and answer and no new record."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.agent.in_process import Agent, agent_under_test, settings_in

INVALID_ID = "Invalid Correlation ID"
SESSION = b'{"correlationId":"x","channel":"STORE","n":1,"list":[1,{"a":null}]}'


def sequence(receipt: str | None) -> int:
    assert receipt is not None
    return int(receipt.rpartition("/")[2])


async def test_repeated_session_start_gets_the_same_answer_and_is_recorded_once(
    agent: Agent,
) -> None:
    first = await agent.start_session(SESSION)
    again = await agent.start_session(SESSION)

    assert (again.status, again.body, again.receipt) == (200, first.body, first.receipt)
    assert agent.bodies() == [SESSION]


@pytest.mark.parametrize(
    "again",
    [
        b'{ "correlationId" : "x",\n"channel":"STORE","n":1,"list":[ 1,{"a":null}]}\r\n',
        b'{"list":[1,{"a":null}],"n":1,"channel":"STORE","correlationId":"x"}',
        b'{"correlationId":"x","channel":"STORE","n":1.0,"list":[1,{"a":null}]}',
        b'{"correlationId":"x","channel":"STORE","n":0.1e+1,"list":[10E-1,{"a":null}]}',
        b'{"correlationId":"\\u0078","ch\\u0061nnel":"STORE","n":1,"list":[1,{"a":null}]}',
        b'{"correlationId":"x","channel":"KIOSK","channel":"STORE","n":1,"list":[1,{"a":null}]}',
    ],
    ids=["white space", "member order", "1.0", "exponents", "escapes", "twice, last counts"],
)
async def test_same_content_in_another_spelling_is_a_duplicate(agent: Agent, again: bytes) -> None:
    first = await agent.start_session(SESSION)
    second = await agent.start_session(again)

    assert (second.status, second.receipt) == (200, first.receipt)
    assert agent.bodies() == [SESSION]


@pytest.mark.parametrize(
    "other",
    [
        b'{"correlationId":"x","channel":"KIOSK","n":1,"list":[1,{"a":null}]}',
        b'{"correlationId":"x","channel":"store","n":1,"list":[1,{"a":null}]}',
        b'{"correlationId":"x","channel":"STORE","n":true,"list":[1,{"a":null}]}',
        b'{"correlationId":"x","channel":"STORE","n":"1","list":[1,{"a":null}]}',
        b'{"correlationId":"x","channel":"STORE","n":1.000000000000000001,"list":[1,{"a":null}]}',
        b'{"correlationId":"x","channel":"STORE","n":1,"list":[{"a":null},1]}',
        b'{"correlationId":"x","channel":"STORE","n":1,"list":[1,{"a":null},1]}',
        b'{"correlationId":"x","channel":"STORE","n":1,"list":[1,{}]}',
        b'{"correlationId":"x","channel":"STORE","n":1,"list":[1,{"a":false}]}',
        b'{"correlationId":"x","channel":"STORE","n":1}',
        b'{"correlationId":"x","channel":"STORE","n":1,"list":[1,{"a":null}],"more":null}',
    ],
)
async def test_used_id_with_other_content_is_refused(agent: Agent, other: bytes) -> None:
    await agent.start_session(SESSION)

    answer = await agent.start_session(other)

    assert (answer.status, answer.members()["errorMessage"]) == (400, INVALID_ID)
    assert answer.receipt is None
    assert agent.bodies() == [SESSION]


async def test_comparison_distinguishes_booleans_from_numbers(agent: Agent) -> None:
    await agent.start_session(b'{"correlationId":"1","n":1}')
    await agent.start_session(b'{"correlationId":"0","n":[0]}')

    one = await agent.start_session(b'{"correlationId":"1","n":true}')
    zero = await agent.start_session(b'{"correlationId":"0","n":[false]}')

    assert (one.status, zero.status) == (400, 400)


@pytest.mark.parametrize(
    ("first", "again", "status"),
    [
        ("?locale=fr-CA", "?locale=fr-CA", 200),
        ("?locale=fr-CA", "?locale=FR-CA&other=1", 200),
        ("", "?locale=FR", 200),
        ("?locale=fr-CA", "", 400),
        ("", "?locale=fr-CA", 400),
        ("?locale=fr-CA", "?locale=en-CA", 400),
    ],
)
async def test_locale_of_the_query_is_part_of_the_compared_content(
    agent: Agent, first: str, again: str, status: int
) -> None:
    await agent.start_session(SESSION, first)

    answer = await agent.start_session(SESSION, again)

    assert answer.status == status
    assert len(agent.bodies()) == 1


async def test_concurrent_duplicates_are_recorded_once(agent: Agent) -> None:
    answers = await asyncio.gather(*(agent.start_session(SESSION) for _ in range(20)))

    assert {answer.status for answer in answers} == {200}
    assert len({answer.receipt for answer in answers}) == 1
    assert agent.bodies() == [SESSION]


async def test_first_of_concurrent_claims_of_an_id_wins(agent: Agent) -> None:
    bodies = [{"correlationId": "x", "channel": str(number)} for number in range(20)]

    answers = await asyncio.gather(*(agent.start_session(body) for body in bodies))

    assert sorted(answer.status for answer in answers) == [200] + [400] * 19
    assert len(agent.bodies()) == 1


async def test_duplicate_is_recognized_after_a_restart(tmp_path: Path) -> None:
    email = {"status": "accepted", "emailAddress": "guest@example.com"}
    async with agent_under_test(settings_in(tmp_path)) as agent:
        first = [await agent.start_session(SESSION), await agent.set_email("x", email)]
    async with agent_under_test(settings_in(tmp_path)) as agent:
        again = [await agent.start_session(SESSION), await agent.set_email("x", email)]
        count = len(agent.bodies())

    assert [answer.receipt for answer in again] == [answer.receipt for answer in first]
    assert [answer.body for answer in again] == [answer.body for answer in first]
    assert count == 2


ACCEPTED = {"status": "accepted", "emailAddress": "guest@example.com"}
ANOTHER = {"status": "accepted", "emailAddress": "other@example.com"}
DECLINED = {"status": "declined"}
DEFERRED = {"status": "deferred"}
NOTED = {"status": "declined", "note": 1}


@pytest.mark.parametrize(
    ("answers", "records"),
    [
        ([DEFERRED, ACCEPTED], 2),
        ([ACCEPTED, DECLINED], 2),
        ([ACCEPTED, ANOTHER], 2),
        ([ACCEPTED, ACCEPTED], 1),
        ([ACCEPTED, {"emailAddress": " guest@example.com ", "status": "accepted"}], 1),
        ([ACCEPTED, {"emailAddress": "Guest@example.com", "status": "accepted"}], 2),
        ([DECLINED, {"status": "declined", "emailAddress": None}], 1),
        ([DECLINED, NOTED], 2),
        ([NOTED, {"note": True, "status": "declined"}], 2),
        ([ACCEPTED, ANOTHER, ACCEPTED], 3),
        ([DECLINED, ACCEPTED, DECLINED, DECLINED, ACCEPTED, ACCEPTED], 4),
    ],
)
async def test_only_a_duplicate_of_the_last_answer_is_not_recorded(
    agent: Agent, answers: Sequence[dict[str, object]], records: int
) -> None:
    await agent.start_session(SESSION)

    given = [await agent.set_email("x", answer) for answer in answers]

    assert {answer.status for answer in given} == {200}
    receipts = [sequence(answer.receipt) for answer in given]
    assert sorted(set(receipts)) == list(range(2, records + 2))
    assert receipts == sorted(receipts)
    kept = agent.rows("SELECT position FROM email_answer ORDER BY position")
    assert [position for (position,) in kept] == sorted(set(receipts))


async def test_all_answers_are_kept_in_order(agent: Agent) -> None:
    await agent.start_session(SESSION)
    for body in (DEFERRED, ACCEPTED, DECLINED):
        await agent.set_email("x", body)

    kept = [json.loads(body)["status"] for body in agent.bodies()[1:]]
    assert kept == ["deferred", "accepted", "declined"]


async def test_same_answer_in_two_sessions_is_recorded_twice(agent: Agent) -> None:
    for correlation_id in ("a", "b"):
        await agent.start_session({"correlationId": correlation_id})

    first, second = [await agent.set_email(name, ACCEPTED) for name in ("a", "b")]

    assert sequence(second.receipt) == sequence(first.receipt) + 1


async def test_receipts_have_no_gaps_across_refusals_and_duplicates(agent: Agent) -> None:
    answers = [
        await agent.start_session({"correlationId": "1"}),
        await agent.start_session({"correlationId": ""}),
        await agent.start_session({"correlationId": "1"}),
        await agent.start_session({"correlationId": "1", "channel": "other"}),
        await agent.set_email("1", DEFERRED),
        await agent.set_email("unknown", DEFERRED),
        await agent.set_email("1", {"status": "no"}),
        await agent.set_email("1", ACCEPTED),
        await agent.start_session({"correlationId": "2"}),
    ]

    receipts = [answer.receipt for answer in answers if answer.status == 200]
    assert [sequence(receipt) for receipt in receipts] == [1, 1, 2, 3, 4]
    assert len({str(receipt).rpartition("/")[0] for receipt in receipts}) == 1
    assert all(answer.receipt is None for answer in answers if answer.status != 200)


async def test_receipts_have_no_gaps_under_concurrency(agent: Agent) -> None:
    bodies = [{"correlationId": str(number % 30)} for number in range(60)]

    answers = await asyncio.gather(*(agent.start_session(body) for body in bodies))

    numbers = sorted({sequence(answer.receipt) for answer in answers})
    assert numbers == list(range(1, 31))
