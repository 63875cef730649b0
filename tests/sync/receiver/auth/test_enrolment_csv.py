"""Parsing the list of tills to enroll."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.receiver.auth.enrolment_csv import EnrolmentListError, format_tokens, parse_list
from sync.receiver.auth.tokens import AgentName

WORDS = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", fullmatch=True)
NAMES = st.lists(st.builds(AgentName, WORDS, WORDS), min_size=1, unique=True)


@given(names=NAMES, columns=st.permutations(["store_id", "till_id", "city"]))
def test_tills_keep_the_order_of_the_list_for_any_column_order(
    names: list[AgentName], columns: list[str]
) -> None:
    rows = [{"store_id": n.store_id, "till_id": n.till_id, "city": "Nîmes"} for n in names]
    lines = [",".join(row[column] for column in columns) for row in rows]

    assert parse_list("\n".join([",".join(columns), *lines])) == names


@given(names=NAMES)
def test_result_is_a_valid_list(names: list[AgentName]) -> None:
    result = "".join(format_tokens((name, "token") for name in names))

    assert parse_list(result) == names


@pytest.mark.parametrize(
    "text",
    [
        "store_id;till_id\r\n0042;till-1\r\n",
        "\ufeffstore_id,till_id\n0042,till-1\n",
        'store_id,till_id\n"0042", till-1 \n\n',
    ],
)
def test_spreadsheet_csv_is_accepted(text: str) -> None:
    assert parse_list(text) == [AgentName("0042", "till-1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: expected a header"),
        ("0042,till-1\n", "line 1: expected a header"),
        ("store_id,till_id\n", "the list is empty"),
        ("store_id,till_id\n0042\n", "line 2: till_id: expected 1 to 64"),
        ("store_id,till_id\n0042,a b\n,till\n", "line 3: store_id: expected 1 to 64"),
        ("store_id,till_id\n0042,a\n0042,b\n0042,a\n", "line 4: duplicate of line 2"),
        ('store_id,till_id\n"0042"x,till-1\n', "line 2: "),
        ("store_id,till_id\n" + ",\n" * 14, "and 4 more"),
    ],
)
def test_errors_are_reported_line_by_line(text: str, message: str) -> None:
    with pytest.raises(EnrolmentListError, match=message):
        parse_list(text)
