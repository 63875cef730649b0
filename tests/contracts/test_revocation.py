"""Revoking and retiring tills: tokens end at once, reports skip the till, its rows stay."""

from datetime import timedelta

import pytest

from sync.receiver.auth.enrolment import Enrolment, Revoked
from sync.receiver.auth.retirement import RetiredTill
from sync.receiver.auth.tokens import EnrolledAgent
from sync.receiver.db.database import Database
from sync.receiver.db.tables import AgentRecord, AuditRecord, SessionRecord, TokenRecord
from tests.support.head_office.audit import audit_by
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent, session, sessions

TILL, NEIGHBOUR = SimulatedAgent(), SimulatedAgent(till_id="till-2")
ELSEWHERE = SimulatedAgent(store_id="0043")
LATER = AT + timedelta(days=1)


@pytest.fixture
def enrolment(database: Database) -> Enrolment:
    return Enrolment(database)


async def entries(office: LedgerDriver) -> list[tuple[object, ...]]:
    """Return the recorded actions, without the enrolments of the set-up."""
    rows = await office.rows(AuditRecord, "action", "store_id", "till_id", "detail")
    return sorted((row for row in rows if row[0] != "enroll"), key=str)


async def test_every_token_of_a_revoked_till_ends(
    enrolment: Enrolment, office: LedgerDriver
) -> None:
    """The one in use, and the newer one that was never used."""
    used = await issue_token(enrolment, TILL.name, b"first")
    await enrolment.authenticate(used, AT)
    unused = await issue_token(enrolment, TILL.name, b"second")

    assert (await enrolment.revoke(TILL.name, audit_by())).tokens == 2

    assert [await enrolment.authenticate(token, AT) for token in (used, unused)] == [None, None]
    assert await entries(office) == [("revoke", "0042", "till-1", '{"tokens":2}')]


async def test_only_tokens_of_the_named_till_end(enrolment: Enrolment) -> None:
    others = [await issue_token(enrolment, one.name, b"x") for one in (NEIGHBOUR, ELSEWHERE)]
    await issue_token(enrolment, TILL.name, b"x")

    await enrolment.revoke(TILL.name, audit_by())

    assert None not in [await enrolment.authenticate(token, AT) for token in others]


async def test_revoking_a_till_without_tokens_changes_nothing(
    enrolment: Enrolment, office: LedgerDriver
) -> None:
    assert await enrolment.revoke(TILL.name, audit_by()) == Revoked(0, 0)
    assert await entries(office) == []


async def test_revoked_till_can_be_enrolled_again(enrolment: Enrolment) -> None:
    await issue_token(enrolment, TILL.name, b"first")
    await enrolment.revoke(TILL.name, audit_by())

    token = await issue_token(enrolment, TILL.name, b"second")

    assert await enrolment.authenticate(token, AT) == EnrolledAgent(TILL.name, AT)


async def test_retired_till_loses_its_tokens_and_keeps_its_rows(
    enrolment: Enrolment, office: LedgerDriver
) -> None:
    token = await issue_token(enrolment, TILL.name, b"x")
    await office.take(TILL, *sessions(1, 3))
    await office.heartbeat(TILL, lastSequence=5)

    retired = await enrolment.retire(TILL.store_id, TILL.till_id, LATER, audit_by())

    assert retired == [RetiredTill(TILL.name, tokens=1, outstanding=2)]
    assert await enrolment.authenticate(token, LATER) is None
    assert await office.rows(AgentRecord, "accepted_through", "retired_at") == [(3, LATER)]
    assert len(await office.all_rows(SessionRecord)) == 3
    assert await entries(office) == [
        ("retire", "0042", "till-1", '{"tokens":1,"outstanding":2}'),
    ]


async def test_retiring_a_store_retires_all_its_tills(
    enrolment: Enrolment, office: LedgerDriver
) -> None:
    """Also one that was enrolled and never sent anything."""
    await issue_token(enrolment, NEIGHBOUR.name, b"x")
    for one in (TILL, ELSEWHERE):
        await office.take(one, *sessions(1, 1))

    retired = await enrolment.retire("0042", None, LATER, audit_by())

    assert [one.name for one in retired or ()] == [TILL.name, NEIGHBOUR.name]
    assert await office.rows(AgentRecord, "store_id", "retired_at") == [
        ("0042", LATER),
        ("0043", None),
    ]
    assert await office.all_rows(TokenRecord) == []


async def test_retiring_twice_changes_nothing(enrolment: Enrolment, office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 1))
    await enrolment.retire("0042", "till-1", AT, audit_by())

    assert await enrolment.retire("0042", "till-1", LATER, audit_by()) == []
    assert await office.rows(AgentRecord, "retired_at") == [(AT,)]
    assert len(await entries(office)) == 1


async def test_unknown_till_cannot_be_retired(enrolment: Enrolment, office: LedgerDriver) -> None:
    await office.take(TILL, *sessions(1, 1))

    assert await enrolment.retire("0042", "till-9", AT, audit_by()) is None
    assert await enrolment.retire("0049", None, AT, audit_by()) is None
    assert await entries(office) == []


async def test_enrolment_brings_a_retired_till_back(
    enrolment: Enrolment, office: LedgerDriver
) -> None:
    for one in (TILL, NEIGHBOUR, ELSEWHERE):
        await office.take(one, session(1, one.till_id))
    await enrolment.retire("0042", None, AT, audit_by())

    await issue_token(enrolment, TILL.name, b"x")

    retired = await office.rows(AgentRecord, "store_id", "till_id", "retired_at")
    assert retired == [
        ("0042", "till-1", None),
        ("0042", "till-2", AT),
        ("0043", "till-1", None),
    ]
