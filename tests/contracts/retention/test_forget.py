"""Redaction of an address: in every table, permanently, and of nothing else."""

import json
from datetime import datetime

import pytest
from sqlalchemy import BigInteger, Boolean, Table, Text, insert

from sync.receiver.db.tables import (
    AuditRecord,
    EmailAnswerRecord,
    GapRecord,
    LedgerTable,
    RejectionRecord,
    SessionRecord,
    audit_log,
)
from sync.receiver.privacy.forget import Changes, forget_address
from sync.receiver.privacy.redaction import MARK, Address
from sync.receiver.reports.completeness.audit import audit
from tests.support.head_office.audit import audit_by
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import (
    AT,
    Members,
    SimulatedAgent,
    answer,
    erased,
    session,
    sessions,
)

TILL = SimulatedAgent()
GUEST = "guest@example.com"
# Similar addresses that must stay.
OTHERS = ["my.guest@example.com", "guest@example.com.au", "other@example.com"]
TEXT_COLUMNS = [
    (table, column.name)
    for table in LedgerTable.metadata.sorted_tables
    for column in table.columns
    if type(column.type) is Text and not column.primary_key and table is not audit_log
]


async def forget_in(office: LedgerDriver, address: str = GUEST) -> Changes:
    return await forget_address(office.database, Address.parse(address), audit_by())


async def everything(office: LedgerDriver) -> dict[str, list[tuple[object, ...]]]:
    """Return the content of the whole ledger, with escapes decoded."""
    return {
        table.name: [tuple(row.values()) for row in await office.rows_of_table(table)]
        for table in LedgerTable.metadata.sorted_tables
        if table is not audit_log
    }


def body_with_address(body: Members | None = None, **more: object) -> Members:
    """Return a session body with the address in unknown members."""
    return {"correlationId": "one", "channel": "pos", "who": {GUEST: [f"<{GUEST}>"]}, **more}


async def add(office: LedgerDriver, table: Table, row: Members) -> None:
    await office.database.write(lambda connection: connection.execute(insert(table), row) and None)


def a_value(kind: object) -> object:
    match kind:
        case Text():
            return "x"
        case BigInteger():
            return 1
        case Boolean():
            return False
        case _:
            return AT


async def test_address_is_redacted_in_every_text_column(office: LedgerDriver) -> None:
    for number, (table, column) in enumerate(TEXT_COLUMNS):
        text = json.dumps({"note": f"for {GUEST}"}) if column == "body" else f"for {GUEST.upper()}"
        row = {one.name: a_value(one.type) for one in table.columns}
        own = {"store_id": f"{number:04}", column: text}
        await add(office, table, row | own)

    changes = await forget_in(office)

    assert changes == {f"{table.name}.{column}": 1 for table, column in TEXT_COLUMNS}
    assert GUEST not in str(await everything(office)).lower()


async def test_redacted_answer_loses_only_its_address(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), answer(2, "one", GUEST))
    before = (await office.all_rows(EmailAnswerRecord))[0]

    await forget_in(office)

    after = (await office.all_rows(EmailAnswerRecord))[0]
    assert after == {**before, "email_address": None, "address_erased": True}


@pytest.mark.parametrize("other", OTHERS)
async def test_similar_addresses_stay(office: LedgerDriver, other: str) -> None:
    await office.take(
        TILL, session(1, "one", body=body_with_address() | {"note": other}), answer(2, "one", other)
    )
    before = await office.rows(EmailAnswerRecord, "email_address", "address_erased")

    await forget_in(office)

    assert await office.rows(EmailAnswerRecord, "email_address", "address_erased") == before
    ((body,),) = await office.rows(SessionRecord, "body")
    assert json.loads(str(body))["note"] == other


async def test_completeness_is_unchanged_by_redaction(office: LedgerDriver) -> None:
    await office.take(
        TILL,
        session(3, GUEST, body=body_with_address()),
        answer(4, GUEST, GUEST),
        session(5, GUEST, occurredAt="yesterday"),
        answer(6, GUEST, GUEST),
        baseSequence=3,
    )
    before = [epoch async for epoch in audit(office.database, None)]

    assert await forget_in(office)

    assert [epoch async for epoch in audit(office.database, None)] == before


async def test_resent_events_have_no_effect_and_restore_nothing(office: LedgerDriver) -> None:
    """They must not count as altered either, or the agent would resend them under new numbers."""
    events = [
        session(1, "one", body=body_with_address()),
        answer(2, "one", GUEST),
        session(3, f"x {GUEST}"),
    ]
    await office.take(TILL, *events)
    await forget_in(office)
    before = await everything(office)

    again = await office.take(TILL, *events)

    assert again.rejections == []
    after = await everything(office)
    assert {name: rows for name, rows in after.items() if name not in {"Agent", "Boot"}} == {
        name: rows for name, rows in before.items() if name not in {"Agent", "Boot"}
    }


async def test_address_stays_redacted_when_resent_in_a_new_epoch(office: LedgerDriver) -> None:
    events = [session(1, "one", body=body_with_address()), answer(2, "one", GUEST)]
    await office.take(TILL, *events)
    await forget_in(office)

    again = await office.take(SimulatedAgent(epoch="0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4"), *events)

    assert (again.rejections, len(again.duplicates)) == ([], 2)
    assert GUEST not in str(await everything(office))


async def test_resent_duplicate_stays_a_duplicate_and_restores_nothing(
    office: LedgerDriver,
) -> None:
    """If it counted as altered, it would be resent under a new number with an unknown id."""
    events = [session(1, GUEST), answer(2, GUEST, None, "declined")]
    later = SimulatedAgent(epoch="0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
    await office.take(TILL, *events)
    await office.take(later, *events)
    await forget_in(office)

    again = await office.take(later, *events)

    assert again.rejections == []
    assert GUEST not in str(await everything(office))


async def test_changed_resend_of_a_duplicate_is_still_altered(office: LedgerDriver) -> None:
    later = SimulatedAgent(epoch="0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
    await office.take(TILL, session(1, GUEST))
    await office.take(later, session(1, GUEST))
    await forget_in(office)

    again = await office.take(later, answer(1, GUEST))

    assert [rejection.error_code for rejection in again.rejections] == ["ALTERED"]


async def test_daily_retry_of_a_rejected_event_restores_nothing(office: LedgerDriver) -> None:
    """Agents retry dead letters every day."""
    wrong = session(1, GUEST, occurredAt="yesterday"), answer(2, GUEST, occurredAt="then")
    await office.take(TILL, *wrong)
    await forget_in(office)

    again = await office.take(TILL, *wrong)

    assert [rejection.sequence for rejection in again.rejections] == [1, 2]
    assert GUEST not in str(await everything(office))


async def test_changed_resend_of_an_answer_is_still_altered(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one", body=body_with_address()))
    await forget_in(office)

    again = await office.take(TILL, session(1, "one", body=body_with_address(points=7)))

    assert [rejection.error_code for rejection in again.rejections] == ["ALTERED"]


async def test_session_and_answers_stay_linked_under_a_new_id(office: LedgerDriver) -> None:
    name = f"till:{GUEST}"
    await office.take(TILL, session(1, name), answer(2, name, None, "declined"), sessions(3, 3)[0])

    changes = await forget_in(office)

    ((started,), _), ((response,),) = (
        await office.rows(SessionRecord, "correlation_id"),
        await office.rows(EmailAnswerRecord, "correlation_id"),
    )
    assert started == response
    assert str(started).startswith(f"till:{MARK[:-1]} ")
    assert changes["sessions.correlation_id"] == changes["email_answers.correlation_id"] == 1


async def test_address_that_arrives_later_can_be_redacted_then(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), erased(2, "one"))
    assert not await forget_in(office)
    await office.take(TILL, answer(2, "one", GUEST))

    assert await forget_in(office) == {"email_answers.email_address": 1}

    assert await office.rows(GapRecord) == []


async def test_redaction_is_idempotent(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, GUEST, body=body_with_address()), answer(2, GUEST, GUEST))
    await forget_in(office)
    before = await everything(office)

    assert not await forget_in(office)

    assert await everything(office) == before


@pytest.mark.slow
async def test_address_is_found_in_every_store_and_on_every_page(office: LedgerDriver) -> None:
    for number in range(3):
        store = SimulatedAgent(store_id=f"004{number}")
        events = [
            answer(n, f"{n}", GUEST if n % 2 else "other@example.com") for n in range(1, 1300)
        ]
        await office.take(store, *events)

    changes = await forget_in(office)

    assert changes == {"email_answers.email_address": 3 * 650}
    assert GUEST not in str(await office.rows(EmailAnswerRecord, "email_address"))


async def test_address_is_found_behind_json_escapes(office: LedgerDriver) -> None:
    body = {"correlationId": "one", "mail": "ESCAPED"}
    sent = TILL.batch(session(1, "one", body=body)).replace(
        b"ESCAPED", rb"\u0067uest\u0040example.com"
    )
    sent = sent.replace(b"example.com", rb"ex\u0061mple.com")
    await office.offer_raw(TILL, sent)

    assert await forget_in(office) == {"sessions.body": 1}


async def test_rejected_events_keep_their_reason(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, GUEST, type="points.spent"))

    await forget_in(office)

    ((code, received_at),) = await office.rows(RejectionRecord, "error_code", "received_at")
    assert code == "UNKNOWN_TYPE"
    assert isinstance(received_at, datetime)


async def test_scrubbing_the_file_loses_nothing_else(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), answer(2, "one", "other@example.com"))
    await forget_in(office)
    before = await everything(office)

    await office.database.scrub()

    assert await everything(office) == before


async def test_answers_of_before_are_recognised_after_their_address_is_forgotten(
    office: LedgerDriver,
) -> None:
    """The ledger finds them by a digest, which neither the address nor its redaction changes."""
    more = {"status": "accepted", "emailAddress": GUEST, "note": {f"of {GUEST}": [GUEST, "x"]}}
    events = [answer(1, "one", GUEST), answer(2, "one", GUEST), answer(3, "one", body=more)]
    await office.take(TILL, *events)
    await forget_in(office)

    again = SimulatedAgent(epoch="0b1f3f8e-5f0f-4b0c-8f53-8bfc0b1ad2a4")
    accepted = await office.take(again, *events)

    assert [one.sequence for one in accepted.duplicates] == [1, 2, 3]
    assert GUEST not in str(await everything(office))


async def test_audit_log_counts_the_rows_and_never_holds_the_address(office: LedgerDriver) -> None:
    await office.take(TILL, session(1, "one"), answer(2, "one", GUEST))

    await forget_in(office)
    await forget_in(office)

    entries = await office.rows(AuditRecord, "action", "store_id", "detail")
    assert sorted(entries, key=str) == [
        ("forget", "", '{"rows":0}'),
        ("forget", "", '{"rows":1}'),
        ("forget", "0042", '{"table":"email_answers","rows":1}'),
    ]
