"""SQL in everything that a caller names: it is a name, and nothing else."""

from urllib.parse import quote

import pytest

from tests.attacks.conftest import BATCH, Target
from tests.support.sqlite import rows_in

HOSTILE = (
    "' OR '1'='1",
    "x' OR 1=1 --",
    "'; DROP TABLE session; --",
    "'); DELETE FROM sessions; --",
    "x' UNION SELECT hash FROM tokens --",
    '" OR ""="',
    "`) OR 1=1 /*",
    "x\\' OR 1=1 --",
    "%' OR correlation_id LIKE '%",
    ":store_id",
    "$1",
    "?1",
    "{0}%s%(x)s",
)
READ_BY_NAME = {
    "session": ("/agent/v1/sessions/{}",),
    "sessions": (
        "/v1/sessions/{}",
        "/v1/stores/{}",
        "/v1/completeness?store={}",
        "/stores/{}",
        "/sessions?id={}",
    ),
}
QUERIES = (
    *("/?search={}", "/?sort={}", "/?state={}", "/?order={}", "/?page={}", "/?lang={}"),
    "/?{}=1",
)


def schema_of(target: Target) -> list[tuple[object, ...]]:
    return rows_in(target.database, "SELECT name, sql FROM sqlite_schema ORDER BY name")


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_name_that_is_sql_finds_nothing(target: Target, hostile: str) -> None:
    before = schema_of(target), target.sessions()

    for path in READ_BY_NAME[target.table]:
        response = await target.get(path.format(quote(hostile, safe="")))
        assert (path, response.status) == (path, 404)

    assert (schema_of(target), target.sessions()) == before


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_query_that_is_sql_changes_nothing(target: Target, hostile: str) -> None:
    before = schema_of(target)

    for path in QUERIES:
        response = await target.get(path.format(quote(hostile, safe="")))
        assert (path, response.status) == (path, 200)

    assert schema_of(target) == before


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_session_named_in_sql_is_recorded_under_that_name(
    target: Target, hostile: str
) -> None:
    name, before = f"{hostile} recorded", schema_of(target)

    written = await target.send(target.capture(name))
    path = READ_BY_NAME[target.table][0]
    read = await target.get(path.format(quote(name, safe="")))

    assert (written.status, read.status) == (200, 200)
    assert target.sessions().count(name) == 1
    assert schema_of(target) == before


async def test_search_takes_wildcards_literally(target: Target) -> None:
    if target.write != BATCH:
        pytest.skip("an agent has no search")
    shown = [(await target.get(f"/?search={text}")).body for text in ("0042", "%25", "_", "00_2")]

    assert [b"/stores/0042" in page for page in shown] == [True, False, False, False]
