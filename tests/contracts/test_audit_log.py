"""Audit log: author, action and origin of each entry; the database refuses changes."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import Connection

from sync.receiver.audit.audit_log import Action, AuditLog
from sync.receiver.audit.author import Author
from sync.receiver.auth.tokens import AgentName
from sync.receiver.db.database import Database
from sync.receiver.db.period import Period
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.tables import AuditRecord
from sync.receiver.reports import audit_trail
from sync.receiver.reports.audit_trail import AuditFilter, audit_entries
from tests.support.head_office.audit import TESTER, audit_by
from tests.support.head_office.ledger import LedgerDriver
from tests.support.head_office.messages import AT
from tests.support.head_office.postgresql import PostgresqlServer

TILL = AgentName("0042", "till-1")
ANY_TEXT = "x"


@pytest.fixture
def audit() -> AuditLog:
    return audit_by(Author("alice", "ssh 192.0.2.7"))


async def test_entry_has_author_action_time_and_origin(
    database: Database, office: LedgerDriver, audit: AuditLog
) -> None:
    await database.write(lambda c: audit.record(c, Action.REVOKE, TILL, tokens=2))

    (entry,) = await office.all_rows(AuditRecord)
    assert {name: entry[name] for name in entry if name != "entry_id"} == {
        "store_id": "0042",
        "till_id": "till-1",
        "at": AT,
        "action": "revoke",
        "actor": "alice",
        "origin": "ssh 192.0.2.7",
        "detail": '{"tokens":2}',
    }


async def test_failed_action_leaves_no_entry(
    database: Database, office: LedgerDriver, audit: AuditLog
) -> None:
    def fail(connection: Connection) -> None:
        audit.record(connection, Action.REVOKE, TILL)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await database.write(fail)

    assert await office.all_rows(AuditRecord) == []


async def test_detail_holds_no_address_and_no_control_character(
    database: Database, office: LedgerDriver, audit: AuditLog
) -> None:
    reason = "asked by guest@example.com \x1b]0;pwned\x07"
    await database.write(lambda c: audit.record(c, Action.ACKNOWLEDGE, TILL, reason=reason))

    ((detail,),) = await office.rows(AuditRecord, "detail")
    assert detail == r'{"reason":"asked by [address] \\x1b]0;pwned\\x07"}'


async def test_entries_are_read_in_order_of_time_across_stores_and_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_trail, "PAGE_ROWS", 2)
    stores = ["0043", "0042", "0042", "", "0043"]
    for number, store_id in enumerate(stores):
        log = AuditLog(TESTER, lambda: AT + timedelta(hours=number // 2), lambda: uuid4().hex)  # noqa: B023 - called at once
        name = AgentName(store_id, "")
        await database.write(lambda c: log.record(c, Action.ENROLL, name, number=number))  # noqa: B023 - as above

    async def numbers(wanted: AuditFilter) -> list[str]:
        pages = [rows async for rows in audit_entries(database, wanted)]
        return [row["detail"][len('{"number":') : -1] for rows in pages for row in rows]

    assert await numbers(AuditFilter()) == ["1", "0", "3", "2", "4"]
    since, until = AT + timedelta(hours=1), AT + timedelta(hours=2)
    assert await numbers(AuditFilter(Period(since, until))) == ["3", "2"]
    assert await numbers(AuditFilter(store_id="0043")) == ["0", "4"]
    assert await numbers(AuditFilter(action=Action.REVOKE)) == []


async def test_sqlite_refuses_to_change_or_delete_an_entry(
    fresh_sqlite: Path, tmp_path: Path
) -> None:
    file = tmp_path / "copy.db"
    file.write_bytes((fresh_sqlite / "hq.db").read_bytes())
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("INSERT INTO audit_log VALUES ('', '', '1', '', 'revoke', '', '', '')")
        for change in ("UPDATE audit_log SET actor = 'bob'", "DELETE FROM audit_log"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(change)


async def test_postgresql_refuses_the_owner_to_change_or_delete_an_entry(
    postgresql_server: PostgresqlServer, audit: AuditLog
) -> None:
    empty = await postgresql_server.new_database()
    url = await postgresql_server.owner_with_password(empty, ANY_TEXT)
    database = Postgresql(url, lambda: ANY_TEXT)
    await database.open()
    await database.write(lambda c: audit.record(c, Action.REVOKE, TILL))
    await database.close()

    connection = await asyncpg.connect(url.replace("+asyncpg", ""), password=ANY_TEXT)
    changes = ("UPDATE audit_log SET actor = 'bob'", "DELETE FROM audit_log", "TRUNCATE audit_log")
    for change in changes:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change)
    await connection.close()
