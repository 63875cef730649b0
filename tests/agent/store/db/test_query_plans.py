"""Query plans: no statement scans a table that grows with the captures."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from agent.doctor.store import findings
from agent.facts import Receipt
from agent.store.db import epochs
from agent.store.db.connect import read_only
from agent.store.journal import session_cache
from agent.store.outbox import in_flight, settle, window_sql
from agent.store.queries import capture_status, status
from agent.store.queries.reader import StoreReader
from agent.store.retention import (
    delivery_times,
    erase,
    erase_digests,
    make_room,
    purge,
    purge_answers,
)
from tests.support.agent.outbox import outbox_on
from tests.support.agent.store import answer, opened, session

GROWING_TABLES = ("event", "session", "email_answer", "delivery", "settled", "dead_letter")
JOURNAL_AND_OUTBOX = (epochs, session_cache, window_sql, in_flight, settle)
RETENTION_AND_STATUS = (
    delivery_times,
    erase,
    erase_digests,
    make_room,
    purge,
    purge_answers,
    capture_status,
    status,
)
STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": sql
    for module in JOURNAL_AND_OUTBOX + RETENTION_AND_STATUS
    for name, sql in vars(module).items()
    if isinstance(sql, str) and sql.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE"))
}
Executed = list[tuple[str, Sequence[Any]]]


@pytest.fixture
def executed() -> Iterator[Executed]:
    """Record the statements that sessions execute, with their parameters."""
    statements: Executed = []

    def note(*arguments: Any) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
        _, _, statement, parameters, *_ = arguments
        statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield statements
    event.remove(Engine, "before_cursor_execute", note)


def scans(connection: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[str]:
    """Return the scans of growing tables in the plan of a statement."""
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    steps = [step for step in plan if step.startswith("SCAN")]
    return [step for step in steps if step.split()[1] in GROWING_TABLES]


@pytest.mark.parametrize("sql", STATEMENTS.values(), ids=STATEMENTS)
def test_no_statement_scans_a_growing_table(tmp_path: Path, sql: str) -> None:
    values: Any = dict.fromkeys(re.findall(r":(\w+)", sql), "[]") or ["[]"] * sql.count("?")
    with opened(tmp_path), read_only(tmp_path) as connection:
        assert scans(connection, sql, values) == []


async def test_no_session_query_scans_a_growing_table(tmp_path: Path, executed: Executed) -> None:
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"), answer("one"), session("two"))
        await rig.refuse(*(await rig.window()).events[:2])
        await rig.deliver_all()
        letters, reader = rig.outbox.dead_letters, StoreReader(tmp_path)
        executed.clear()
        assert reader.session("one")
        assert reader.status().dead_letters == 2
        assert await letters.page(10, Receipt("epoch-1", 1))
        assert await letters.find("epoch-1", 2)
        assert await letters.retry("epoch-1", 1)
        assert await letters.discard("epoch-1", 2)
        assert await letters.retry_delivered("epoch-1", [3])
        rig.clock.pass_seconds(-10)
        await letters.retry_due()
        await rig.outbox.retention.repair_times()
        assert await rig.outbox.rewind("epoch-1", 1)
        statements = [one for one in executed if not one[0].startswith(("BEGIN", "INSERT"))]
        with read_only(tmp_path) as connection:
            assert [sql for sql, values in statements if scans(connection, sql, values)] == []
    assert len(statements) > 14


async def test_open_dead_letters_are_read_without_the_discarded_ones(
    tmp_path: Path, executed: Executed
) -> None:
    """A page reads them every 5 s: 400,000 discarded ones took it half a second each time."""
    async with outbox_on(tmp_path) as rig:
        await rig.capture(session("one"))
        executed.clear()
        await rig.outbox.dead_letters.page(10)
        await rig.outbox.dead_letters.page(10, Receipt("epoch-1", 1))
        await rig.outbox.dead_letters.retry_due()
        of_sessions = [one for one in executed if "dead_letter" in one[0]]
        status_sql = STATEMENTS["status._STATUS"]
        raw = [
            (sql, dict.fromkeys(re.findall(r":(\w+)", sql), 0))
            for sql in (status_sql, findings._DEAD_LETTERS, findings._DAMAGED_ROWS)  # noqa: SLF001 - no other query shows them
        ]
        with read_only(tmp_path) as connection:
            for sql, values in (*of_sessions, *raw):
                plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()  # type: ignore[arg-type]
                assert any("dead_letter_open" in step for *_, step in plan), sql
    assert len(of_sessions) == 3


@pytest.mark.parametrize("sql", [window_sql.PENDING, window_sql.RETRIES])
def test_whether_an_event_waits_is_looked_up_by_its_session(tmp_path: Path, sql: str) -> None:
    """All deferred events below it were read for each: 2 s for a window behind 10,000."""
    with opened(tmp_path), read_only(tmp_path) as connection:
        values = dict.fromkeys(re.findall(r":(\w+)", sql), 0)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    steps = [step for *_, step in plan if " earlier " in step or " before " in step]
    assert ["by_session" in steps[0], "position=?" in steps[1]] == [True, True], steps


def test_queries_under_test_are_those_in_use() -> None:
    used = {
        session_cache.SESSIONS_BY_ID,
        window_sql.PENDING,
        settle.SET_WATERMARK,
        purge.REMOVE_EVENTS,
    }
    assert used <= set(STATEMENTS.values())
