"""Token format: parsing and hashing."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.protocol.agent_token import hash_token, make_token
from sync.receiver.auth.tokens import AgentName, parse_name

NAMES = st.builds(
    AgentName,
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
)
SECRETS = st.binary(min_size=1, max_size=64)


def named(text: str) -> str:
    """Return a well-formed token with `text` as its name."""
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode() + ".c2VjcmV0"


@given(name=NAMES, secret=SECRETS)
def test_token_contains_the_name_of_its_agent(name: AgentName, secret: bytes) -> None:
    assert parse_name(make_token(name.store_id, name.till_id, secret)) == name


@given(name=NAMES, secret=SECRETS)
def test_token_fits_a_header_and_a_single_line(name: AgentName, secret: bytes) -> None:
    token = make_token(name.store_id, name.till_id, secret)

    assert token.isascii()
    assert token.isprintable()
    assert " " not in token


@given(name=NAMES, other=NAMES, secret=SECRETS)
def test_tokens_of_two_agents_differ(name: AgentName, other: AgentName, secret: bytes) -> None:
    assert (
        make_token(name.store_id, name.till_id, secret)
        == make_token(other.store_id, other.till_id, secret)
    ) == (name == other)


@given(text=st.text() | st.text("AQZaqz09-_.="))
def test_any_text_parses_to_a_name_or_none(text: str) -> None:
    name = parse_name(text)

    assert name is None or parse_name(make_token(name.store_id, name.till_id, b"secret")) == name


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "c3RvcmUvdGlsbA",
        "c3RvcmUvdGlsbA.",
        ".c2VjcmV0",
        "é.c2VjcmV0",
        "\udcff.c2VjcmV0",
        named("store"),
        named("store/till/more"),
        named("/till"),
        named("store/"),
        named("store/till\0"),
        named("store/till\n"),
        named("../till"),
        named("store/" + "t" * 65),
    ],
)
def test_malformed_token_has_no_name(token: str) -> None:
    assert parse_name(token) is None


@given(name=NAMES, secret=SECRETS)
def test_hash_does_not_reveal_the_token(name: AgentName, secret: bytes) -> None:
    token = make_token(name.store_id, name.till_id, secret)

    assert token not in hash_token(token)
    assert hash_token(token) != hash_token(token + "x")


def test_token_with_invalid_utf8_can_be_hashed() -> None:
    """An HTTP header can hold any byte."""
    assert len(hash_token("\udcff")) == 64
