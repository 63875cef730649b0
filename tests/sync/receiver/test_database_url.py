"""Hosts and ports in the URL of a database, in both notations."""

import pytest

from sync.receiver.database_url import connect_arguments, parse_server_url, places_of


@pytest.mark.parametrize(
    ("where", "places"),
    [
        ("hq@one:5433,two:5434/hq", [("one", 5433), ("two", 5434)]),
        ("one,two/hq?ssl=require", [("one", 5432), ("two", 5432)]),
        ("[::1]:5433,[2001:db8::1]/hq", [("::1", 5433), ("2001:db8::1", 5432)]),
        ("hq@/hq?host=one:5433&host=two:5434", [("one", 5433), ("two", 5434)]),
        ("hq@/hq?host=one,two&port=5433,5434", [("one", 5433), ("two", 5434)]),
        ("hq@one/hq", [("one", None)]),
        ("/hq?host=/run/postgresql", [("/run/postgresql", None)]),
        ("/hq", [(None, None)]),
    ],
)
def test_hosts_are_read_from_both_notations(
    where: str, places: list[tuple[str | None, int | None]]
) -> None:
    arguments = connect_arguments(parse_server_url(f"postgresql+asyncpg://{where}"))

    assert places_of(arguments) == places
    assert arguments["database"] == "hq"


def test_user_and_password_stand_before_the_first_of_several_hosts() -> None:
    url = parse_server_url("postgresql+asyncpg://u%40x@one,two/hq?target_session_attrs=any")

    assert (url.username, url.query["target_session_attrs"]) == ("u@x", "any")
