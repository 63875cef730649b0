"""A value that the database refuses costs its own event, never the rest of the batch."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from sync.receiver.db.database import Database
from sync.receiver.db.sqlite import SqliteFile
from sync.receiver.db.tables import EmailAnswerRecord, RejectionRecord, SessionRecord
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import Members, SimulatedAgent, answer, session, sessions

TILL = SimulatedAgent()
_MOST_BYTES = 2_000
_REFUSE = """
CREATE FUNCTION refuse_value() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body LIKE '%unstorable%' THEN
        RAISE EXCEPTION 'guest@example.com' USING ERRCODE = '{state}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_value BEFORE INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION refuse_value();
CREATE TRIGGER refuse_value BEFORE INSERT ON email_answers
    FOR EACH ROW EXECUTE FUNCTION refuse_value()
"""
_ACCEPT = "DROP FUNCTION IF EXISTS refuse_value CASCADE"


def unstorable(event: Members) -> Members:
    """Return the event with a value that the database of these tests refuses."""
    body = event["body"]
    assert isinstance(body, dict)
    return event | {"body": body | {"note": "unstorable" * _MOST_BYTES}}


async def run(database: Database, script: str) -> None:
    def execute(connection: Connection) -> None:
        for statement in script.split(";\nCREATE TRIGGER"):
            begun = statement if statement.lstrip().startswith(("CREATE", "DROP")) else None
            connection.execute(text(begun or f"CREATE TRIGGER{statement}"))

    await database.write(execute)


@pytest.fixture(params=["22P05", "22003", "54000"])
async def refusing(
    request: pytest.FixtureRequest, office: LedgerDriver
) -> AsyncIterator[LedgerDriver]:
    """Return a head office whose database refuses long values, or those of a trigger."""
    if isinstance(office.database, SqliteFile):
        if request.param != "54000":
            pytest.skip("SQLite has one limit")
        await office.database.write(_limit_length)
        yield office
    else:
        await run(office.database, _REFUSE.format(state=request.param))
        yield office
        await run(office.database, _ACCEPT)


def _limit_length(connection: Connection) -> None:
    import sqlite3  # noqa: PLC0415 - for its constant

    driver = connection.connection.dbapi_connection
    assert driver is not None
    driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10 * _MOST_BYTES)


async def test_rest_of_the_batch_is_stored_and_the_event_is_rejected_by_name(
    refusing: LedgerDriver,
) -> None:
    events = sessions(1, 9)
    events[4] = unstorable(session(5))
    taken = await refusing.take(TILL, *events, answer(10, "session-9"))

    assert taken.accepted_through == 10
    ((number, code, message),) = [
        (one.sequence, one.error_code, one.error_message) for one in taken.rejections
    ]
    assert (number, code) == (5, "UNSTORABLE")
    assert message.startswith("The database of head office refuses a value of this event")
    assert "@" not in message
    stored = await refusing.rows(SessionRecord, "sequence")
    assert stored == [(number,) for number in (1, 2, 3, 4, 6, 7, 8, 9)]
    assert await refusing.rows(RejectionRecord, "sequence", "type", "correlation_id") == [
        (5, "session.started", "session-5")
    ]


async def test_answers_of_an_unstorable_session_are_rejected_with_it(
    refusing: LedgerDriver,
) -> None:
    taken = await refusing.take(
        TILL, unstorable(session(1)), answer(2, "session-1"), session(3), answer(4, "session-3")
    )
    assert [(one.sequence, one.error_code) for one in taken.rejections] == [
        (1, "UNSTORABLE"),
        (2, "SESSION_REFUSED"),
    ]
    assert await refusing.rows(EmailAnswerRecord, "sequence") == [(4,)]


async def test_every_event_may_be_unstorable(refusing: LedgerDriver) -> None:
    taken = await refusing.take(TILL, *map(unstorable, sessions(1, 5)))

    assert [one.sequence for one in taken.rejections] == [1, 2, 3, 4, 5]


async def test_batch_full_of_unstorable_events_is_answered_before_its_sender_gives_up(
    refusing: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes transactions of its own: of 2,000 none was confirmed before the agent's limit."""
    monkeypatch.setattr("sync.receiver.ingest.ledger.MOST_REFUSED", 2)
    events = [session(1), *(unstorable(session(number)) for number in range(2, 7)), session(7)]

    first = await refusing.take(TILL, *events)
    second = await refusing.take(TILL, *events[3:])
    third = await refusing.take(TILL, *events[5:])

    assert [one.accepted_through for one in (first, second, third)] == [3, 5, 7]
    assert [one.sequence for one in (*first.rejections, *second.rejections)] == [2, 3, 4, 5]
    assert [one.sequence for one in third.rejections] == [6]


async def test_repeat_of_unstorable_events_confirms_only_what_it_looked_at(
    refusing: LedgerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Head office knows higher numbers, but has not named those of them that it rejects."""
    events = [unstorable(session(number)) for number in range(1, 6)]
    await refusing.take(TILL, *events)
    monkeypatch.setattr("sync.receiver.ingest.ledger.MOST_REFUSED", 2)

    repeated = await refusing.take(TILL, *events)

    assert repeated.accepted_through == 2
    assert [one.sequence for one in repeated.rejections] == [1, 2]


async def test_event_is_stored_once_the_database_takes_its_value(
    office: LedgerDriver,
) -> None:
    event = session(1) | {"body": {"correlationId": "session-1", "note": "unstorable"}}
    if isinstance(office.database, SqliteFile):
        pytest.skip("a limit of SQLite is compiled in")
    await run(office.database, _REFUSE.format(state="22P05"))
    await office.take(TILL, event)
    await run(office.database, _ACCEPT)

    assert (await office.take(TILL, event)).rejections == []
    assert await office.rows(SessionRecord, "sequence") == [(1,)]


async def test_other_errors_of_the_database_reject_no_event(office: LedgerDriver) -> None:
    if isinstance(office.database, SqliteFile):
        pytest.skip("tested with its errors in test_agent_api.py")
    await run(office.database, _REFUSE.format(state="53100"))
    try:
        with pytest.raises(DBAPIError):
            await office.take(TILL, session(1), unstorable(session(2)))
    finally:
        await run(office.database, _ACCEPT)
    assert await office.rows(RejectionRecord, "sequence") == []
