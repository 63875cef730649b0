"""Redaction of addresses, tokens and known secrets."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.support_bundle.redact import Redactor
from tests.agent.support_bundle.planting import ADDRESSES, TOKENS, Planted


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
def test_address_is_redacted_in_every_encoding(text: str) -> None:
    cleaned = Redactor().redact(f"before {text} after")

    assert "marie" not in cleaned
    assert "example" not in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")


@given(planted=ADDRESSES, before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_part_of_an_address_survives_in_any_text(
    planted: Planted, before: str, after: str
) -> None:
    cleaned = Redactor().redact(f"{before} {planted.whole}{after}")

    assert not planted.is_in(cleaned)


@given(token=TOKENS, before=st.text(max_size=20), after=st.text(max_size=20))
def test_known_secret_is_redacted_in_any_text(token: str, before: str, after: str) -> None:
    assert token not in Redactor([token]).redact(before + token + after)


def test_longer_secret_with_the_same_prefix_is_redacted_whole() -> None:
    redactor = Redactor(["abcdef", "abcdef-and-more"])

    assert redactor.redact("it is abcdef-and-more.") == "it is [secret]."


def test_each_line_of_a_secret_is_redacted() -> None:
    assert Redactor(["first line\nsecond line\n"]).redact("a second line") == "a [secret]"


def test_short_secrets_are_not_redacted() -> None:
    assert Redactor(["a", ""]).redact("an answer") == "an answer"


def test_nested_keys_and_values_are_redacted() -> None:
    value = Redactor(["s3cret-token"]).redact_all(
        {"a@example.com": [{"x": "s3cret-token", "n": 1}, None, True]}
    )

    assert value == {"[address]": [{"x": "[secret]", "n": 1}, None, True]}
