"""URLs of the pages: parsing and building."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from sync.receiver.pages.urls import (
    address,
    fleet_address,
    is_own,
    read_question,
    session_address,
)
from sync.receiver.reports.conditions import Condition
from sync.receiver.reports.fleet import Question, Sort

searches = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200
).map(str.strip)
questions = st.builds(
    Question,
    search=searches,
    condition=st.none() | st.sampled_from(Condition),
    sort=st.sampled_from(Sort),
    descending=st.booleans(),
    page=st.integers(1, 9999),
)


def query_of(target: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))


@given(question=questions)
def test_fleet_url_round_trips(question: Question) -> None:
    assert read_question(query_of(fleet_address(question, "", page=question.page))) == question


@given(question=questions, changed=st.sampled_from(Sort))
def test_changing_the_sort_order_resets_the_page(question: Question, changed: Sort) -> None:
    asked = read_question(query_of(fleet_address(question, "fr", sort=changed)))

    assert (asked.sort, asked.page, asked.search) == (changed, 1, question.search)


@given(
    query=st.dictionaries(
        st.sampled_from(["search", "state", "sort", "order", "page", "lang"]), st.text()
    )
)
@example(query={"page": "9" * 5000})
@example(query={"page": "²"})
@example(query={"page": "-1"})
def test_any_query_string_parses(query: dict[str, str]) -> None:
    question = read_question(query)

    assert question.page >= 1
    assert "\0" not in question.search


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_becomes_a_single_path_segment(name: str) -> None:
    if name in {".", ".."}:
        return

    target = URL(address("stores", name, "fr"), encoded=True)

    assert target.raw_path.removeprefix("/stores/").count("/") == 0
    assert target.path.removeprefix("/stores/") == name
    assert target.query == {"lang": "fr"}


@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
@example(name="..")
@example(name=".")
def test_session_url_round_trips_for_any_id(name: str) -> None:
    target = session_address(name, "")

    assert urlsplit(target).path == "/sessions"
    assert query_of(target) == {"id": name}


@pytest.mark.parametrize("target", ["/", "/?page=2", "/stores/a%2Fb?lang=fr"])
def test_local_redirect_targets_are_accepted(target: str) -> None:
    assert is_own(target)


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
    assert not is_own(target)
