"""A join code is used once, by one machine, within its days; only digests are stored."""

import asyncio
import json
from datetime import timedelta

import pytest

from sync.protocol.agent_token import hash_token, make_token
from sync.receiver.auth.enrolment import Enrolment
from sync.receiver.auth.join_codes import (
    VALID_DAYS,
    JoinCodes,
    JoinOutcome,
    NewCode,
    TokenRegistration,
)
from sync.receiver.auth.retirement import RetiredTill
from sync.receiver.auth.tokens import AgentName, EnrolledAgent
from sync.receiver.db.database import Database
from sync.receiver.db.tables import AuditRecord, JoinCodeRecord, TokenRecord
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import FleetQuery, fleet_page
from sync.receiver.reports.join_code_list import join_code_entry, list_join_codes
from sync.receiver.reports.store_list import is_known_store, stores_json
from sync.receiver.reports.tills import Reference
from tests.support.head_office.audit import audit_by
from tests.support.head_office.enrolment import issue_token
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT, SimulatedAgent

TILL = SimulatedAgent()
SECRET, OTHER_SECRET = "S" * 25, "T" * 25
DURING = AT + timedelta(days=VALID_DAYS - 1)
AFTER = AT + timedelta(days=VALID_DAYS, seconds=1)


@pytest.fixture
def enrolment(database: Database) -> Enrolment:
    return Enrolment(database)


@pytest.fixture
def codes(database: Database) -> JoinCodes:
    return JoinCodes(database)


def token_of(machine: str, name: AgentName = TILL.name) -> str:
    return make_token(name.store_id, name.till_id, machine.encode())


def registration(
    machine: str = "machine", secret: str = SECRET, name: AgentName = TILL.name
) -> TokenRegistration:
    return TokenRegistration(name, secret, hash_token(token_of(machine, name)))


async def issue(codes: JoinCodes, secret: str = SECRET, name: AgentName = TILL.name) -> None:
    await codes.issue([NewCode(name, secret)], AT, audit_by())


async def join(codes: JoinCodes, machine: str = "machine", secret: str = SECRET) -> JoinOutcome:
    return await codes.redeem(registration(machine, secret), DURING, audit_by())


async def test_machine_that_joined_is_enrolled_with_its_own_token(
    codes: JoinCodes, enrolment: Enrolment
) -> None:
    await issue(codes)

    assert await join(codes) is JoinOutcome.JOINED

    agent = await enrolment.authenticate(token_of("machine"), DURING)
    assert agent == EnrolledAgent(TILL.name, DURING)


async def test_database_reveals_neither_code_nor_token(
    codes: JoinCodes, office: LedgerDriver
) -> None:
    await issue(codes)
    await join(codes)

    kept = str(
        [await office.all_rows(table) for table in (JoinCodeRecord, TokenRecord, AuditRecord)]
    )
    assert SECRET not in kept
    assert token_of("machine") not in kept


async def test_second_machine_is_refused(codes: JoinCodes, enrolment: Enrolment) -> None:
    await issue(codes)
    await join(codes)

    assert await join(codes, "thief") is JoinOutcome.USED

    assert await enrolment.authenticate(token_of("thief"), DURING) is None


async def test_same_machine_repeats_a_join_whose_answer_was_lost(
    codes: JoinCodes, enrolment: Enrolment, office: LedgerDriver
) -> None:
    """Also when the code has expired meanwhile, and when the token was used already."""
    await issue(codes)
    await join(codes)

    assert await codes.redeem(registration(), AFTER, audit_by()) is JoinOutcome.JOINED
    await enrolment.authenticate(token_of("machine"), AFTER)
    assert await codes.redeem(registration(), AFTER, audit_by()) is JoinOutcome.JOINED

    assert await office.rows(TokenRecord, "generation") == [(1,)]


async def test_of_two_machines_at_once_one_joins(
    codes: JoinCodes, enrolment: Enrolment, office: LedgerDriver
) -> None:
    await issue(codes)
    machines = [f"machine {number}" for number in range(6)]

    outcomes = await asyncio.gather(*(join(codes, machine) for machine in machines))

    assert sorted(outcomes) == [JoinOutcome.JOINED, *[JoinOutcome.USED] * 5]
    assert len(await office.rows(TokenRecord, "generation")) == 1


async def test_concurrent_repeats_of_one_machine_all_succeed(
    codes: JoinCodes, office: LedgerDriver
) -> None:
    await issue(codes)

    outcomes = await asyncio.gather(*(join(codes) for _ in range(6)))

    assert set(outcomes) == {JoinOutcome.JOINED}
    assert len(await office.rows(TokenRecord, "generation")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        registration(secret=OTHER_SECRET),
        registration(name=AgentName("0042", "till-2")),
        registration(name=AgentName("0043", "till-1")),
    ],
)
async def test_wrong_secret_and_unknown_till_are_told_the_same(
    codes: JoinCodes, wrong: TokenRegistration
) -> None:
    await issue(codes)

    assert await codes.redeem(wrong, DURING, audit_by()) is JoinOutcome.UNKNOWN


async def test_code_expires_after_its_days(codes: JoinCodes, office: LedgerDriver) -> None:
    await issue(codes)

    assert await codes.redeem(registration(), AFTER, audit_by()) is JoinOutcome.EXPIRED

    assert await office.rows(TokenRecord, "generation") == []


async def test_second_code_of_a_till_voids_the_first(codes: JoinCodes) -> None:
    await issue(codes)
    await issue(codes, OTHER_SECRET)

    assert await join(codes) is JoinOutcome.UNKNOWN
    assert await join(codes, secret=OTHER_SECRET) is JoinOutcome.JOINED


async def test_code_leaves_those_of_other_tills_valid(codes: JoinCodes) -> None:
    other = AgentName("0042", "till-2")
    await issue(codes)
    await issue(codes, OTHER_SECRET, other)
    # A list with the first till of one store and the second of another.
    renewed = [
        NewCode(AgentName("0042", "till-3"), "U" * 25),
        NewCode(AgentName("0043", "till-1"), "V" * 25),
    ]
    await codes.issue(renewed, AT, audit_by())

    assert await join(codes) is JoinOutcome.JOINED


async def test_old_token_works_until_the_joined_machine_first_delivers(
    codes: JoinCodes, enrolment: Enrolment
) -> None:
    old = await issue_token(enrolment, TILL.name, b"old")
    await enrolment.authenticate(old, AT)
    await issue(codes)
    await join(codes)
    assert await enrolment.authenticate(old, DURING) is not None

    await enrolment.authenticate(token_of("machine"), DURING)

    assert await enrolment.authenticate(old, DURING) is None


async def test_revoking_a_till_voids_its_code(codes: JoinCodes, enrolment: Enrolment) -> None:
    await issue(codes)

    revoked = await enrolment.revoke(TILL.name, audit_by())

    assert (revoked.tokens, revoked.codes) == (0, 1)
    assert await join(codes) is JoinOutcome.UNKNOWN


async def test_revoking_a_joined_till_ends_its_repeats_as_well(
    codes: JoinCodes, enrolment: Enrolment
) -> None:
    """Its code is spent: it must not bring the revoked token back."""
    await issue(codes)
    await join(codes)

    await enrolment.revoke(TILL.name, audit_by())

    assert await join(codes) is JoinOutcome.UNKNOWN
    assert await enrolment.authenticate(token_of("machine"), DURING) is None


async def test_newer_token_spends_the_code_of_an_older_one(
    codes: JoinCodes, enrolment: Enrolment
) -> None:
    """The first use of a newer token has ended the joined machine's one."""
    await issue(codes)
    await join(codes)
    newer = await issue_token(enrolment, TILL.name, b"newer")
    await enrolment.authenticate(newer, DURING)

    assert await join(codes) is JoinOutcome.UNKNOWN


async def test_code_alone_can_be_voided(codes: JoinCodes, enrolment: Enrolment) -> None:
    token = await issue_token(enrolment, TILL.name, b"in use")
    await issue(codes)

    assert await codes.void(TILL.name, audit_by()) == 1

    assert await join(codes) is JoinOutcome.UNKNOWN
    assert await enrolment.authenticate(token, DURING) is not None


async def test_retiring_a_till_voids_its_code(codes: JoinCodes, enrolment: Enrolment) -> None:
    await issue(codes)

    retired = await enrolment.retire(TILL.store_id, None, AT, audit_by())

    assert retired == [RetiredTill(TILL.name, tokens=0, outstanding=0, codes=1)]
    assert await join(codes) is JoinOutcome.UNKNOWN


async def test_code_brings_a_retired_till_back(
    codes: JoinCodes, enrolment: Enrolment, office: LedgerDriver
) -> None:
    await office.heartbeat(TILL)
    await enrolment.retire(TILL.store_id, TILL.till_id, AT, audit_by())

    await issue(codes)

    assert await enrolment.retire(TILL.store_id, TILL.till_id, AT, audit_by()) != []


async def test_issue_join_and_void_are_in_the_audit_log(
    codes: JoinCodes, office: LedgerDriver
) -> None:
    await issue(codes)
    await join(codes)
    await codes.void(TILL.name, audit_by())

    rows = await office.rows(AuditRecord, "action", "store_id", "till_id", "detail")
    assert sorted(rows) == [
        ("enroll", "0042", "till-1", '{"codes":1}'),
        ("join", "0042", "till-1", f'{{"token":"{hash_token(token_of("machine"))[:8]}"}}'),
        ("revoke", "0042", "till-1", '{"codes":1}'),
    ]


async def test_repeat_and_refusals_are_not_in_the_audit_log(
    codes: JoinCodes, office: LedgerDriver
) -> None:
    await issue(codes)
    await join(codes)
    await join(codes)
    await join(codes, "thief")
    await join(codes, secret=OTHER_SECRET)

    assert len(await office.rows(AuditRecord, "action")) == 2


async def test_codes_are_listed_with_their_state(codes: JoinCodes, database: Database) -> None:
    await issue(codes)
    await issue(codes, OTHER_SECRET, AgentName("0043", "till-1"))
    await join(codes)

    listed = [row async for page in list_join_codes(database) for row in page]
    entries = [join_code_entry(row, DURING) for row in listed]

    assert [(one["storeId"], one["tillId"], one["state"]) for one in entries] == [
        ("0042", "till-1", "used"),
        ("0043", "till-1", "open"),
    ]
    assert [join_code_entry(row, AFTER)["state"] for row in listed] == ["used", "expired"]


async def test_authority_is_found_by_the_mark_in_the_code(codes: JoinCodes) -> None:
    await codes.add_authority("M" * 25, "-----BEGIN CERTIFICATE-----", AT)
    await codes.add_authority("M" * 25, "-----BEGIN CERTIFICATE-----", AT)

    assert await codes.authority("M" * 25) == "-----BEGIN CERTIFICATE-----"
    assert await codes.authority("N" * 25) is None


async def test_till_with_a_code_is_listed_as_not_yet_installed(
    codes: JoinCodes, office: LedgerDriver, enrolment: Enrolment
) -> None:
    """In a roll-out head office sees what is still to be installed."""
    await issue(codes)
    await issue(codes, OTHER_SECRET, AgentName("0043", "till-1"))
    await issue_token(enrolment, TILL.name, b"has a token as well")
    page = await office.database.read(
        lambda connection: fleet_page(connection, Reference(AT, "1.0"), FleetQuery())
    )

    assert [(one.store_id, one.state, one.tills) for one in page.stores] == [
        ("0042", Condition.NOT_INSTALLED, 1),
        ("0043", Condition.NOT_INSTALLED, 1),
    ]
    assert await is_known_store(office.database, "0043")
    document = b"".join([part async for part in stores_json(office.database)])
    assert [one["storeId"] for one in json.loads(document)["stores"]] == ["0042", "0043"]


async def test_authority_of_a_name_that_no_code_can_have_is_unknown(codes: JoinCodes) -> None:
    """Anybody may ask; PostgreSQL refuses a NUL in a text."""
    assert [await codes.authority(mark) for mark in ("\0", "", "S" * 24, "S" * 100_000)] == [
        None
    ] * 4
