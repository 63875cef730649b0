"""Lost PostgreSQL connections: retried work, and work that must not be retried."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from sqlalchemy import Connection, literal, select, text
from sqlalchemy.exc import DBAPIError

from sync.receiver.db.postgresql import Postgresql
from tests.support.head_office.postgresql import PostgresqlServer, rows_at

END_OF_ALL = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
END_OF_OURS = text("SELECT pg_terminate_backend(pg_backend_pid())")
ADD = text(
    "INSERT INTO boots (store_id, till_id, boot_id, zero_at)"
    " VALUES ('0042', 'till-1', :number, now())"
)
# Terminates a connection during its COMMIT.
END_AT_COMMIT = (
    (
        "CREATE FUNCTION end_of_ours() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
    ),
    (
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON boots DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION end_of_ours()"
    ),
)


@dataclass(slots=True)
class Work:
    """Runs `first`, then inserts a row with the number of the run."""

    first: Callable[[Connection, int], None]
    runs: int = 0

    def __call__(self, connection: Connection) -> int:
        self.runs += 1
        self.first(connection, self.runs)
        connection.execute(ADD, {"number": str(self.runs)})
        return self.runs


def nothing(connection: Connection, run: int) -> None:
    del connection, run


def end_the_first(connection: Connection, run: int) -> None:
    if run == 1:
        connection.execute(ADD, {"number": "lost"})
        connection.execute(END_OF_OURS)


def end_each(connection: Connection, run: int) -> None:
    del run
    connection.execute(END_OF_OURS)


def look(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 42")).scalar_one())


@pytest.fixture
async def url(postgresql_server: PostgresqlServer) -> str:
    return await postgresql_server.new_database()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Postgresql]:
    opened = Postgresql(url)
    await opened.open()
    yield opened
    await opened.close()


async def boots(url: str) -> list[object]:
    return [row[0] for row in await rows_at(url, "SELECT boot_id FROM boots")]


async def test_write_survives_a_connection_lost_while_idle(database: Postgresql, url: str) -> None:
    await database.read(look)
    await rows_at(url, END_OF_ALL)

    await database.write(Work(nothing))

    assert len(await boots(url)) == 1


async def test_read_survives_a_connection_lost_while_idle(database: Postgresql, url: str) -> None:
    await database.read(look)
    await rows_at(url, END_OF_ALL)

    assert await database.read(look) == 42


async def test_read_first_survives_a_connection_lost_while_idle(
    database: Postgresql, url: str
) -> None:
    await database.read(look)
    await rows_at(url, END_OF_ALL)

    found = await database.read_first(select(literal(42).label("answer")), {})

    assert found is not None
    assert found["answer"] == 42


async def test_write_is_retried_after_a_lost_connection_and_commits_once(
    database: Postgresql, url: str
) -> None:
    assert await database.write(Work(end_the_first)) == 2

    assert await boots(url) == ["2"]


async def test_write_fails_after_three_lost_connections(database: Postgresql) -> None:
    work = Work(end_each)

    with pytest.raises(DBAPIError) as caught:
        await database.write(work)

    assert (caught.value.connection_invalidated, work.runs) == (True, 3)


async def test_write_is_not_retried_after_a_commit_without_response(
    database: Postgresql, url: str
) -> None:
    for statement in END_AT_COMMIT:
        await rows_at(url, statement)
    work = Work(nothing)

    with pytest.raises(DBAPIError) as caught:
        await database.write(work)

    assert (caught.value.connection_invalidated, work.runs) == (True, 1)
