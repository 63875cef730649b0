"""Tokens are stored as hashes and belong to one till; first use of a newer one revokes them."""

import asyncio
from datetime import timedelta

import pytest

from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db.database import Database
from sync.receiver.db.tables import TokenRecord
from tests.support.head_office.audit import audit_by
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent

TILL = SimulatedAgent()
LATER = AT + timedelta(days=1)


@pytest.fixture
def enrolment(database: Database) -> Enrolment:
    return Enrolment(database)


async def test_token_identifies_agent_and_enrolment_time(enrolment: Enrolment) -> None:
    token = await issue_token(enrolment, TILL.name, b"secret")

    assert await enrolment.authenticate(token, LATER) == EnrolledAgent(TILL.name, AT)


async def test_database_does_not_reveal_tokens(enrolment: Enrolment, office: LedgerDriver) -> None:
    token = await issue_token(enrolment, TILL.name, b"a long secret")
    await enrolment.authenticate(token, AT)

    kept = str(await office.all_rows(TokenRecord))
    assert token not in kept
    assert token.partition(".")[2] not in kept


async def test_old_token_works_until_the_new_one_is_used(enrolment: Enrolment) -> None:
    old = await issue_token(enrolment, TILL.name, b"first")
    await issue_token(enrolment, TILL.name, b"second")

    assert await enrolment.authenticate(old, AT) is not None


async def test_first_use_of_a_new_token_revokes_older_ones(
    enrolment: Enrolment, office: LedgerDriver
) -> None:
    older = await issue_token(enrolment, TILL.name, b"first")
    old = await issue_token(enrolment, TILL.name, b"second")
    new = await issue_token(enrolment, TILL.name, b"third")
    await enrolment.authenticate(old, AT)

    assert await enrolment.authenticate(new, LATER) is not None

    assert [await enrolment.authenticate(token, LATER) for token in (older, old)] == [None, None]
    assert await office.rows(TokenRecord, "generation", "first_used_at") == [(3, LATER)]


async def test_use_of_an_old_token_does_not_revoke_a_newer_one(enrolment: Enrolment) -> None:
    old = await issue_token(enrolment, TILL.name, b"first")
    new = await issue_token(enrolment, TILL.name, b"second")

    await enrolment.authenticate(old, AT)

    assert await enrolment.authenticate(new, AT) is not None


async def test_first_use_is_recorded_once(enrolment: Enrolment, office: LedgerDriver) -> None:
    token = await issue_token(enrolment, TILL.name, b"secret")
    await enrolment.authenticate(token, AT)

    await asyncio.gather(*(enrolment.authenticate(token, LATER) for _ in range(8)))

    assert await office.rows(TokenRecord, "first_used_at") == [(AT,)]


@pytest.mark.parametrize(
    "other", [SimulatedAgent(till_id="till-2"), SimulatedAgent(store_id="0043")]
)
async def test_tokens_of_other_tills_are_not_revoked(
    enrolment: Enrolment, other: SimulatedAgent
) -> None:
    theirs = await issue_token(enrolment, other.name, b"theirs")
    await issue_token(enrolment, TILL.name, b"first")

    await enrolment.authenticate(await issue_token(enrolment, TILL.name, b"second"), AT)

    assert await enrolment.authenticate(theirs, AT) == EnrolledAgent(other.name, AT)


@pytest.mark.parametrize("made_up", ["", ".", "a.b", "é.x", "MDA0Mi90aWxsLTE.", "MDA0Mg.x"])
async def test_malformed_token_is_rejected(enrolment: Enrolment, made_up: str) -> None:
    await issue_token(enrolment, TILL.name, b"secret")

    assert await enrolment.authenticate(made_up, AT) is None


async def test_token_with_a_wrong_secret_is_rejected(enrolment: Enrolment) -> None:
    token = await issue_token(enrolment, TILL.name, b"secret")

    assert await enrolment.authenticate(f"{token}x", AT) is None


async def test_list_returns_tokens_in_its_order(enrolment: Enrolment) -> None:
    names = [SimulatedAgent(store_id=f"{number:04}").name for number in (3, 1, 2)]

    tokens = await enrolment.enroll([(name, b"secret") for name in names], AT, audit_by())

    found = [await enrolment.authenticate(token, AT) for token in tokens]
    assert found == [EnrolledAgent(name, AT) for name in names]


async def test_list_can_renew_and_add_tills(enrolment: Enrolment, office: LedgerDriver) -> None:
    """The generation is counted per till, independently of the rest of the list."""
    other = SimulatedAgent(store_id="0043")
    await issue_token(enrolment, TILL.name, b"first")

    await enrolment.enroll([(other.name, b"theirs"), (TILL.name, b"second")], AT, audit_by())

    rows = await office.rows(TokenRecord, "store_id", "generation")
    assert sorted(rows, key=str) == [("0042", 1), ("0042", 2), ("0043", 1)]


async def test_concurrent_enrolments_are_serialized(
    enrolment: Enrolment, office: LedgerDriver
) -> None:
    """With equal generations neither token would revoke the other."""
    secrets = [f"secret {number}".encode() for number in range(6)]

    await asyncio.gather(*(issue_token(enrolment, TILL.name, secret) for secret in secrets))

    assert sorted(await office.rows(TokenRecord, "generation")) == [(n,) for n in range(1, 7)]
