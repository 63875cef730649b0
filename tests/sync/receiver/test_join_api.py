"""Machines join over HTTP with a code: answers, refusals, limits; no secret in a log or answer."""

import asyncio
import json
import logging

import pytest

from sync.protocol.agent_token import hash_token, make_token
from sync.protocol.join_messages import JOIN_PATH
from sync.receiver.auth.join_codes import JoinCodes, NewCode
from sync.receiver.join_api import MAX_JOIN_BYTES
from tests.support.head_office.audit import audit_by
from tests.support.head_office.messages import AT, SimulatedAgent
from tests.support.head_office.receiver import Receiver
from tests.support.log_fields import fields_of
from tests.support.raw_http import HttpResponse

SECRET, WRONG = "S" * 25, "W" * 25
NEW = SimulatedAgent(till_id="till-7")
TOKEN = make_token(NEW.store_id, NEW.till_id, b"made on the machine")


def joining(**members: object) -> bytes:
    usual = {
        "storeId": NEW.store_id,
        "tillId": NEW.till_id,
        "secret": SECRET,
        "tokenHash": hash_token(TOKEN),
        "agentVersion": "0.1.0",
    }
    return json.dumps(usual | members).encode()


async def join(receiver: Receiver, **members: object) -> HttpResponse:
    return await receiver.request("POST", JOIN_PATH, joining(**members))


@pytest.fixture
async def codes(receiver: Receiver) -> JoinCodes:
    """Codes of a running head office, one of them issued for a new till."""
    codes = receiver.address.join_codes
    await codes.issue([NewCode(NEW.name, SECRET)], AT, audit_by())
    return codes


async def test_machine_that_joined_delivers_with_its_token(
    receiver: Receiver, codes: JoinCodes
) -> None:
    response = await join(receiver)

    assert response.status == 200
    assert response.members() == {"storeId": "0042", "tillId": "till-7"}
    receiver.tokens[NEW.store_id, NEW.till_id] = TOKEN
    assert (await receiver.heartbeat(NEW)).status == 200


async def test_repeat_of_a_lost_answer_gets_the_same_answer(
    receiver: Receiver, codes: JoinCodes
) -> None:
    first, again = await join(receiver), await join(receiver)

    assert (again.status, again.members()) == (first.status, first.members())


async def test_reader_of_the_line_gains_nothing_by_repeating_a_join(
    receiver: Receiver, codes: JoinCodes
) -> None:
    """All that was on the line: the secret and the hash of a token, not the token."""
    await join(receiver)

    repeated = await join(receiver)
    other_token = await join(receiver, tokenHash="0" * 64)

    assert TOKEN not in repeated.body.decode()
    assert (other_token.status, other_token.members()["errorCode"]) == (409, "JOIN_CODE_USED")


@pytest.mark.parametrize("claimed", [{"secret": WRONG}, {"tillId": "till-8"}, {"storeId": "0043"}])
async def test_wrong_secret_and_unknown_till_get_the_same_answer(
    receiver: Receiver, codes: JoinCodes, claimed: dict[str, object]
) -> None:
    response = await join(receiver, **claimed)

    assert (response.status, response.members()["errorCode"]) == (401, "JOIN_CODE_UNKNOWN")


async def test_guesses_at_a_till_are_slowed_down_and_other_tills_are_not(
    receiver: Receiver, codes: JoinCodes
) -> None:
    """One address stands for a whole store behind its router."""
    await codes.issue([NewCode(SimulatedAgent(till_id="till-8").name, SECRET)], AT, audit_by())
    await join(receiver, secret=WRONG)

    held = await join(receiver)
    other = await join(receiver, tillId="till-8")

    assert (held.status, held.header("Retry-After")) == (429, "1")
    assert other.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[" * 3000,
        b'{"storeId":"\xff"}',
        joining(secret="S" * 24),
        joining(secret=None),
        joining(tokenHash="g" * 64),
        joining(tokenHash=["0" * 64]),
        joining(storeId="../0042"),
        joining(storeId="0042\x00"),
        joining(tillId="t" * 65),
        joining(agentVersion="v" * 201),
    ],
)
async def test_hostile_body_is_refused_without_being_quoted(
    receiver: Receiver, codes: JoinCodes, body: bytes
) -> None:
    response = await receiver.request("POST", JOIN_PATH, body)

    assert response.status == 400
    assert response.members()["errorMessage"] == "The body is not a join request"


async def test_large_body_is_refused_before_it_is_read(
    receiver: Receiver, codes: JoinCodes
) -> None:
    body = joining(agentVersion="v" * MAX_JOIN_BYTES)

    assert (await receiver.request("POST", JOIN_PATH, body)).status == 413


async def test_flood_of_joins_leaves_head_office_to_its_agents(
    receiver: Receiver, codes: JoinCodes, till: SimulatedAgent
) -> None:
    flood = [join(receiver, tillId=f"till-{number}") for number in range(100, 140)]

    answers = await asyncio.gather(receiver.heartbeat(till), *flood)

    assert answers[0].status == 200
    assert {answer.status for answer in answers[1:]} <= {401, 429}


async def test_refusal_is_logged_with_peer_and_claim_without_the_secret(
    receiver: Receiver, codes: JoinCodes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await join(receiver)
    await join(receiver, tokenHash="0" * 64)
    await join(receiver, secret=WRONG)

    (line,) = fields_of(caplog, "join.refused")
    claim = {"store": "0042", "till": "till-7"}
    assert line == {"times": 1, "peer": "127.0.0.1", "reason": "used", **claim}
    assert SECRET not in caplog.text
    assert WRONG not in caplog.text


async def test_authority_is_served_to_those_who_cannot_trust_head_office_yet(
    receiver: Receiver, codes: JoinCodes
) -> None:
    await codes.add_authority("M" * 25, "a certificate", AT)

    found = await receiver.request("GET", f"/sync/v1/join/authorities/{'M' * 25}")
    unknown = await receiver.request("GET", f"/sync/v1/join/authorities/{'N' * 25}")

    assert found.members() == {"certificate": "a certificate"}
    assert unknown.status == 404
