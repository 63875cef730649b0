"""Two receivers on one file, and the stop of a receiver."""

import asyncio
from random import Random

import pytest

from sync.receiver import agent_api, service
from sync.receiver.admission import receive
from sync.runtime.network.http_server import LAME_DUCK_SECONDS
from tests.support.head_office.audit import audit_by
from tests.support.head_office.load import event
from tests.support.head_office.messages import EPOCH, SimulatedAgent, session
from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in
from tests.support.patience import PATIENCE_SECONDS
from tests.support.raw_http import HttpResponse
from tests.sync.receiver.conftest import StartReceiver

STOP_SECONDS = 5.0
ROWS = """
SELECT sequence, correlation_id FROM sessions UNION ALL
SELECT sequence, correlation_id FROM email_answers ORDER BY sequence
"""


async def test_two_receivers_accept_one_agents_batches_concurrently(
    start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    """The first response was slow, and the agent retried at the other receiver."""
    first, second = await start_receiver(), await start_receiver()
    await first.enroll(till)
    second.tokens = first.tokens
    random = Random(1)

    async def send_all(receiver: Receiver) -> list[HttpResponse]:
        through, answers = 0, []
        while through < 120:
            numbers = range(max(1, through - 3), through + random.randint(1, 20))
            answers.append(await receiver.send(till, *(event(till, number) for number in numbers)))
            position = answers[-1].members().get("acceptedThrough")
            assert isinstance(position, int)
            through = position
        return answers

    responses = [
        answer
        for answers in await asyncio.gather(send_all(first), send_all(second))
        for answer in answers
    ]

    ((accepted,),) = first.rows("SELECT accepted_through FROM agents")
    assert isinstance(accepted, int)
    assert {(answer.status, str(answer.members()["rejected"])) for answer in responses} == {
        (200, "[]")
    }
    assert first.rows(ROWS) == [
        (number, event(till, number)["correlationId"]) for number in range(1, accepted + 1)
    ]


async def test_new_token_used_at_one_receiver_revokes_the_old_one_at_the_other(
    start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    first, second = await start_receiver(), await start_receiver()
    second.tokens = {(till.store_id, till.till_id): await first.enroll(till)}
    await first.enroll(till)
    before = await second.heartbeat(till)

    await first.heartbeat(till)

    assert (before.status, (await second.heartbeat(till)).status) == (200, 401)


async def test_revoked_token_ends_at_every_receiver(
    start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    """A token that is cached where it was just used would live on there."""
    first, second = await start_receiver(), await start_receiver()
    await first.enroll(till)
    second.tokens = first.tokens
    before = await first.heartbeat(till), await second.heartbeat(till)

    await first.address.enrolment.revoke(till.name, audit_by())

    after = [await one.send(till, session(1)) for one in (first, second)]
    assert [answer.status for answer in (*before, *after)] == [200, 200, 401, 401]


async def test_slow_request_of_a_revoked_token_is_refused_at_its_end(
    receiver: Receiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief who sends slowly would otherwise write for ten minutes more."""
    monkeypatch.setattr(agent_api, "VALID_SECONDS", 0.0)
    body = till.batch(session(1))
    token = receiver.tokens[till.store_id, till.till_id]
    head = f"POST /sync/v1/batches HTTP/1.1\r\nHost: hq\r\nAuthorization: Bearer {token}\r\n"
    reader, writer = await asyncio.open_connection(receiver.address.host, receiver.address.port)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:1])
    # A request through the same event loop: afterwards the partial one is being received.
    await receiver.get("/readyz")

    await receiver.address.enrolment.revoke(till.name, audit_by())
    writer.write(body[1:])

    assert (await reader.readline()).split()[1] == b"401"
    assert receiver.rows("SELECT count(*) FROM sessions") == [(0,)]
    writer.close()


async def test_two_receivers_agree_on_accepted_through(
    start_receiver: StartReceiver, till: SimulatedAgent
) -> None:
    first, second = await start_receiver(), await start_receiver()
    await first.enroll(till)
    second.tokens = first.tokens
    await first.send(till, session(1))

    assert (await second.heartbeat(till)).members() == {
        "epochs": [{"epoch": EPOCH, "acceptedThrough": 1}]
    }


async def test_partial_body_and_idle_connection_do_not_delay_a_stop(
    receiver: Receiver, till: SimulatedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stop that waits until either connection is closed for its silence ends too late.
    monkeypatch.setattr(receive, "SILENCE_SECONDS", 10 * PATIENCE_SECONDS)
    monkeypatch.setattr(receive, "START_SECONDS", 10 * PATIENCE_SECONDS)
    monkeypatch.setattr(service, "IDLE_SECONDS", 10 * PATIENCE_SECONDS)
    token = receiver.tokens[till.store_id, till.till_id]
    head = f"POST /sync/v1/batches HTTP/1.1\r\nHost: hq\r\nAuthorization: Bearer {token}\r\n"
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        receiver_under_test(settings_in(receiver.directory)) as stopping,
    ):
        where = stopping.address.host, stopping.address.port
        _, idle = await asyncio.open_connection(*where)
        _, half = await asyncio.open_connection(*where)
        half.write(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        # A request through the same event loop: afterwards the partial one is being received.
        await stopping.get("/readyz")

    assert LAME_DUCK_SECONDS + service.ANSWER_SECONDS < STOP_SECONDS
    idle.close()
    half.close()
