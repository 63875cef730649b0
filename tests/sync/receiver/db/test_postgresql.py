"""Receivers on one PostgreSQL server: server crash, tokens, password."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlmodel import Session

from sync.receiver.db.database import DatabaseUnavailableError
from sync.receiver.db.postgresql import Postgresql
from sync.receiver.db.tables import BootRecord
from sync.runtime.settings.setting_errors import ConfigurationError
from tests.support.head_office.audit import audit_by
from tests.support.head_office.messages import SimulatedAgent, session
from tests.support.head_office.postgresql import PostgresqlServer, rows_at
from tests.support.head_office.receiver import receiver_under_test, settings_in
from tests.support.raw_http import HttpResponse


def status_and_retry(response: HttpResponse) -> tuple[int, bool]:
    """Return the status, and whether Retry-After is a few seconds."""
    seconds = int(response.header("Retry-After") or 0)
    return response.status, 5 <= seconds <= 10


async def test_database_server_outage_is_503_with_retry_after_until_it_returns(
    crashing_postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path
) -> None:
    url = await crashing_postgresql_server.new_database()
    async with receiver_under_test(settings_in(tmp_path, database={"url": url})) as receiver:
        await receiver.enroll(till)
        before = await receiver.send(till, session(1))
        await crashing_postgresql_server.crash()
        down = await receiver.send(till, session(2)), await receiver.get("/readyz")
        alive = await receiver.get("/healthz")
        await crashing_postgresql_server.start()
        after = await receiver.send(till, session(2))

    assert [status_and_retry(response) for response in (before, *down, alive, after)] == [
        (200, False),
        (503, True),
        (503, True),
        (200, False),
        (200, False),
    ]


async def test_token_enrolled_by_another_process_works_at_once(
    postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, database={"url": await postgresql_server.new_database()})
    async with receiver_under_test(settings) as first, receiver_under_test(settings) as second:
        second.tokens = {(till.store_id, till.till_id): await first.enroll(till)}
        new = await second.heartbeat(till)
        await first.enroll(till)
        both = await second.heartbeat(till), await first.heartbeat(till)
        old = await second.heartbeat(till)

    assert [response.status for response in (new, *both, old)] == [200, 200, 200, 401]


async def test_revoked_token_ends_at_every_receiver_until_the_next_enrolment(
    postgresql_server: PostgresqlServer, till: SimulatedAgent, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, database={"url": await postgresql_server.new_database()})
    async with receiver_under_test(settings) as first, receiver_under_test(settings) as second:
        await first.enroll(till)
        second.tokens = first.tokens
        before = await first.heartbeat(till), await second.heartbeat(till)
        await first.address.enrolment.revoke(till.name, audit_by())
        revoked = await first.heartbeat(till), await second.heartbeat(till)
        await second.enroll(till)
        after = await second.heartbeat(till)

    statuses = [answer.status for answer in (*before, *revoked, after)]
    assert statuses == [200, 200, 401, 401, 200]


async def test_password_is_read_from_its_file(
    postgresql_server: PostgresqlServer, tmp_path: Path
) -> None:
    database = await postgresql_server.new_database()
    url = await postgresql_server.owner_with_password(database, "correct horse")
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    database_section = {"url": url, "password_file": str(file)}
    async with receiver_under_test(settings_in(tmp_path, database=database_section)) as receiver:
        ready = await receiver.get("/readyz")

    with pytest.raises(DatabaseUnavailableError):
        async with receiver_under_test(settings_in(tmp_path, database={"url": url})):
            pass
    assert ready.status == 200


@pytest.mark.parametrize("fails", [False, True])
async def test_the_session_of_a_unit_of_work_does_not_end_the_transaction(
    postgresql_server: PostgresqlServer, *, fails: bool
) -> None:
    url = await postgresql_server.new_database()
    database = Postgresql(url)
    await database.open()

    def add(connection: Connection) -> None:
        row = BootRecord(store_id="", till_id="", boot_id="", zero_at=datetime.now(UTC))
        with Session(connection) as session:
            session.add(row)
            session.flush()
            if fails:
                session.commit()
                raise LookupError

    with suppress(LookupError):
        await database.write(add)
    await database.close()

    assert await rows_at(url, "SELECT count(*) FROM boots") == [(0 if fails else 1,)]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_database_in_another_encoding_is_refused_by_name_and_left_as_it_is(
    postgresql_server: PostgresqlServer, encoding: str
) -> None:
    """A name with a letter that the encoding lacks would fail its batch for ever."""
    url = await postgresql_server.new_database(encoding)
    database = Postgresql(url)
    with pytest.raises(ConfigurationError, match=f"has the encoding {encoding}"):
        await database.open()
    await database.close()

    assert await rows_at(url, "SELECT 1 FROM pg_tables WHERE tablename = 'agents'") == []
