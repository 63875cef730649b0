"""URLs of the pages: parsing and building."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from sync.receiver.pages.urls import (
    fleet_url,
    is_local,
    parse_fleet_query,
    session_url,
    store_url,
)
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import FleetQuery, Sort

searches = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200
).map(str.strip)
queries = st.builds(
    FleetQuery,
    search=searches,
    condition=st.none() | st.sampled_from(Condition),
    sort=st.sampled_from(Sort),
    descending=st.booleans(),
    page=st.integers(1, 9999),
)


def query_of(target: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))


@given(query=queries)
def test_fleet_url_round_trips(query: FleetQuery) -> None:
    assert parse_fleet_query(query_of(fleet_url(query, "", page=query.page))) == query


@given(query=queries, changed=st.sampled_from(Sort))
def test_changing_the_sort_order_resets_the_page(query: FleetQuery, changed: Sort) -> None:
    parsed = parse_fleet_query(query_of(fleet_url(query, "fr", sort=changed)))

    assert (parsed.sort, parsed.page, parsed.search) == (changed, 1, query.search)


@given(
    query=st.dictionaries(
        st.sampled_from(["search", "state", "sort", "order", "page", "lang"]), st.text()
    )
)
@example(query={"page": "9" * 5000})
@example(query={"page": "²"})
@example(query={"page": "-1"})
def test_any_query_string_parses(query: dict[str, str]) -> None:
    parsed = parse_fleet_query(query)

    assert parsed.page >= 1
    assert "\0" not in parsed.search


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_becomes_a_single_path_segment(name: str) -> None:
    if name in {".", ".."}:
        return

    target = URL(store_url(name, "fr"), encoded=True)

    assert target.raw_path.removeprefix("/stores/").count("/") == 0
    assert target.path.removeprefix("/stores/") == name
    assert target.query == {"lang": "fr"}


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example(name="..")
@example(name=".")
def test_session_url_round_trips_for_any_id(name: str) -> None:
    target = session_url(name, "")

    assert urlsplit(target).path == "/sessions"
    assert query_of(target) == {"id": name}


@pytest.mark.parametrize("target", ["/", "/?page=2", "/stores/a%2Fb?lang=fr"])
def test_local_redirect_targets_are_accepted(target: str) -> None:
    assert is_local(target)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "/\\elsewhere.example/",
        "\\\\elsewhere.example/",
        "/\t/elsewhere.example/",
        "/a\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        " //elsewhere.example",
    ],
)
def test_foreign_redirect_targets_are_rejected(target: str) -> None:
    assert not is_local(target)
