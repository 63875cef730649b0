"""Requests for names that a database cannot store are answered with 404."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.head_office.receiver import Receiver, receiver_under_test, settings_in

PATHS = (
    "/v1/stores/{}",
    "/v1/sessions/{}",
    "/v1/completeness?store={}",
    "/stores/{}",
    "/sessions/{}",
    "/sessions?id={}",
)


@pytest.fixture(params=["sqlite", "postgresql"])
async def office(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Receiver]:
    database = {}
    if request.param == "postgresql":
        database = {"url": await request.getfixturevalue("postgresql_server").new_database()}
    async with receiver_under_test(settings_in(tmp_path, database=database)) as receiver:
        yield receiver


# NUL, half a surrogate pair, invalid UTF-8.
@pytest.mark.parametrize("name", ["%00", "a%00b", "%ED%A0%80", "%FF"])
async def test_impossible_name_is_404(office: Receiver, name: str) -> None:
    answers = {path: await office.get(path.format(name)) for path in PATHS}

    assert {path: answer.status for path, answer in answers.items()} == dict.fromkeys(PATHS, 404)


@pytest.mark.parametrize("name", ["%00", "%ED%A0%80", "%FF"])
async def test_search_for_an_impossible_name_finds_nothing(office: Receiver, name: str) -> None:
    assert (await office.get(f"/?search={name}")).status == 200


@pytest.mark.parametrize("name", ["a%00b", "%ED%A0%80", "%FF"])
async def test_history_of_an_impossible_name_is_404(office: Receiver, name: str) -> None:
    paths = (f"/history?store={name}", f"/history.json?store={name}")

    assert [(await office.get(path)).status for path in paths] == [404, 404]
