"""The net: whatever looks like an address or a token, and each known secret, is taken out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.support_bundle.secrecy import Secrecy
from tests.agent.bundle.planting import ADDRESSES, TOKENS, Planted


@pytest.mark.parametrize(
    "text",
    [
        "marie@example.com",
        '"marie roy"@example.com',
        "GET /x?marie%40example.com",
        r"marie\u0040example.com",
        "GET /x?next=%2Fy%3Fmarie%2540example.com",
        "marie&#64;example.com",
        "marie&#064;example.com",
        "marie&#x40;example.com",
        "marie\ufe6bexample.com",
        "marie\uff20example.com",
        "<marie@example.com>,",
        'said "x" of "marie roy"@example.com',
        json.dumps(json.dumps('"marie roy"@example.com')),
    ],
)
def test_address_is_taken_out_however_it_is_written(text: str) -> None:
    cleaned = Secrecy().clean(f"before {text} after")

    assert "marie" not in cleaned
    assert "example" not in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")


@given(planted=ADDRESSES, before=st.text(max_size=20), after=st.text(max_size=20))
def test_nothing_of_an_address_stays_in_any_text(planted: Planted, before: str, after: str) -> None:
    cleaned = Secrecy().clean(f"{before} {planted.whole}{after}")

    assert not planted.is_in(cleaned)


@given(token=TOKENS, before=st.text(max_size=20), after=st.text(max_size=20))
def test_known_secret_is_taken_out_wherever_it_stands(token: str, before: str, after: str) -> None:
    assert token not in Secrecy.of([token]).clean(before + token + after)


def test_secret_that_begins_another_leaves_nothing_of_it() -> None:
    secrecy = Secrecy.of(["abcdef", "abcdef-and-more"])

    assert secrecy.clean("it is abcdef-and-more.") == "it is [secret]."


def test_lines_of_a_secret_are_secrets() -> None:
    assert Secrecy.of(["first line\nsecond line\n"]).clean("a second line") == "a [secret]"


def test_what_is_too_short_for_a_secret_mangles_no_text() -> None:
    assert Secrecy.of(["a", ""]).clean("an answer") == "an answer"


def test_values_and_names_are_cleaned_however_deep() -> None:
    value = Secrecy.of(["s3cret-token"]).clean_all(
        {"a@example.com": [{"x": "s3cret-token", "n": 1}, None, True]}
    )

    assert value == {"[address]": [{"x": "[secret]", "n": 1}, None, True]}
